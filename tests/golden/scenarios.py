"""One task of every operator, against fakes whose time stands still: what it stores is the same every time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

import httpx
import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard

from ork_provider.bigquery import BigQueryJob
from ork_provider.decorators import DeferredOperator
from ork_provider.dependency import DependencyWaitOperator, TaskDependency
from ork_provider.dqops import DqopsCollectStatisticsOperator, DqopsTableImportOperator, DqopsWaitForJobOperator
from ork_provider.http import HttpJob, HttpJobSensor
from ork_provider.job import Job, job_from_dict
from ork_provider.operator import WaitForJobsOperator
from ork_provider.testing import Fault
from tests.contract.kinds import KINDS, Kind
from tests.support.state_server import StateServer, serve_states
from tests.support.task import Instance, MemoryStore, Task

NONCE = "0123456789abcdef0123456789abcdef"
FERNET_KEY = "Z29sZGVuLWdvbGRlbi1nb2xkZW4tZ29sZGVuLWtleSE="
"""The key with which a row's secret headers are encrypted; it guards nothing."""

RUNS = 60.0
"""Seconds for which a job runs, of a time that only ``World.end_jobs`` moves on."""


class StillClock:
    """A fake's clock that goes on by hand."""

    def __init__(self) -> None:
        self.at = time.monotonic()

    def __call__(self) -> float:
        return self.at


class RecordingStore(MemoryStore):
    """A task state store that keeps everything that was ever written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[dict[str, Any]] = []

    def set(self, key: str, value: Any) -> None:
        super().set(key, value)
        self.history.append(self.values[key])


@dataclass(kw_only=True)
class World:
    """Running fakes and a task over them.

    :param kinds: the services
    :param make: makes the operator, as the DAG has it
    :param begin: starts the jobs that somebody else has started
    """

    kinds: Sequence[Kind]
    make: Callable[[], Any]
    begin: Callable[[], object] = lambda: None
    clock: StillClock = field(default_factory=StillClock)

    def __post_init__(self) -> None:
        for kind in self.kinds:
            kind.fake.clock = self.clock
            kind.script(RUNS, True, 0.0)

    def let_jobs_fail(self) -> None:
        """Have the jobs that are started from now on fail."""
        for kind in self.kinds:
            kind.script(RUNS, False, 0.0)

    def end_jobs(self) -> None:
        """Let the jobs come to their ends."""
        self.clock.at += 2 * RUNS

    def refuse(self) -> None:
        """Answer nobody how a job is."""
        for kind in self.kinds:
            kind.ask_one_by_one()
            kind.fake.fail(Fault.google(403, "accessDenied"), on=kind.on_status, times=-1)

    def started(self) -> list[int]:
        """Return how many jobs each service has really started."""
        return [len(kind.started()) for kind in self.kinds]

    def live(self) -> int:
        """Return how many jobs run."""
        return sum(len(kind.live()) for kind in self.kinds)

    def cancels(self) -> int:
        """Return how many cancels the services were asked for."""
        return sum(kind.cancels() for kind in self.kinds)

    def names(self) -> dict[str, str]:
        """Map what the services have named their jobs to the names that these have in stored rows."""
        found = {}
        for kind in self.kinds:
            for i, job in enumerate(kind.started(), 1):
                if kind.name == "cloudrun":
                    found[job.execution_id] = f"nightly-{i:05d}"
                if kind.name == "dataproc_batch":
                    found[job.uuid] = f"operation-{i:05d}"
                if kind.name == "dqops":
                    found[str(job.job_id)] = str(17 * 10**14 + i)
        return found

    def new_task(self) -> Task:
        """Return the first of two tries of a task that has not run yet."""
        return Task(Instance(max_tries=1), RecordingStore())


Scenario = Callable[[], AbstractContextManager[World]]


@contextmanager
def airflow(*fakes: Any, **variables: str) -> Iterator[None]:
    """Let Airflow know the connections of the fakes; ids of attempts are always the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExecutorSafeguard, "test_mode", True)
        patch.setattr("ork_provider.operator.job.new_nonce", lambda: NONCE)
        patch.setattr("ork_provider.operator.job.LOOK_INTERVAL", 0.05)
        patch.setattr("ork_provider.operator.owner.CLEAR_GRACE", 0.0)
        for fake in fakes:
            for name, value in fake.connections().items():
                patch.setenv(name, value)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@contextmanager
