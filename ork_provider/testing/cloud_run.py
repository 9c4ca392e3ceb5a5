"""A stateful fake of Cloud Run's Admin API v2: executions of jobs that go PENDING -> RUNNING -> done by the clock.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ork_provider.testing import cloud_run_jobs as run
from ork_provider.testing import cloud_run_requests as check
from ork_provider.testing.cloud_run_jobs import ExecutionOutcome, FakeExecution, ScriptedTasks, Work
from ork_provider.testing.cloud_run_local import Command, LocalTasks
from ork_provider.testing.cloud_run_requests import refuse
from ork_provider.testing.faults import Answer
from ork_provider.testing.google_connection import PROJECT, REGION, GoogleServer
from ork_provider.testing.pages import behind, page_of
from ork_provider.testing.processes import GRACE, Processes
from ork_provider.testing.scripts import Match, Scripts
from ork_provider.testing.server import RecordedRequest, Route
from ork_provider.testing.tokens import ANONYMOUS

TASK_TIMEOUT = "600s"
_PERMISSION = "Permission 'run.jobs.runWithOverrides' denied on resource '{name}' (or resource may not exist)."


class FakeCloudRun(GoogleServer):
    """Cloud Run on 127.0.0.1: jobs.run/get/list, executions.get/list/cancel/delete, operations.get/wait.

    `pending` and `running` are the seconds that an execution spends in each state unless `script` says otherwise.
    Every job exists, with one container, unless `jobs` names them all (`{"nightly": ["main", "proxy"]}`, job and
    containers). With `commands={"nightly": ["python", "nightly.py"]}` each task of that job runs the command as a
    local process. `overrides_allowed=False` refuses overrides as an account does that lacks the permission for
    them. `require_auth` and `token_seconds`: see GoogleServer.
    """

    service = "The fake Cloud Run"
    endpoint_name = "run"
    path_prefix = r"(?:/v2)?"

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        pending: float = 0.2,
        running: float = 1.0,
        jobs: Mapping[str, Sequence[str]] | None = None,
        commands: Mapping[str, Sequence[str]] | None = None,
        overrides_allowed: bool = True,
        **server: Any,
    ) -> None:
        super().__init__(host, port, **server)
        self.default = ExecutionOutcome(pending=pending, running=running)
        self.commands = dict(commands or {})
        self.overrides_allowed = overrides_allowed
        self.started: list[FakeExecution] = []
        self._jobs = {name: list(containers) for name, containers in (jobs or {}).items()}
        self._all_exist = jobs is None
        self._stored: dict[str, FakeExecution] = {}
        self._operations: dict[str, FakeExecution] = {}
        self._scripts = Scripts[ExecutionOutcome]()
        self._processes = Processes(clock=self.clock)
        self._logs: tempfile.TemporaryDirectory[str] | None = None

    def routes(self) -> list[Route]:
        """List the API's methods that are served."""
        place = "/projects/{project}/locations/{region}"
        job = f"{place}/jobs/{{job}}"
        execution = f"{job}/executions/{{execution}}"
        return [
            Route("GET", f"{place}/jobs", self._list_jobs),
            Route("POST", f"{job}:run", self._run),
            Route("GET", job, self._get_job),
            Route("GET", f"{job}/executions", self._list),
            Route("POST", f"{execution}:cancel", self._cancel),
            Route("GET", execution, self._get),
            Route("DELETE", execution, self._delete),
            Route("POST", f"{place}/operations/{{operation}}:wait", self._wait),
            Route("GET", f"{place}/operations/{{operation}}", self._get_operation),
            Route("POST", "/token", self._token),
        ]

    # -- for the test that looks inside --------------------------------------------------------------------

    def create_job(self, name: str, containers: Sequence[str] = ("main",)) -> None:
        """Add a job with these containers."""
        self._jobs[name] = list(containers)

    def script(self, match: Match, outcome: ExecutionOutcome) -> None:
        """Decide what happens to executions started from now on; the last script that matches wins.

        `match` is a part of the job's name, or a callable of `{"project", "region", "job", "overrides"}`.
        """
        self._scripts.add(match, outcome)

    def seed(
        self,
        execution_id: str,
        outcome: ExecutionOutcome | None = None,
        *,
        project: str = PROJECT,
        region: str = REGION,
        job: str = "nightly",
    ) -> FakeExecution:
        """Store an execution of a job that began now, without a request; `outcome` is by default the fake's own."""
        about = {"project": project, "region": region, "job": job, "overrides": {}}
        outcome = outcome or self.default
        work = ScriptedTasks(outcome, self.clock(), task_count=outcome.tasks)
        return self._store(about, execution_id, self._template(project, region, job), work, outcome, creator=ANONYMOUS)

    @property
    def executions(self) -> dict[str, FakeExecution]:
        """Every stored execution by its id."""
        return {execution.execution_id: execution for execution in list(self._stored.values())}

    @property
    def cancelled(self) -> list[FakeExecution]:
        """The executions that were cancelled before they had ended, oldest first."""
        return [execution for execution in list(self.started) if execution.cancelled_at is not None]

    def live(self) -> list[FakeExecution]:
        """List the executions that have not ended, oldest first."""
        return [execution for execution in list(self._stored.values()) if not execution.done]

    def stop(self) -> None:
        """Stop as any fake does; local processes end, and their logs go."""
        super().stop()
        local = [e for e in self.live() if isinstance(e.work, LocalTasks)]
        for execution in local:
            execution.cancel()
        for execution in local:
            assert isinstance(execution.work, LocalTasks)
            execution.work.join(GRACE + 5)
        if self._logs is not None:
            self._logs.cleanup()
            self._logs = None

    # -- jobs ----------------------------------------------------------------------------------------------

    def _get_job(self, request: RecordedRequest, project: str, region: str, job: str) -> Answer:
        return self._answer(request, self._job(project, region, job))

    def _list_jobs(self, request: RecordedRequest, project: str, region: str) -> Answer:
        names = list(dict.fromkeys([*self._jobs, *(e.job_name for e in self.started if e.project == project)]))
        jobs = [self._job(project, region, name) for name in names]
        return self._answer(request, {"jobs": jobs} if jobs else {})

    def _job(self, project: str, region: str, name: str) -> dict[str, Any]:
        parent = f"projects/{project}/locations/{region}"
        newest = [e for e in self.started if (e.parent, e.job_name) == (parent, name)]
        ready = {"type": "Ready", "state": "CONDITION_SUCCEEDED", "lastTransitionTime": self._time(0)}
        shown: dict[str, Any] = {
            "name": f"{parent}/jobs/{name}",
            "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{parent}/{name}")),
            "generation": "1",
            "createTime": self._time(0),
            "updateTime": self._time(0),
            "launchStage": "GA",
            "template": {"taskCount": self.default.tasks, "template": self._template(project, region, name)},
            "observedGeneration": "1",
            "terminalCondition": ready,
            "etag": '"1"',
        }
        if newest:
            created = self._time(newest[-1].created_at)
            shown |= {"executionCount": len(newest)}
            shown |= {"latestCreatedExecution": {"name": newest[-1].execution_id, "createTime": created}}
        return shown

    def _template(self, project: str, region: str, name: str) -> dict[str, Any]:
        if name not in self._jobs and not self._all_exist:
            place = f"in region '{region}' in project '{project}'"
            raise refuse("NOT_FOUND", f"Resource '{name}' of kind 'JOB' {place} does not exist.")
        containers = [
            {"name": container, "image": f"{region}-docker.pkg.dev/{project}/jobs/{name}:latest"}
            for container in self._jobs.get(name) or ["main"]
        ]
        return {"containers": containers, "maxRetries": 3, "timeout": TASK_TIMEOUT}

    def _time(self, at: float) -> str:
        return run.timestamp(self.epoch_ms(at))

    # -- executions ----------------------------------------------------------------------------------------

    def _run(self, request: RecordedRequest, project: str, region: str, job: str) -> Answer:
        overrides = check.checked_overrides(request)
        template = self._template(project, region, job)
        if overrides and not self.overrides_allowed:
            name = f"projects/{project}/locations/{region}/jobs/{job}"
            raise refuse("PERMISSION_DENIED", _PERMISSION.format(name=name))
        template = check.overridden(template, overrides)
        about = {"project": project, "region": region, "job": job, "overrides": overrides}
        execution = self._create(about, template, self._email(request))
        return self._answer(request, self._operate(execution))

    def _create(self, about: Mapping[str, Any], template: dict[str, Any], creator: str) -> FakeExecution:
        execution_id = f"{about['job']}-{uuid.uuid4().hex[:5]}"
        outcome = self._scripted(about)
        task_count = about["overrides"].get("taskCount") or outcome.tasks
        work = self._work(about["job"], execution_id, template, task_count, outcome)
        return self._store(about, execution_id, template, work, outcome, creator=creator)

    def _store(
        self,
        about: Mapping[str, Any],
        execution_id: str,
        template: dict[str, Any],
        work: Work,
        outcome: ExecutionOutcome,
        *,
        creator: str,
    ) -> FakeExecution:
        with self._lock:
            now = self.clock()
            execution = FakeExecution(
                number=len(self.started) + 1,
                project=about["project"],
                region=about["region"],
                job_name=about["job"],
                execution_id=execution_id,
                task_count=about["overrides"].get("taskCount") or outcome.tasks,
                overrides=about["overrides"],
                template=template,
                created_at=now,
                work=work,
                clock=self.clock,
                creator=creator,
                listed_at=now + outcome.appears_after,
            )
            self._stored[execution.name] = execution
            self.started.append(execution)
        return execution

    def _scripted(self, about: Mapping[str, Any]) -> ExecutionOutcome:
        return self._scripts.find(about["job"], about) or self.default

    def _work(
        self, job: str, execution_id: str, template: Mapping[str, Any], task_count: int, outcome: ExecutionOutcome
    ) -> Work:
        if job not in self.commands:
            return ScriptedTasks(outcome, self.clock(), task_count=task_count)
        containers = template["containers"]
        env = {v["name"]: v.get("value", "") for container in containers for v in container.get("env", [])}
        self._logs = self._logs or tempfile.TemporaryDirectory(prefix="ork-cloud-run-")
        what = Command(
            command=[*self.commands[job], *(arg for container in containers for arg in container.get("args", []))],
            env={**env, "CLOUD_RUN_JOB": job, "CLOUD_RUN_EXECUTION": execution_id, "CLOUD_RUN_TASK_ATTEMPT": "0"},
            log_path=Path(self._logs.name, f"{execution_id}.log"),
            timeout=check.seconds(template["timeout"]),
        )
        return LocalTasks(what, task_count, self._processes)

    def _get(self, request: RecordedRequest, **name: str) -> Answer:
        return self._answer(request, self._resource(self._find_execution(**name)))

    def _cancel(self, request: RecordedRequest, **name: str) -> Answer:
        execution = self._find_execution(**name)
        if execution.done:
            message = f"Execution '{execution.execution_id}' has already completed and cannot be cancelled."
            raise refuse("FAILED_PRECONDITION", message)
        if execution.cancelled_at is not None:
            raise refuse("FAILED_PRECONDITION", f"Execution '{execution.execution_id}' is already being cancelled.")
        execution.cancel()
        return self._answer(request, self._operate(execution))

    def _delete(self, request: RecordedRequest, **name: str) -> Answer:
        execution = self._find_execution(**name)
        execution.cancel()
        del self._stored[execution.name]
        return self._answer(request, self._operate(execution))

    def _find_execution(self, project: str, region: str, job: str, execution: str) -> FakeExecution:
        name = f"projects/{project}/locations/{region}/jobs/{job}/executions/{execution}"
        if name not in self._stored:
            place = f"in region '{region}' in project '{project}'"
            raise refuse("NOT_FOUND", f"Resource '{execution}' of kind 'EXECUTION' {place} does not exist.")
        return self._stored[name]

    def _resource(self, execution: FakeExecution) -> dict[str, Any]:
        return run.resource(execution, self.epoch_ms)

    def _list(self, request: RecordedRequest, project: str, region: str, job: str) -> Answer:
        """List newest first; the job `-` stands for all of a place."""
        if job != "-":
            self._template(project, region, job)  # 404 for a job that does not exist
        (size, last), now = check.page_asked(request), self.clock()
        found = (
            execution
            for execution in behind(self._stored.values(), last)
            if (execution.project, execution.region) == (project, region)
            and job in ("-", execution.job_name)
            and execution.listed_at <= now
        )
        page, more = page_of(found, size)
        asked = self._asked(request, "executions")
        shown = [run.resource(execution, self.epoch_ms, asked) for execution in page]
        return self._answer(request, {**({"executions": shown} if shown else {}), **more})

    # -- operations ----------------------------------------------------------------------------------------

    def _operate(self, execution: FakeExecution) -> dict[str, Any]:
        name = f"{execution.parent}/operations/{uuid.uuid4()}"
        self._operations[name] = execution
        return self._operation(name)

    def _operation(self, name: str) -> dict[str, Any]:
        if name not in self._operations:
            raise refuse("NOT_FOUND", f"Operation '{name}' does not exist.")
        execution = self._operations[name]
        return run.operation(name, execution, self._resource(execution))

    def _get_operation(self, request: RecordedRequest, project: str, region: str, operation: str) -> Answer:
        name = f"projects/{project}/locations/{region}/operations/{operation}"
        return self._answer(request, self._operation(name))

    async def _wait(self, request: RecordedRequest, project: str, region: str, operation: str) -> Answer:
        """Answer when the operation is done, or after `timeout` (default: 30 s)."""
        name = f"projects/{project}/locations/{region}/operations/{operation}"
        loop = asyncio.get_running_loop()
        until = loop.time() + check.seconds((request.json or {}).get("timeout") or "30s")
        while not self._operation(name).get("done") and loop.time() < until:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
        return self._answer(request, self._operation(name))
