"""DqopsWaitForJobOperator: waits for jobs that other tasks, or others altogether, have started."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ork_provider.dqops.base import GATE, DqopsGate, DqopsJobOperator, check_text, service_of
from ork_provider.dqops.job import DqopsJob
from ork_provider.dqops.outcome import DqopsNoJob, InvalidForGood, without_retries
from ork_provider.dqops.upstream import left_by, read_jobs
from ork_provider.dqops.values import read_text
from ork_provider.errors import BadRequest, InvalidJob, JobError, JobLost, TryAgain
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.templates import holds_template
from ork_provider.waiting import FAILED, STOPPED, TIMEOUT

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.worker import Worker

LOOK_AGAIN = 2.0
"""Seconds after which DQOps is asked once more for a number that it does not know, before the job is lost."""


class DqopsWaitForJobOperator(DqopsGate):
    """Waits for jobs of DQOps that are there already, without holding a worker; never cancels one.

    Which jobs: ``job_id``, else ``job_business_key``, else those of ``task_id_to_wait_for``, else those of all
    direct upstream tasks. A task's jobs are found in its result, or where an operator of ours leaves a job that
    it has started (XCom ``ork_job``), also when that task has failed or timed out: use
    ``trigger_rule="all_done"``.

    A try that has waited for ``wait_timeout`` fails, and the next one goes on: ``retries`` and ``retry_delay`` say
    for how long in all. A job that has ended badly fails the task at once, without further tries.

    Returns the job's dict with ``state`` and ``stats``; of several ``{"jobs": [...]}``.

    :param task_id_to_wait_for: id of the task whose job is waited for
    :param job_business_key: key that the job was started with
    :param job_id: number that DQOps has given the job; or a result that names jobs, such as ``run_checks.output``
    """

    template_fields: Sequence[str] = (
        "task_id_to_wait_for",
        "job_business_key",
        "job_id",
        "base_url",
        "dqops_conn_id",
        *GATE,
    )
    ui_color = "#e3f3f1"

    def __init__(
        self,
        *,
        task_id_to_wait_for: str | None = None,
        job_business_key: str | None = None,
        job_id: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.task_id_to_wait_for = task_id_to_wait_for
        self.job_business_key = job_business_key
        self.job_id = job_id
        self._check_names()

    def _check_names(self, *, rendered: bool = False) -> None:
        for name in ("task_id_to_wait_for", "job_business_key"):
            check_text(self, name, getattr(self, name), rendered=rendered)
        if self.job_id is not None and (rendered or not holds_template(self.job_id)):
            self._read_job_id()

    def _read_job_id(self) -> list[DqopsJob]:
        """Return the jobs that ``job_id`` names: one by its number, or those of a result."""
        value = self.job_id
        if type(value) is int or isinstance(value, str):
            jobs = [DqopsJob(job_id=int(value))] if re.fullmatch("[0-9]+", str(value)) else []
        else:
            jobs = list(dict.fromkeys(read_jobs(value, bare=False)))
        if not jobs:
            raise self.bad_argument("job_id", "a number, as such or as a text, or a result that names a job", value)
        return jobs

    def check_rendered(self) -> None:
        """See DqopsOperator."""
        super().check_rendered()
        self._check_names(rendered=True)

    def execute(self, context: Context) -> Any:
        """Find the jobs and wait for them; defer unless they have ended already."""
        try:
            wanted = self.wanted_jobs(context)
        except DqopsNoJob:
            raise
        except InvalidJob as exc:
            raise InvalidForGood(str(exc)) from exc
        with self._worker() as worker:
            running = JobStatus(state=JobState.RUNNING)
            seen = worker.run_interruptible(self._look_up([(job, running) for job in wanted], worker))
            if said := _say_lost(seen):
                return self._complete(context, FAILED, said, seen, worker)
            return self._watch(context, [job for job, _ in seen], self._new_deadline(), worker)

    def _new_deadline(self) -> datetime | None:
        return self._end_of_try(super()._new_deadline())

    def wanted_jobs(self, context: Context) -> Sequence[DqopsJob]:
        """See WaitOperator; what was a template when the DAG was parsed is checked now."""
        self.check_rendered()
        if self.job_id is not None:
            found = self._read_job_id()
        elif self.job_business_key is not None:
            found = [DqopsJob(job_business_key=read_text(self.job_business_key))]
        else:
            found = self._find_upstream(context)
        return list(dict.fromkeys(self._place(job) for job in found))

    def stored_jobs(self, context: Context) -> Sequence[DqopsJob]:
        """Return nothing: a key may have come to name another job than the one that was waited for."""
        return ()

    def _place(self, job: DqopsJob) -> DqopsJob:
        """Return a job at the server and over the connection that this operator names, else those of its starter."""
        return replace(job, base_url=self.base_url or job.base_url, conn_id=self._job_conn_id or job.conn_id)

    def _find_upstream(self, context: Context) -> list[DqopsJob]:
        tasks = self._tasks_to_wait_for()
        ti: Any = context["ti"]
        named = self.task_id_to_wait_for is not None
        left = [left_by(task, ti, named=named, starts_jobs=_starts_jobs(task)) for task in tasks]
        if missing := ", ".join(each.missing for each in left if each.missing):
            raise DqopsNoJob(
                f"{self}: {missing} left no job: neither return_value nor ork_job in XCom holds one. What has failed "
                "before it started its job says why in its log."
            )
        found = list(dict.fromkeys(job for each in left for job in each.jobs))
        if not found:
            raise DqopsNoJob(f"{self}: no DQOps job to wait for. {_where_looked(tasks)}")
        return found

    def _tasks_to_wait_for(self) -> list[Any]:
        dag = self.get_dag()
        if self.task_id_to_wait_for is None:
            return [dag.get_task(task_id) for task_id in sorted(self.upstream_task_ids)] if dag else []
        if dag is None or not dag.has_task(self.task_id_to_wait_for):
            there = ", ".join(sorted(dag.task_ids)) if dag else "none"
            raise DqopsNoJob(
                f"{self}: task_id_to_wait_for is {self.task_id_to_wait_for!r}, but the DAG has no such task; "
                f"its tasks: {there}."
            )
        return [dag.get_task(self.task_id_to_wait_for)]

    async def _look_up(
        self, jobs: Sequence[tuple[Job, JobStatus]], worker: Worker, *, late: bool = False
    ) -> list[tuple[Job, JobStatus]]:
        """Return jobs by their numbers: a key may come to name another job while we wait.

        One that DQOps does not know is lost; one of which only the key is known not before it is ``late``.
        """
        return list(await asyncio.gather(*(self._look_up_one(*one, worker, late=late) for one in jobs)))

    async def _look_up_one(self, job: Job, status: JobStatus, worker: Worker, *, late: bool) -> tuple[Job, JobStatus]:
        assert isinstance(job, DqopsJob)
        if status.state.final:
            return job, status
        found = await self._find(job, worker)
        if found is None and (late or job.job_id is not None):
            return job, JobStatus(state=JobState.LOST)
        return found or job, status

    async def _find(self, job: DqopsJob, worker: Worker) -> DqopsJob | None:
        """Return the job by its number, as it is if DQOps gives no good answer, None if it does not know it."""
        try:
            service = await service_of(job, worker)
            found = await service.find(job)
            if found is None and job.job_id is not None:
                await self.clock.sleep(LOOK_AGAIN)
                found = await service.find(job)
        except (TryAgain, BadRequest) as exc:  # the wait forgives it, or says so itself
            self.log.warning("%s: %s", job, exc)
            return job
        return found

    def _complete(
        self,
        context: Context,
        verdict: str,
        message: str,
        jobs: Sequence[tuple[Job, JobStatus]],
        worker: Worker,
    ) -> Any:
        if verdict in (TIMEOUT, STOPPED):  # of a job that DQOps does not know nobody may say that it runs
            jobs = worker.run(self._look_up(jobs, worker, late=True))
            verdict, message = (FAILED, said) if (said := _say_lost(jobs)) else (verdict, message)
        return super()._complete(context, verdict, message, jobs, worker)

    def failure(self, verdict: str, message: str, jobs: Sequence[tuple[Job, JobStatus]]) -> Exception:
        """See WaitOperator; after a job's own end there is nothing that a retry could wait for.

        A key that nobody has had so far is another matter: its job may yet be started.
        """
        error = super().failure(verdict, message, jobs)
        lost = [job for job, status in jobs if status.state is JobState.LOST]
        unseen = all(isinstance(job, DqopsJob) and job.job_id is None for job in lost)
        if not isinstance(error, JobError) or (unseen and isinstance(error, JobLost)):
            return error
        return without_retries(error)


def _starts_jobs(task: Any) -> bool:
    kind = getattr(task, "operator_class", type(task))
    return isinstance(kind, type) and issubclass(kind, DqopsJobOperator)


def _say_lost(jobs: Sequence[tuple[Job, JobStatus]]) -> str:
    """Say which jobs DQOps does not know; nothing if there are none."""
    lost = [job for job, status in jobs if status.state is JobState.LOST and isinstance(job, DqopsJob)]
    numbers = ", ".join(str(job) for job in lost if job.job_id is not None)
    keys = ", ".join(repr(job.job_business_key) for job in lost if job.job_id is None)
    said = [
        f"{numbers} is not known to DQOps, which forgets a job an hour after its end, and all jobs when it is "
        "restarted; another data domain has other jobs."
        if numbers
        else "",
        f"DQOps knows no job with the business key {keys} so far." if keys else "",
    ]
    return " ".join(filter(None, said))


def _where_looked(tasks: Sequence[Any]) -> str:
    """Say where a job was looked for, and how to name one."""
    how = "Name it with job_id, job_business_key or task_id_to_wait_for."
    if not tasks:
        return f"The task has no upstream task. {how}"
    return f"Looked at return_value and ork_job of {', '.join(task.task_id for task in tasks)}. {how}"
