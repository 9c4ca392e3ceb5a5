"""DependencyWaitOperator: a task that runs once DAG runs or tasks elsewhere are complete, without holding a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ork_provider import metrics
from ork_provider.attempt import Handover, Store
from ork_provider.dependency.health import has_triggerer
from ork_provider.dependency.itself import check_not_itself
from ork_provider.dependency.job import END, LATEST, SUCCESS, TaskDependency, iso, read_date
from ork_provider.dependency.reading import check_given, read_dependency, shown
from ork_provider.dependency.service import find_run, look_closely, service_of
from ork_provider.dependency.trigger import DependencyWaitTrigger
from ork_provider.errors import InvalidJob, JobError, OrkError, TryAgain
from ork_provider.job import Job, JobState, JobStatus, describe, jobs_from_dicts
from ork_provider.operator.arguments import to_seconds
from ork_provider.operator.outcome import failure
from ork_provider.operator.wait import WaitOperator
from ork_provider.settings import resume_pause
from ork_provider.waiting import FAILED, TIMEOUT, Policy, TooLate, Until, keep_trying, limited
from ork_provider.waiting import SUCCESS as SUCCEEDED
from ork_provider.worker import Worker

if TYPE_CHECKING:
    from airflow.sdk import Context

OPTIONS = ("poll_timeout", "poll_interval", "reschedule_delay")
"""What ``dependency_wait={...}`` may hold."""

GRACE = timedelta(minutes=5)


class DependencyWaitOperator(WaitOperator):
    """Waits for DAG runs, tasks, groups or mapped instances, in this Airflow or another one; never cancels them.

    It looks at once, then every ``poll_interval`` for ``poll_timeout`` seconds; after that it gives the worker back,
    and the triggerer looks every ``reschedule_delay`` seconds, for all who wait for runs of the same DAG at once.
    Returns ``{"dependencies": [...]}``: each one's dict with ``state``, ``message`` and, in ``stats``, its counts.

    :param depends_on: one dependency or several: a ``TaskDependency``, its dict, or the id of a task of this DAG run
    :param poll_timeout: seconds to look from the worker before it is given back; 0 looks once
    :param poll_interval: seconds between two looks from the worker
    :param reschedule_delay: seconds between two looks from the triggerer
    :param dependency_wait: JobFlow's spelling of these three: True, or a dict of them
    :param timeout: seconds or timedelta until the wait ends; None: never
    :param on_timeout: what then becomes of this task: ``"fail"`` or ``"skip"``
    :param on_failed: when a dependency has failed: ``"fail"`` at once, ``"skip"`` this task at once, or ``"continue"``
        when all have ended, whatever they came to
    :param if_missing: of a DAG, a run or a task that does not exist: ``"fail"`` when it still does not after
        ``missing_grace``, or ``"wait"``
    :param missing_grace: seconds or timedelta
    :param until: how many of the dependencies are enough: ``"all"``, ``"any"`` or a number
    :param fallback: when no triggerer is alive: ``"reschedule"`` the task as a sensor does, ``"fail"`` it, or do not
        ask whether there is one (None)
    :param airflow_conn_id: HTTP connection of another Airflow, for all dependencies without a ``conn_id``
    """

    trigger_class = DependencyWaitTrigger
    job_type: ClassVar[type[Any]] = TaskDependency
    template_fields: Sequence[str] = ("depends_on", "airflow_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"depends_on": "json"}
    ui_color = "#e4f0e8"

    def __init__(
        self,
        *,
        depends_on: Any,
        poll_timeout: float = 10.0,
        poll_interval: float = 1.0,
        reschedule_delay: float = 5.0,
        dependency_wait: bool | Mapping[str, float] = True,
        on_timeout: str = "fail",
        on_failed: str = "fail",
        if_missing: str = "fail",
        missing_grace: timedelta | float = GRACE,
        until: Until = "all",
        fallback: str | None = None,
        airflow_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        steps: dict[str, Any] = dict(zip(OPTIONS, (poll_timeout, poll_interval, reschedule_delay), strict=True))
        never = dict.fromkeys(("cancel_on_kill", "cancel_on_timeout", "cancel_rest"), False)
        options = self._read_options(dependency_wait, str(kwargs.get("task_id")))
        steps.update(options)
        super().__init__(
            poll_timeout=steps["poll_timeout"], poll_interval=steps["poll_interval"], **{**kwargs, **never}
        )
        self.depends_on = depends_on
        self.reschedule_delay = steps["reschedule_delay"]
        self.on_timeout = on_timeout
        self.on_failed = on_failed
        self.if_missing = if_missing
        self.missing_grace = missing_grace
        self.until = until
        self.fail_fast = until == "all" and on_failed != "continue"
        self.fallback = fallback
        self.airflow_conn_id = airflow_conn_id
        self._check_arguments()

    @staticmethod
    def _read_options(value: Any, task_id: str) -> Mapping[str, Any]:
        """Read ``dependency_wait``."""
        if value is True:
            return {}
        where = f"{task_id}.dependency_wait"
        if not isinstance(value, Mapping):
            raise InvalidJob(f"{where}: expected True or a dict of {', '.join(OPTIONS)}, got {describe(value)}.")
        if unknown := sorted(str(name) for name in value.keys() - set(OPTIONS)):
            raise InvalidJob(f"{where}: unknown {', '.join(unknown)}; it may hold {', '.join(OPTIONS)}.")
        return cast("Mapping[str, Any]", value)

    def _check_arguments(self) -> None:
        self.check_seconds("reschedule_delay", self.reschedule_delay)
        self.check_seconds("missing_grace", to_seconds(self.missing_grace), zero=True)
        choices: dict[str, tuple[Any, ...]] = {
            "on_timeout": ("fail", "skip"),
            "on_failed": ("fail", "skip", "continue"),
            "if_missing": ("fail", "wait"),
            "fallback": (None, "reschedule", "fail"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise self.bad_argument(name, " or ".join(map(repr, allowed)), getattr(self, name))
        if not (self.until in ("all", "any") or (type(self.until) is int and self.until >= 1)):
            raise self.bad_argument("until", '"all", "any" or a number of dependencies', self.until)
        if isinstance(self.depends_on, str | Sequence | Mapping) and not self.depends_on:
            raise self.bad_argument("depends_on", "at least one dependency", self.depends_on)
        count = check_given(self.depends_on, f"{self}.depends_on")
        if count is not None and type(self.until) is int and self.until > count:
            raise self.bad_argument("until", f"a number up to {count}, of the dependencies", self.until)

    @property
    def depends_on(self) -> Any:
        """The dependencies as dicts, for Airflow to render; a task of this DAG run is a text."""
        return self._depends_on

    @depends_on.setter
    def depends_on(self, value: Any) -> None:
        self._depends_on = shown(value)

    # Which dependencies ------------------------------------------------------------------------------

    def wanted_jobs(self, context: Context) -> Sequence[TaskDependency]:
        """See WaitOperator; runs are named as far as this task's own run says them."""
        given = self.depends_on if isinstance(self.depends_on, list | tuple) else [self.depends_on]
        if not given:
            raise InvalidJob(f"{self}.depends_on: expected at least one dependency, got none.")
        jobs = [read_dependency(one, f"{self}.depends_on[{i}]", context["ti"]) for i, one in enumerate(given)]
        return [self._name_run(job, f"depends_on[{i}]", context) for i, job in enumerate(jobs)]

    def _name_run(self, job: TaskDependency, where: str, context: Context) -> TaskDependency:
        """Give a dependency its run as far as that is known, and what this operator says of all of them."""
        ti = context["ti"]
        if not (job.run_id or job.logical_date or job.run):
            if not job.date_offset and job.dag_id == ti.dag_id and not self._is_elsewhere(job):
                job = replace(job, run_id=ti.run_id, date_offset=None)
            else:
                job = replace(job, logical_date=self._date_of(job, where, context), date_offset=None)
        here = job.dag_id == ti.dag_id and not self._is_elsewhere(job)
        if here and job.logical_date and read_date(job.logical_date, where) == context.get("logical_date"):
            job = replace(job, run_id=ti.run_id, logical_date=None)  # no two runs of a DAG have the same
        grace = timedelta(seconds=to_seconds(self.missing_grace))
        exists_by = iso(self.clock.now() + grace) if self.if_missing == "fail" else None
        return replace(
            job,
            wait_for=END if self.on_failed == "continue" else job.wait_for or SUCCESS,
            exists_by=job.exists_by or exists_by,
        )

    def _date_of(self, job: TaskDependency, where: str, context: Context) -> str:
        own = context.get("logical_date")
        if not isinstance(own, datetime):
            raise InvalidJob(
                f"{self}.{where}: this DAG run has no logical date to find the run of {job.dag_id} by; name that run "
                "by run_id, logical_date or run='latest'."
            )
        try:
            return iso(own + timedelta(seconds=job.date_offset or 0))
        except OverflowError:
            raise InvalidJob(f"{self}.{where}.date_offset: {own:%Y-%m-%d} and {job.which_run} is no date.") from None

    def _is_elsewhere(self, job: TaskDependency) -> bool:
        return (job.conn_id or self.airflow_conn_id) is not None

    async def _find_runs(
        self, jobs: Sequence[TaskDependency], worker: Worker, deadline: datetime | None
    ) -> list[TaskDependency]:
        """Give the dependencies the ids of their runs, of those that exist already.

        Who waits for a date can find its run as well; what "latest" means must be known now.
        """
        silent: dict[str | None, str] = {}
        found = [await self._find_run(job, worker, deadline, silent) for job in jobs]
        for said in silent.values():
            self.log.warning("Which runs are meant is looked for again: %s", said)
        return found

    async def _find_run(
        self, job: TaskDependency, worker: Worker, deadline: datetime | None, silent: dict[str | None, str]
    ) -> TaskDependency:
        """Find one run.

        :param silent: what an Airflow has answered that is not to be asked for dates again, by its connection
        """
        if job.run != LATEST and job.conn_id in silent:
            return job
        left = (deadline - self.clock.now()).total_seconds() if deadline else float("inf")
        what = f"Looking for the run of {job}"
        budget = min(self.error_budget, max(left, 0.0)) if job.run == LATEST else 0.0
        policy = Policy(error_budget=budget)
        trying = keep_trying(
            lambda: find_run(job, worker.services), policy=policy, clock=self.clock, log=self.log, what=what
        )
        try:
            return await (trying if deadline is None else limited(trying, left, self.clock))
        except (TryAgain, TooLate) as exc:
            said = str(exc) or "no answer"
            if job.run != LATEST:
                silent[job.conn_id] = said
                return job
            if deadline is None or budget == self.error_budget:
                raise
            raise self.failure(TIMEOUT, f"The deadline passed; {what[0].lower()}{what[1:]}: {said}.", []) from exc

    # The life of the task ----------------------------------------------------------------------------

    @property
    def look_interval(self) -> float:
        """See WaitOperator."""
        return self.poll_interval

    @property
    def wait_interval(self) -> float:
        """See WaitOperator."""
        return float(self.reschedule_delay)

    def execute(self, context: Context) -> Any:
        """Wait for the dependencies; give the worker back unless they are complete already."""
        with self._worker() as worker:
            rescheduled = self._rescheduled(context)
            wait = rescheduled or self._begin(context, worker)
            self._wait_so_far, self._looks_once = wait, rescheduled is not None
            if type(self.until) is int and self.on_failed != "continue":
                self.fail_fast = len(wait.jobs) - self.until + 1
            return self._watch(context, wait.jobs, wait.deadline, worker)

    _wait_so_far: Handover | None = None
    _looks_once = False

    def _end_of_look(self, deadline: datetime | None) -> datetime:
        """See WaitOperator; a task that was rescheduled looks once, because others need the worker, too."""
        return self.clock.now() if self._looks_once else super()._end_of_look(deadline)

    def _begin(self, context: Context, worker: Worker) -> Handover:
        deadline, own = self._new_deadline(), (context["ti"].dag_id, context["ti"].run_id)
        jobs = worker.run(self._find_runs(self.wanted_jobs(context), worker, deadline))
        for i, job in enumerate(jobs):
            if not self._is_elsewhere(job) and (job.dag_id, job.run_id) == own:
                check_not_itself(job, f"{self}.depends_on[{i}]", self)
        return Handover(
            jobs=tuple(jobs),
            max_tries=int(context["ti"].try_number),
            at=self.clock.now(),
            deadline=deadline,
            output=0,
        )

    def stored_jobs(self, context: Context) -> Sequence[Job]:
        """See WaitOperator: as this try's own XCom has them, with the runs that were found when the wait began."""
        ti: Any = context["ti"]
        told = ti.xcom_pull(task_ids=ti.task_id, key="ork_job", map_indexes=ti.map_index)
        try:
            return jobs_from_dicts(told if isinstance(told, list) else [told])
        except InvalidJob as exc:
            self.log.warning("The XCom ork_job does not say what was waited for, which is looked for again: %s", exc)
        with self._worker() as worker:
            return worker.run(self._find_runs(self.wanted_jobs(context), worker, None))

    def _rescheduled(self, context: Context) -> Handover | None:
        """Return the wait of this try that was rescheduled, if one was."""
        if self.fallback != "reschedule":
            return None
        stored = Store(context, self.log, Handover).load()
        return stored if stored is not None and stored.max_tries == context["ti"].try_number else None

    def _defer(self, context: Context, jobs: Sequence[Job], deadline: datetime | None, asks: int) -> None:
        if self.fallback is not None and not has_triggerer(self.log):
            if self.fallback == "fail":
                raise JobError("No triggerer is alive to wait in (fallback='fail'). Start one: airflow triggerer.")
            self._reschedule(context)
        super()._defer(context, jobs, deadline, asks)

    def _reschedule(self, context: Context) -> None:
        """Have Airflow start this task anew later: the worker is free meanwhile, as with a deferral.

        Not too soon: the scheduler fails a task that starts again before it has heard that its last process has ended.
        """
        from airflow.sdk.exceptions import AirflowRescheduleException

        assert self._wait_so_far is not None
        delay = max(timedelta(seconds=self.reschedule_delay), resume_pause())
        polls = int(self._wait_so_far.output or 0) + 1
        Store(context, self.log, Handover).save(replace(self._wait_so_far, output=polls))
        metrics.count("rescheduled", metrics.tags_of(["dependency"], context["ti"]))
        self.log.info(
            "No triggerer is alive: rescheduled",
            task=self.task_id,
            poll_count=polls,
            reschedule_delay=delay.total_seconds(),
        )
        raise AirflowRescheduleException(datetime.now(timezone.utc) + delay)  # type: ignore[no-untyped-call]

    def _complete(
        self,
        context: Context,
        verdict: str,
        message: str,
        jobs: Sequence[tuple[Job, JobStatus]],
        worker: Worker,
    ) -> Any:
        if verdict != SUCCEEDED:
            jobs, said = worker.run(self._look_closely(jobs, worker))
            message = " ".join([message, *said])
        return super()._complete(context, verdict, message, jobs, worker)

    async def _look_closely(
        self, jobs: Sequence[tuple[Job, JobStatus]], worker: Worker
    ) -> tuple[list[tuple[Job, JobStatus]], list[str]]:
        """Say of whole runs which tasks they lack, and of what is missing what to do."""
        looked: list[tuple[Job, JobStatus]] = []
        said: list[str] = []
        for job, status in jobs:
            assert isinstance(job, TaskDependency)
            if status.state is JobState.FAILED and not job.which_tasks:
                try:
                    closer = await look_closely(job, worker.services)
                except OrkError as exc:
                    self.log.warning("%s: %s", job, exc)
                else:
                    looked.append((job, replace(closer.to_job_status(), state=status.state)))
                    said.append(f"{job}: {closer}.")
                    continue
            looked.append((job, status))
        lost = [job for job, status in looked if status.state is JobState.LOST]
        return looked, said + (await self._explain(lost, worker) if lost else [])

    async def _explain(self, lost: Sequence[Job], worker: Worker) -> list[str]:
        """Say which DAGs there are not, and what to do about what is missing."""
        said = []
        for job in dict.fromkeys(lost):
            assert isinstance(job, TaskDependency)
            try:
                known = await (await service_of(job, worker.services)).source.has_dag(job.dag_id)
            except OrkError:
                known = True
            if not known:
                said.append(f"There is no DAG {job.dag_id!r}.")
        return [*said, "if_missing='wait' waits for what does not exist yet, missing_grace says how long otherwise."]

    def failure(self, verdict: str, message: str, jobs: Sequence[tuple[Job, JobStatus]]) -> Exception:
        """See WaitOperator; ``on_failed`` and ``on_timeout`` may skip the task instead."""
        from airflow.sdk.exceptions import AirflowSkipException

        states = {status.state for _, status in jobs}
        failed = JobState.FAILED in states and JobState.LOST not in states
        if (verdict == TIMEOUT and self.on_timeout == "skip") or (
            verdict == FAILED and failed and self.on_failed == "skip"
        ):
            return AirflowSkipException(message)
        return failure(verdict, message, jobs)

    def given_up(self, gave_up: Exception, message: str, jobs: Sequence[tuple[Job, JobStatus]]) -> Exception:
        """See WaitOperator; Airflow gives up after the deadline, also where no triggerer was alive to notice that."""
        late = type(gave_up).__name__ == "TaskDeferralTimeout"
        return self.failure(TIMEOUT, message, jobs) if late else super().given_up(gave_up, message, jobs)

    def said_of_left(self, cancels: str) -> str:
        """See WaitOperator; nobody expects a dependency to be cancelled."""
        return ""

    def result(self, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the task's result: all dependencies, also when there is only one."""
        return {"dependencies": list(jobs)}