def submitter(name: str, **arguments: Any) -> Iterator[World]:
    """Yield an operator that starts one job."""
    with KINDS[name]() as kind, airflow(kind.fake):
        yield World(kinds=[kind], make=partial(kind.operator, timeout=3600, **{**kind.result, **arguments}))


@contextmanager
def unmarked_cloud_run() -> Iterator[World]:
    """Yield Cloud Run for an account that may not override anything, so that its execution has no marker."""
    with submitter("cloudrun", overrides=None) as world:
        world.kinds[0].fake.overrides_allowed = False
        yield world


@contextmanager
def secret_http() -> Iterator[World]:
    """Yield an HTTP job with a secret header, which is stored encrypted."""
    from airflow.sdk.crypto import get_fernet

    headers = {"Authorization": "Bearer no-secret-at-all", "X-Team": "blue"}
    with airflow(AIRFLOW__CORE__FERNET_KEY=FERNET_KEY), submitter("custom_http", headers=headers) as world:
        get_fernet.cache_clear()
        try:
            yield world
        finally:
            get_fernet.cache_clear()


@contextmanager
def dqops(make: Callable[..., Any], **arguments: Any) -> Iterator[World]:
    """Yield another operator that starts a job of DQOps."""
    with KINDS["dqops"]() as kind, airflow(kind.fake):
        common = {"task_id": "load", "wait_timeout": None, "timeout": 3600, "cancel_on_timeout": True}
        yield World(kinds=[kind], make=partial(make, poll_interval=0.2, **common, **arguments))


def start_elsewhere(kind: Kind, **arguments: Any) -> Job:
    """Start a job as another task does; return it as a watcher gets it."""
    Task().start(kind.operator(**arguments))
    return job_from_dict(kind.watch(kind.started()[-1]))


@contextmanager
def http_sensor() -> Iterator[World]:
    """Yield a sensor of an HTTP job."""
    with KINDS["custom_http"]() as kind, airflow(kind.fake):
        ours = {"task_id": "load", "poll_interval": 0.2, "timeout": 3600, "message_field": "error"}
        make = partial(HttpJobSensor, endpoint="/jobs/job-1", result_url="/jobs/job-1/result", **ours)
        yield World(kinds=[kind], make=make, begin=partial(start_elsewhere, kind))


@contextmanager
def dqops_watcher() -> Iterator[World]:
    """Yield a task that waits for a job of DQOps which another one has started."""
    with KINDS["dqops"]() as kind, airflow(kind.fake):

        def make() -> Any:
            job_id = kind.started()[-1].job_id
            return DqopsWaitForJobOperator(task_id="load", job_id=job_id, poll_interval=0.2, timeout=3600)

        yield World(kinds=[kind], make=make, begin=partial(start_elsewhere, kind))


@contextmanager
def many() -> Iterator[World]:
    """Yield a task that waits for a job of every kind, each over a connection of its own."""
    jobs: list[Job] = []
    with ExitStack() as stack:
        kinds = {name: stack.enter_context(make()) for name, make in KINDS.items()}
        fakes = {name.upper(): next(iter(kind.fake.connections().values())) for name, kind in kinds.items()}
        stack.enter_context(airflow(**{f"AIRFLOW_CONN_{name}": value for name, value in fakes.items()}))

        def begin() -> None:
            for name, kind in kinds.items():
                conn = next(iter(kind.operator().trigger_class.connection_defaults))
                job = start_elsewhere(kind, **{conn: name})
                jobs.append(job_from_dict({**job.to_dict(), "conn_id": name}))

        def make() -> Any:
            return WaitForJobsOperator(task_id="load", jobs=jobs, poll_interval=0.2, timeout=3600)

        yield World(kinds=list(kinds.values()), make=make, begin=begin)


