"""WaitOperator: watches jobs that exist already; the base of everything that waits."""

from __future__ import annotations

import asyncio
import sys
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ork_provider import metrics
from ork_provider.ending import Ender, end_rest, is_enough, said_of_cancel
from ork_provider.errors import InvalidJob
from ork_provider.job import Job, JobState, JobStatus, describe_job
from ork_provider.operator.arguments import CheckedOperator, to_seconds
from ork_provider.operator.link import ConsoleLink
from ork_provider.operator.outcome import failure, read_event
from ork_provider.settings import default_deferrable, resume_pause
from ork_provider.trigger import JobTrigger
from ork_provider.waiting import (
    ERROR,
    FAILED,
    STOPPED,
    SUCCESS,
    TIMEOUT,
    Clock,
    Journal,
    Outcome,
    Policy,
    SystemClock,
    Until,
    Watch,
    keep_trying,
    wait,
)
from ork_provider.worker import KillSwitch, Worker

if TYPE_CHECKING:
    from airflow.sdk import Context

T = TypeVar("T")

DEFER_GRACE = timedelta(minutes=5)
"""How much later than ours Airflow's own trigger timeout is set: it is only a net."""

EARLIER = 5.0
"""Seconds before ``execution_timeout`` at which a job's deadline is, so that its end can be seen to."""


