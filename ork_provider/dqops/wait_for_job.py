"""DqopsWaitForJobOperator: waits for jobs that other tasks, or others altogether, have started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ork_provider.dqops.base import DqopsGate, DqopsJobOperator, check_text, dqops_service, new_gate
from ork_provider.dqops.job import DqopsJob, check_base_url
from ork_provider.dqops.outcome import DqopsNoJob, without_retries
from ork_provider.dqops.upstream import jobs_of
from ork_provider.errors import JobError, JobLost, TryAgain
from ork_provider.job import Job, JobStatus
from ork_provider.templates import is_template

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.worker import Worker


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
    :param job_id: number that DQOps has given the job
    """

    template_fields: Sequence[str] = (
        "task_id_to_wait_for",
        "job_business_key",
        "job_id",
        "base_url",
        "dqops_conn_id",
        "fail_at_severity",
    )
    ui_color = "#e3f3f1"

    def __init__(
        self,
        *,
        task_id_to_wait_for: str | None = None,
        job_business_key: str | None = None,
        job_id: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.task_id_to_wait_for = task_id_to_wait_for
        self.job_business_key = job_business_key
        self.job_id = job_id
        self._check_names()

    def _check_names(self) -> None:
        for name in ("task_id_to_wait_for", "job_business_key"):
            check_text(self, name, getattr(self, name))
        number = self.job_id
        if number is None or is_template(number):
            return
        if isinstance(number, bool) or not str(number).isdecimal() or not isinstance(number, int | str):
            raise self.bad_argument("job_id", "a number, as such or as a text", number)

    def execute(self, context: Context) -> Any:
        """Find the jobs and wait for them; defer unless they have ended already."""
        with self._worker() as worker:
            jobs = worker.run_interruptible(self._pin_all(self.wanted_jobs(context), worker))
            return self._watch(context, jobs, self._new_deadline(), worker)

    def wanted_jobs(self, context: Context) -> Sequence[DqopsJob]:
        """See WaitOperator; what was a template when the DAG was parsed is checked now."""
        self._check_names()
        new_gate(self)
        if self.base_url is not None:
            check_base_url(self.base_url, f"{self}.base_url")
        if self.job_id is not None:
            return [DqopsJob(job_id=int(self.job_id), base_url=self.base_url)]
        if self.job_business_key is not None:
            return [DqopsJob(job_business_key=self.job_business_key, base_url=self.base_url)]
        found = self._find_upstream(context)
        return [replace(job, base_url=self.base_url) for job in found] if self.base_url else found

    def _find_upstream(self, context: Context) -> list[DqopsJob]:
        tasks = self._tasks_to_wait_for()
        ti: Any = context["ti"]
        named = self.task_id_to_wait_for is not None
        jobs = {task.task_id: jobs_of(task, ti, named=named) for task in tasks}
        missing = [task for task in tasks if not jobs[task.task_id] and _starts_jobs(task)]
        if missing := [task.task_id for task in missing if not _was_skipped(task, ti)]:
            raise DqopsNoJob(
                f"{self}: {', '.join(missing)} left no job: neither return_value nor ork_job in XCom holds one. The "
                "task has failed before it started its job; see its log."
            )
        found = list(dict.fromkeys(job for some in jobs.values() for job in some))
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

    async def _pin_all(self, jobs: Sequence[DqopsJob], worker: Worker) -> list[Job]:
        return [await self._pin(job, worker) for job in jobs]

    async def _pin(self, job: DqopsJob, worker: Worker) -> DqopsJob:
        """Return a job by its number: a key may come to name another job while we wait."""
        if job.job_id is not None:
            return job
        try:
            return await (await dqops_service(worker)).find(job) or job
        except TryAgain as exc:
            self.log.warning("%s: %s; waiting for it by its key", job, exc)
            return job

    def failure(self, verdict: str, message: str, jobs: Sequence[tuple[Job, JobStatus]]) -> Exception:
        """See WaitOperator; after a job's own end there is nothing that a retry could wait for.

        A key that nobody has had so far is another matter: its job may yet be started.
        """
        error = super().failure(verdict, message, jobs)
        unseen = any(isinstance(job, DqopsJob) and job.job_id is None for job, _ in jobs)
        if not isinstance(error, JobError) or (unseen and isinstance(error, JobLost)):
            return error
        return without_retries(error)


def _starts_jobs(task: Any) -> bool:
    kind = getattr(task, "operator_class", type(task))
    return isinstance(kind, type) and issubclass(kind, DqopsJobOperator)


def _was_skipped(task: Any, ti: Any) -> bool:
    """Whether no instance of a task was to run at all; in doubt it was."""
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[task.task_id], run_ids=[ti.run_id]).get(ti.run_id, {})
    return bool(states) and {str(getattr(state, "value", state)) for state in states.values()} <= {"skipped", "removed"}


def _where_looked(tasks: Sequence[Any]) -> str:
    """Say where a job was looked for, and how to name one."""
    how = "Name it with job_id, job_business_key or task_id_to_wait_for."
    if not tasks:
        return f"The task has no upstream task. {how}"
    return f"Looked at return_value and ork_job of {', '.join(task.task_id for task in tasks)}. {how}"