@contextmanager
def deferred() -> Iterator[World]:
    """Yield a function that starts a BigQuery job and an HTTP job, each handed over as soon as it runs."""
    with KINDS["bigquery"]() as bigquery, KINDS["custom_http"]() as http, airflow(bigquery.fake, http.fake):

        def start_both() -> Iterator[Any]:
            reference = {"projectId": "p", "jobId": f"user_{len(bigquery.started())}", "location": "US"}
            body = {"jobReference": reference, "configuration": {"query": {"query": "SELECT 1"}}}
            httpx.post(f"{bigquery.fake.url}/bigquery/v2/projects/p/jobs", json=body).raise_for_status()
            yield BigQueryJob(project="p", job_id=reference["jobId"], location="US")
            url = httpx.post(f"{http.fake.url}/jobs", json={}).raise_for_status().headers["location"]
            return {"deferred": [HttpJob(url=url, cancel_url=url, message_field="error")], "day": date(2025, 1, 31)}

        ours = {"task_id": "load", "poll_interval": 0.2, "timeout": 3600, "op_args": [], "op_kwargs": {}}
        yield World(kinds=[bigquery, http], make=partial(DeferredOperator, python_callable=start_both, **ours))


@dataclass(kw_only=True)
class DependencyWorld(World):
    """Tasks of another DAG run, in Airflow's own state server."""

    server: StateServer

    def __post_init__(self) -> None:
        self.end = "success"
        self.server.add_run("stock", "manual__2026-11-20", tasks={("load", 0): "running", ("load", 1): None})

    def let_jobs_fail(self) -> None:
        self.end = "failed"

    def end_jobs(self) -> None:
        states = {("load", 0): "success", ("load", 1): self.end}
        self.server.set_tasks(states, "stock", "manual__2026-11-20")

    def refuse(self) -> None:
        self.server.fault = lambda msg: RuntimeError("the supervisor does not answer")


@contextmanager
def dependency() -> Iterator[World]:
    """Yield a task that waits for a mapped task of another DAG run, in this Airflow."""
    from ork_provider.testing.supervisor import FakeSupervisor

    with serve_states() as server, airflow(), pytest.MonkeyPatch.context() as patch:
        for name in ("GetTaskStates", "GetDRCount", "GetDagRunState", "GetTICount"):
            patch.setattr(FakeSupervisor, f"_{name}", lambda _, msg: server.answers(msg), raising=False)
        wanted = TaskDependency(dag_id="stock", run_id="manual__2026-11-20", task_ids=["load"])
        often = {"poll_timeout": 0, "poll_interval": 0.05, "reschedule_delay": 0.05, "error_budget": 0.2}
        make = partial(DependencyWaitOperator, task_id="load", depends_on=[wanted], timeout=3600, **often)
        yield DependencyWorld(kinds=[], make=make, server=server)


SCENARIOS: Mapping[str, Scenario] = {
    "bigquery": partial(submitter, "bigquery"),
    "cloud_run": partial(submitter, "cloudrun"),
    "cloud_run_unmarked": unmarked_cloud_run,
    "dataproc": partial(submitter, "dataproc"),
    "dataproc_batch": partial(submitter, "dataproc_batch"),
    "dependency": dependency,
    "dqops_collect_statistics": partial(dqops, DqopsCollectStatisticsOperator, connection="c"),
    "dqops_import_tables": partial(dqops, DqopsTableImportOperator, connection_name="c", schema_name="s"),
    "dqops_run_checks": partial(submitter, "dqops"),
    "dqops_wait_for_job": dqops_watcher,
    "http": partial(submitter, "custom_http"),
    "http_secret": secret_http,
    "http_sensor": http_sensor,
    "many": many,
    "task_deferred": deferred,
}
"""One for each operator, and for each other form in which one stores what it knows."""


def translate(data: Any, names: Mapping[str, str]) -> Any:
    """Return JSON with the names that stand in it replaced."""
    text = json.dumps(data)
    for old, new in names.items():
        text = text.replace(old, new)
    return json.loads(text)