class WaitOperator(CheckedOperator):
    """Waits for jobs that somebody else has started; base of everything that waits.

    :param poll_interval: seconds between two asks of a job
    :param poll_timeout: seconds to go on asking in the worker, every second, before deferring; 0 asks once
    :param timeout: seconds or timedelta from the first start until the wait ends with TimedOut, however often it
        is resumed; ``execution_timeout`` counts as well, the shorter one holds
    :param error_budget: seconds for which errors that may pass (429, 5xx, resets, ...) are forgiven
    :param cancel_on_kill: cancel the job when the task is killed while it runs or is deferred
    :param cancel_on_timeout: cancel the job when the deadline passes
    :param cancel_rest: with many jobs: cancel what still runs when the wait ends without it
    :param deferrable: False waits in the worker; default: ``[ork] default_deferrable``, which is True
    """

    submits: ClassVar[bool] = False
    job_type: ClassVar[type[Any]] = Job
    """What jobs it waits for."""
    until: Until = "all"
    fail_fast: int = False
    trigger_class: ClassVar[type[JobTrigger]]
    operator_extra_links = (ConsoleLink(),)
    job_link: str | None = None
    carried: Mapping[str, Any] = MappingProxyType({})
    """Arguments of ``execute_complete`` that Airflow keeps while the task is deferred."""
    clock: Clock = SystemClock()
    _looks_once = False  # a wait goes on that has begun before
    _switch: KillSwitch | None = None

    def __init__(
        self,
        *,
        poll_interval: float = 10.0,
        poll_timeout: float = 0.0,
        timeout: timedelta | float | None = None,
        error_budget: float = 600.0,
        cancel_on_kill: bool | None = None,
        cancel_on_timeout: bool | None = None,
        cancel_rest: bool | None = None,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.poll_interval = poll_interval
        self.poll_timeout = poll_timeout
        self.timeout = timeout
        self.error_budget = error_budget
        self.cancel_on_kill = self.submits if cancel_on_kill is None else cancel_on_kill
        self.cancel_on_timeout = self.submits if cancel_on_timeout is None else cancel_on_timeout
        self.cancel_rest = self.submits if cancel_rest is None else cancel_rest
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.check_seconds("poll_interval", poll_interval)
        self.check_seconds("poll_timeout", poll_timeout, zero=True)
        self.check_seconds("error_budget", error_budget)
        if timeout is not None:
            self.check_seconds("timeout", to_seconds(timeout))

    # What a subclass says ------------------------------------------------------------------------

    @abstractmethod
    def wanted_jobs(self, context: Context) -> Sequence[Job]:
        """Return the jobs to wait for, from the rendered arguments."""

    @property
    def look_interval(self) -> float:
        """Seconds between two asks of the worker, before it defers."""
        return 1.0

    @property
    def wait_interval(self) -> float:
        """Seconds between two asks of the triggerer, or of a worker that does not defer."""
        return self.poll_interval

    @property
    def connections(self) -> dict[str, Any]:
        """The connection parameters by name."""
        return {name: getattr(self, name) for name in self.trigger_class.connection_defaults}

    async def finish(self, job: Job, status: JobStatus, worker: Worker) -> dict[str, Any]:
        """Return what the result holds beside the job's dict; the job has succeeded."""
        return {}

    # The life of the task ------------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Wait for the jobs; defer unless they have ended already."""
        with self._worker() as worker:
            return self._watch(context, self.wanted_jobs(context), self._new_deadline(), worker)

    def _watch(self, context: Context, jobs: Sequence[Job], deadline: datetime | None, worker: Worker) -> Any:
        mask(jobs)
        self._tell(context, jobs)
        self._guard.answer_for(*jobs)
        tags = metrics.tags_of((job.kind for job in jobs), context["ti"])
        metrics.count("started", tags, by=0 if self._looks_once else 1)
        policy = Policy(poll_interval=self.look_interval, jitter=0.0, error_budget=self.error_budget)
        began = self.clock.monotonic()
        tally = metrics.Tally(tags, began)
        watch = self._new_watch(self._end_of_look(deadline), policy, worker, tally)
        watch.journal = None
        outcome = self._wait(jobs, watch, worker)
        if outcome.verdict == TIMEOUT and not _passed(deadline, self.clock):
            tally.pause(watch.asks)
            if self.deferrable:
                self._defer(context, jobs, deadline, watch.asks)
            policy = Policy(poll_interval=self.wait_interval, error_budget=self.error_budget)
            tally = metrics.Tally(tags, self.clock.monotonic())
            watch = self._new_watch(deadline, policy, worker, tally)
            outcome = self._wait(jobs, watch, worker)
        tally.finished(outcome.verdict, self.clock.monotonic() - began, watch.asks)
        if self.cancel_rest:
            outcome = worker.run(end_rest(outcome, worker.services, clock=self.clock, log=self.log))
        return self._complete(context, outcome.verdict, outcome.message, outcome.jobs, worker)

    def _end_of_look(self, deadline: datetime | None) -> datetime:
        """Return until when the worker asks before it defers; a ``timeout`` of that look means: not yet."""
        until = self.clock.now() + timedelta(seconds=self.poll_timeout)
        return min(until, deadline) if deadline else until

    def _wait(self, jobs: Sequence[Job], watch: Watch, worker: Worker) -> Outcome:
        outcome = worker.run_interruptible(wait(jobs, watch, until=self.until, fail_fast=self.fail_fast))
        self._guard.check()
        return outcome

    def _new_watch(self, deadline: datetime | None, policy: Policy, worker: Worker, tally: metrics.Tally) -> Watch:
        return Watch(
            ask=worker.services.check,
            policy=policy,
            clock=self.clock,
            deadline=deadline,
            journal=Journal(self.log, self.clock),
            on_error=tally.error,
        )

    def _tell(self, context: Context, jobs: Sequence[Job], listed: Sequence[dict[str, Any]] = ()) -> None:
        """Push the jobs and a console link before waiting, and again with their states before the task fails."""
        told = listed or [{**job.public_dict(), "link": job.link} for job in jobs]
        self.job_link = next((job.link for job in jobs if job.link), None)
        ti = context["ti"]
        ti.xcom_push(key="ork_job", value=told[0] if len(told) == 1 else told)
        if self.job_link:
            ti.xcom_push(key=ConsoleLink().xcom_key, value=self.job_link)

    def _defer(self, context: Context, jobs: Sequence[Job], deadline: datetime | None, asks: int) -> None:
        metrics.count("deferred", metrics.tags_of((job.kind for job in jobs), context["ti"]))
        now = self.clock.now()
        trigger = self.trigger_class(
            jobs=[self._for_trigger(job) for job in jobs],
            until=self.until,
            fail_fast=self.fail_fast,
            deadline=deadline.isoformat() if deadline else None,
            not_before=(now + resume_pause()).isoformat(),
            poll_interval=self.wait_interval,
            error_budget=self.error_budget,
            cancel_on_kill=self.cancel_on_kill,
            cancel_rest=self.cancel_rest,
            cancel_on_timeout=self.cancel_on_timeout,
            **self.connections,
        )
        net = max(deadline - now, timedelta(0)) + DEFER_GRACE if deadline else None
        said = {"task": self.task_id, "poll_count": asks, "reschedule_delay": self.wait_interval}
        self.log.info("Deferring; the triggerer waits for %s", ", ".join(map(str, jobs[:5])), **said)
        self.defer(trigger=trigger, method_name="execute_complete", kwargs=dict(self.carried) or None, timeout=net)

    def _for_trigger(self, job: Job) -> dict[str, Any]:
        """Return a job's dict with all that its trigger needs."""
        sealed, full = job.sealed_dict(), job.to_dict()
        if sealed.get("withheld_headers") == full.get("withheld_headers"):
            return sealed
        self.log.warning(
            "%s has secret headers, and Airflow has no Fernet key ([core] fernet_key): they are stored with the "
            "trigger as they are, until it ends. Set a key, or put them into the Airflow connection.",
            job,
        )
        return full

    def execute_complete(self, context: Context, event: Any = None, **unknown: Any) -> Any:
        """Turn the trigger's event into the task's result or its failure; what a later release adds is ignored."""
        if unknown:
            self.log.warning("%s: ignoring unknown arguments %s", self, sorted(unknown))
        verdict, message, jobs = read_event(event, self.job_type, self.until)
        if jobs:
            self.job_link = jobs[0][0].link
        revived = [self.revive(job, status) for job, status in jobs]
        self._guard.answer_for(*(job for job, status in revived if not status.state.final))
        with self._worker() as worker:
            return self._complete(context, verdict, message, revived, worker)

    def revive(self, job: Job, status: JobStatus) -> tuple[Job, JobStatus]:
        """Give a job back what must not be stored, such as sensitive headers."""
        return job, status

    def _complete(
        self,
        context: Context,
        verdict: str,
        message: str,
        jobs: Sequence[tuple[Job, JobStatus]],
        worker: Worker,
    ) -> Any:
        if verdict in (TIMEOUT, STOPPED):
            verdict, message, jobs = self._time_out(message, jobs, worker, stopped=verdict == STOPPED)
        if verdict == SUCCESS:
            self.log.info("%s", message)
            return self._result(context, jobs, worker)
        if verdict == ERROR:
            message = " ".join([message, *self._abandon(context, jobs, worker)])
        if jobs:
            self._tell(context, [job for job, _ in jobs], [describe_job(*one) for one in jobs])
        raise self.failure(verdict, message, jobs)

    def failure(self, verdict: str, message: str, jobs: Sequence[tuple[Job, JobStatus]]) -> Exception:
        """Return the error for a wait that did not end in success."""
        return failure(verdict, message, jobs)

    def result(self, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the task's result, from the dicts of all jobs."""
        return jobs[0] if len(jobs) == 1 else {"jobs": list(jobs)}

    def _result(self, context: Context, jobs: Sequence[tuple[Job, JobStatus]], worker: Worker) -> Any:
        return self.result(worker.run(self._finish_all(jobs, worker)))

    async def _finish_all(self, jobs: Sequence[tuple[Job, JobStatus]], worker: Worker) -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(self._finish(job, status, worker) for job, status in jobs)))

    async def _finish(self, job: Job, status: JobStatus, worker: Worker) -> dict[str, Any]:
        """Return the job's dict with what ``finish`` adds, if it has succeeded."""
        listed = describe_job(job, status)
        if status.state is not JobState.SUCCEEDED:
            return listed
        what = f"Fetching the result of {job}"
        return {**listed, **await self._keep_trying(lambda: self.finish(job, status, worker), what)}

    # Ends that are not the job's own -------------------------------------------------------------

    def _time_out(
        self, message: str, jobs: Sequence[tuple[Job, JobStatus]], worker: Worker, *, stopped: bool = False
    ) -> tuple[str, str, list[tuple[Job, JobStatus]]]:
        """Look once more at what did not end in time, cancel it if that is ours to do, and say what became of it."""
        return self._end_wait(message, jobs, worker, cancels="cancel_on_timeout", stopped=stopped)

    def _end_wait(
        self,
        message: str,
        jobs: Sequence[tuple[Job, JobStatus]],
        worker: Worker,
        *,
        cancels: str,
        stopped: bool = False,
    ) -> tuple[str, str, list[tuple[Job, JobStatus]]]:
        """End a wait for what has not ended.

        :param cancels: the argument that says whether to cancel it
        :param stopped: the trigger has told it to stop already
        """
        ender = self._ender(worker)
        looked = worker.run(ender.look_at_all(jobs))
        running = any(status.state is JobState.RUNNING for _, status in looked)
        if is_enough(looked, self.until):
            if running and self.cancel_rest:
                looked, _ = worker.run(ender.stop_all(looked))
            return SUCCESS, f"{message} But by then it had ended well.", looked
        if looked and not running:
            bad = [one for one in looked if one[1].state is not JobState.SUCCEEDED]
            became = " ".join(said_of_cancel(*one) for one in bad[:5])
            return TIMEOUT if stopped else FAILED, f"{message} {became}", looked
        if not getattr(self, cancels):
            return TIMEOUT, f"{message} {self.said_of_left(cancels)}".strip(), looked
        ended, said = worker.run(ender.stop_all(looked))
        verdict = SUCCESS if is_enough(ended, self.until) else TIMEOUT  # it may have ended well before the cancel came
        return verdict, f"{message} {' '.join(said[:5])}", ended

    def said_of_left(self, cancels: str) -> str:
        """Say why what still runs was not cancelled."""
        return f"What still runs was left running ({cancels}=False)."

    def _abandon(self, context: Context, jobs: Sequence[tuple[Job, JobStatus]], worker: Worker) -> list[str]:
        """After an error of the watch itself: leave the job to the next try, or cancel it if there is none; say so."""
        if not (self.submits and self.cancel_on_kill):
            return []
        ti = context["ti"]
        if ti.try_number <= (getattr(ti, "max_tries", 0) or 0):
            self.log.warning("The job is left as it is; the next try will find it again")
            return []
        if not jobs:  # an event that could not be read, or that a trigger sent which could not read its own
            jobs = [self.revive(job, JobStatus(state=JobState.RUNNING)) for job in self.stored_jobs(context)]
        running = [(job, status) for job, status in jobs if not status.state.final]
        for job, _ in running:
            self.log.warning("%s has no owner any more: this was the last try", job)
        _, said = worker.run(self._ender(worker).stop_all(running))
        return said[:5]

    async def _keep_trying(self, call: Callable[[], Awaitable[T]], what: str, budget: float | None = None) -> T:
        policy = Policy(error_budget=min(budget or self.error_budget, self.error_budget))
        return await keep_trying(call, policy=policy, clock=self.clock, log=self.log, what=what)

    def _ender(self, worker: Worker) -> Ender:
        return Ender(services=worker.services, clock=self.clock, log=self.log, error_budget=self.error_budget)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; where Airflow itself gave up on the trigger, end the wait as at the deadline."""
        from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout

        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as gave_up:
            try:
                return self._go_on_without_trigger(context, gave_up)
            except InvalidJob as exc:  # what Airflow says of the trigger must not be lost over it
                raise type(gave_up)(f"{gave_up}. {exc}") from exc

    def _go_on_without_trigger(self, context: Context, gave_up: Exception) -> Any:
        """Take the job's own end if it has one; otherwise cancel it, and fail with what Airflow says and became of it.

        A crashed trigger leaves its job without an owner, as a kill does; Airflow's timeout is a late deadline.
        """
        running = JobStatus(state=JobState.RUNNING)
        jobs = [self.revive(job, running) for job in self.stored_jobs(context)]
        if not jobs:
            raise gave_up
        mask([job for job, _ in jobs])
        self._guard.answer_for(*(job for job, _ in jobs))
        cancels = "cancel_on_timeout" if type(gave_up).__name__ == "TaskDeferralTimeout" else "cancel_on_kill"
        with self._worker() as worker:
            said = f"Airflow gave up on the trigger ({gave_up})."
            verdict, message, jobs = self._end_wait(said, jobs, worker, cancels=cancels)
            if verdict != TIMEOUT:
                return self._complete(context, verdict, message, jobs, worker)
        self._tell(context, [job for job, _ in jobs], [describe_job(*one) for one in jobs])
        raise self.given_up(gave_up, message, jobs) from gave_up

    def given_up(self, gave_up: Exception, message: str, jobs: Sequence[tuple[Job, JobStatus]]) -> Exception:
        """Return the error for a wait on whose trigger Airflow has given up."""
        return type(gave_up)(message)

    def stored_jobs(self, context: Context) -> Sequence[Job]:
        """Return the jobs that the task waits for, where no event names them."""
        return self.wanted_jobs(context)

    def on_kill(self) -> None:
        """Stop, and cancel the job if it is ours; runs inside the main thread, which then goes on."""
        timed_out = type(sys.exc_info()[1]).__name__ == "AirflowTaskTimeout"  # Airflow's execution_timeout
        self._guard.kill(cancels=self.cancel_on_timeout if timed_out else self.cancel_on_kill)

    # Small things --------------------------------------------------------------------------------

    @property
    def _guard(self) -> KillSwitch:
        if self._switch is None:  # not in __init__: operators are copied and pickled, threads are not
            self._switch = KillSwitch(self.log, self.connections)
        return self._switch

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        with Worker(self.connections) as worker:
            self._guard.worker = worker
            yield worker

    def _new_deadline(self) -> datetime | None:
        """Return the earlier of ``timeout`` and ``execution_timeout`` from now, if there is one.

        Ours comes a little before Airflow's own execution_timeout, which knows nothing of the job.
        """
        limits = [] if self.timeout is None else [to_seconds(self.timeout)]
        if self.execution_timeout is not None:
            airflows = self.execution_timeout.total_seconds()
            limits.append(airflows - min(EARLIER, airflows / 10))
        return self.clock.now() + timedelta(seconds=min(limits)) if limits else None


def mask(jobs: Sequence[Job]) -> None:
    """Have Airflow mask the secrets of jobs wherever it shows this task's logs and values."""
    secrets = {secret for job in jobs for secret in job.secrets}
    if secrets:
        from airflow.sdk.log import mask_secret

        for secret in secrets:
            mask_secret(secret)


def _passed(deadline: datetime | None, clock: Clock) -> bool:
    return deadline is not None and clock.now() >= deadline
