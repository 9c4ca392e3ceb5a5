"""JobTrigger, the base of all triggers: it translates between Airflow's triggerer and the waiting loop.

Each rule that looks odd here avoids a platform bug that was reproduced on Airflow 3.3.2: ``__init__`` never
raises, because any error but TypeError there kills the whole triggerer (decoding happens in ``run``); the
class path is a literal, because a class of a DAG file cannot be imported by a triggerer; requests to the
supervisor are bounded, because one that it does not know is never answered; a first event may be held back
(``not_before``), because a task that resumes too soon is failed by the scheduler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from ork_provider import metrics
from ork_provider.ending import Ender, cancel_all, end_rest
from ork_provider.errors import InvalidJob, OrkError
from ork_provider.hub import Hub
from ork_provider.job import Job, JobState, JobStatus, cancel_by_hand, describe, describe_job, jobs_from_dicts
from ork_provider.portable import portable
from ork_provider.service import CONNECTIONS, Services
from ork_provider.session import shared_session
from ork_provider.supervisor import ask_supervisor, wake_supervisor
from ork_provider.waiting import ERROR, TIMEOUT, Clock, Journal, Policy, SystemClock, Watch, needed, policy_of, wait

if TYPE_CHECKING:
    from ork_provider.session import Session

KILL_BUDGET = 27.0
"""Seconds that ``on_kill`` may take; Airflow gives it 30."""

KILL_QUESTION = 18.0
"""Seconds of them that Airflow may take to say whether the task was killed; a triggerer's first answer takes longer
on a busy machine, which is why it is woken ahead."""

PROGRESS_INTERVAL = 30.0
"""Least seconds between two ``ork_progress`` XComs: each costs the triggerer's one channel 10 ms."""

PUSHES = 4
"""Triggers that push at a time; the others do so when there is news again: events go through the same channel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A trigger's kwargs, read and checked."""

    jobs: tuple[Job, ...]
    until: str | int
    fail_fast: int
    deadline: datetime | None
    policy: Policy


class JobTrigger(BaseTrigger):
    """Waits in the triggerer for jobs that exist already; submits nothing.

    :param jobs: job dicts (``Job.to_dict()``); jobs, once they have been read
    :param until: ``"all"``, ``"any"`` or the number of jobs that must succeed
    :param fail_fast: end at the first job that did not succeed; or a number: when so many did not
    :param deadline: ISO 8601 UTC time at which the wait ends with a ``timeout`` event
    :param not_before: ISO 8601 UTC time before which no event is sent
    :param poll_interval: seconds between two asks of a job
    :param error_budget: seconds for which errors that may pass are forgiven
    :param cancel_on_kill: cancel the jobs when a user kills the deferred task
    :param cancel_rest: cancel what still runs when the wait ends without it
    :param cancel_on_timeout: cancel what still runs at the deadline; the worker looks how that has ended
    :param more: the connection ids of the service; what is unknown is ignored with a warning, so that a row
        of another release still runs
    """

    classpath: ClassVar[str]
    connection_defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(  # noqa: PLR0917 - a row of any shape must be taken without a TypeError
        self,
        jobs: Any = None,
        until: Any = "all",
        fail_fast: Any = False,
        deadline: Any = None,
        not_before: Any = None,
        poll_interval: Any = 10.0,
        error_budget: Any = 600.0,
        cancel_on_kill: Any = True,
        cancel_rest: Any = False,
        cancel_on_timeout: Any = False,
        **more: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.jobs = jobs
        self.until = until
        self.fail_fast = fail_fast
        self.deadline = deadline
        self.not_before = not_before
        self.poll_interval = poll_interval
        self.error_budget = error_budget
        self.cancel_on_kill = cancel_on_kill
        self.cancel_rest = cancel_rest
        self.cancel_on_timeout = cancel_on_timeout
        for name, default in self.connection_defaults.items():
            setattr(self, name, more.pop(name, default))
        self.unknown = more or None
        self.clock: Clock = SystemClock()
        self._watch: Watch | None = None
        self._tally: metrics.Tally | None = None
        self._progress: tuple[float, Any] = (0.0, None)

    @property
    def connections(self) -> dict[str, Any]:
        """The connection parameters by name; made when asked for, because ten thousand dicts are 2 MB."""
        return {name: getattr(self, name) for name in self.connection_defaults}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See BaseTrigger."""
        kwargs = {name: getattr(self, name) for name in _KWARGS}
        if isinstance(self.jobs, tuple):
            kwargs["jobs"] = [job.sealed_dict() if isinstance(job, Job) else job for job in self.jobs]
        return self.classpath, {**kwargs, **self.connections}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait; send exactly one event (its shape: ``Outcome.to_event``)."""
        self.logger()  # of the class: otherwise each trigger makes one of its own
        try:
            plan = self._read()
        except InvalidJob as exc:
            tally = metrics.Tally(metrics.tags_of((), self.task_instance), self.clock.monotonic())
            tally.error(exc)
            tally.finished(ERROR, 0.0, asks=0)
            await self._hold()
            yield new_event(self._error(f"Trigger argument {exc}"))
            return
        if self.cancel_on_kill and self.task_instance is not None:
            wake_supervisor(self._ask_state)
        async with shared_session() as session:
            event = await self._wait(plan, session)
        await self._hold()
        yield new_event(event)

    def _read(self) -> Plan:
        """Decode and check the kwargs; raise InvalidJob naming the one that is wrong."""
        if self.unknown:
            self.log.warning("%s: ignoring unknown arguments %s", type(self).__name__, sorted(self.unknown))
        for name, value in self.connections.items():
            if value is not None or self.connection_defaults[name] is not None:
                check_connection(name, value)
        jobs = self.jobs = jobs_from_dicts(self.jobs)  # a dict takes four times the memory of its job
        needed(self.until, len(jobs))
        read_time(self.not_before, "not_before")
        return Plan(
            jobs=jobs,
            until=self.until,
            fail_fast=self.fail_fast if isinstance(self.fail_fast, int) else bool(self.fail_fast),
            deadline=read_time(self.deadline, "deadline"),
            policy=policy_of(
                poll_interval=read_seconds(self.poll_interval, "poll_interval"),
                error_budget=read_seconds(self.error_budget, "error_budget"),
            ),
        )

    async def _wait(self, plan: Plan, session: Session) -> dict[str, Any]:
        services, hub = Services.of_all(session, self.connections), Hub.of(session)
        tags = metrics.tags_of({job.kind for job in plan.jobs}, self.task_instance)
        tally = self._tally = metrics.Tally(tags, self.clock.monotonic())
        self._watch = Watch(
            ask=services.check,
            seat=partial(hub.seat, services=services, poll_interval=plan.policy.poll_interval),
            policy=plan.policy,
            clock=self.clock,
            deadline=plan.deadline,
            journal=Journal(self.log, self.clock),
            on_answer=self._hear,
            on_error=self._hear_error,
        )
        watch = self._watch
        metrics.FLIGHT.begin(tags["service"], hub.scopes.__len__)
        try:
            outcome = await wait(plan.jobs, watch, until=plan.until, fail_fast=plan.fail_fast)
        except Exception as exc:  # a bug of ours fails this task, with its traceback in the task's log
            self.log.exception("Waiting failed")
            tally.error(exc)
            tally.finished(ERROR, self.clock.monotonic() - watch.started, watch.asks)
            return self._error(f"Waiting failed: {type(exc).__name__}: {exc}")
        finally:
            metrics.FLIGHT.end(tags["service"])
        tally.finished(outcome.verdict, self.clock.monotonic() - watch.started, watch.asks)
        if len(plan.jobs) > 1 or outcome.verdict in (TIMEOUT, ERROR):  # the end of one job has been said
            self.log.info("%s", outcome.message)
        if self.cancel_rest:
            outcome = await end_rest(outcome, services, clock=self.clock, log=self.log)
        if self.cancel_on_timeout and outcome.verdict == TIMEOUT:  # here and now: a worker may have no slot for minutes
            budget = plan.policy.error_budget
            ender = Ender(services=services, clock=self.clock, log=self.log, error_budget=budget)
            outcome = await ender.stop_late(outcome, plan.until)
        return outcome.to_event()

    async def _hold(self) -> None:
        """Hold the event back until ``not_before``; without a scheduler (``dags test``) there is no need."""
        try:
            not_before = read_time(self.not_before, "not_before")
        except InvalidJob:
            return
        if not_before is not None and self.task_instance is not None:
            early = (not_before - self.clock.now()).total_seconds()
            if early > 0:
                await self.clock.sleep(early)

    def _error(self, message: str) -> dict[str, Any]:
        """Return an event for a wait that could not go on; the jobs are listed as far as they can be read."""
        try:
            jobs = [describe_job(job, self._heard(job), sealed=True) for job in jobs_from_dicts(self.jobs)]
        except InvalidJob:
            jobs = []
        return {"status": ERROR, "message": message, "jobs": jobs}

    def _heard(self, job: Job) -> JobStatus:
        nothing = JobStatus(state=JobState.RUNNING)
        return self._watch.heard.get(job, nothing) if self._watch else nothing

    async def on_kill(self) -> None:
        """Cancel the jobs if a user killed the task; not if the trigger was only moved elsewhere.

        Until a killed trigger has ended, the triggerer cancels it again every second, in the middle of its
        on_kill (seen on Airflow 3.3.2: ``to_cancel=self.cancelling_triggers`` in triggerer_job_runner.py). So the
        work is done in a task of its own, which only a shutdown of the triggerer ends.
        """
        if not self.cancel_on_kill:
            return
        killing = asyncio.create_task(self._kill())
        _killing.add(killing)
        killing.add_done_callback(_killing.discard)
        while not killing.done():
            try:
                await asyncio.shield(killing)
            except asyncio.CancelledError:
                await asyncio.sleep(0)

    async def _kill(self) -> None:
        try:
            await asyncio.wait_for(self._kill_jobs(), KILL_BUDGET)
        except asyncio.TimeoutError:
            for job in self._unended():
                self.log.error("%s", cancel_by_hand(job, f"not done in {KILL_BUDGET:g} s"))
        except InvalidJob as exc:
            self.log.error("Nothing could be cancelled: %s", exc)

    async def _kill_jobs(self) -> None:
        began = self.clock.monotonic()
        if await self._is_only_moved():
            self.log.info("The task is still deferred: the trigger was moved, its jobs go on")
            return
        async with shared_session() as session:
            left = began + KILL_BUDGET - self.clock.monotonic()
            services = Services(session, self.connections)
            await cancel_all(self._unended(), services, clock=self.clock, log=self.log, budget=left)

    def _unended(self) -> list[Job]:
        return [job for job in jobs_from_dicts(self.jobs) if not self._heard(job).state.final]

    async def _is_only_moved(self) -> bool:
        """Whether Airflow still has the task as deferred; without an answer, nothing counts as killed."""
        try:
            state = await self._task_state()
        except Exception as exc:
            self.log.error(
                "Airflow did not say whether the task was killed (%s); its jobs go on. If it was, cancel "
                "them by hand: %s",
                f"{type(exc).__name__}: {exc}",
                "; ".join(f"{job} {job.link or ''}" for job in self._unended()),
            )
            return True
        return state == "deferred"

    def _ask_state(self) -> Any:
        """Return the request for the state of the own task."""
        from airflow.sdk.execution_time.comms import GetTaskStates

        ti: Any = self.task_instance
        map_index = getattr(ti, "map_index", -1)
        if map_index is None:
            map_index = -1
        return GetTaskStates(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=map_index)

    async def _task_state(self) -> str | None:
        ti: Any = self.task_instance
        question = self._ask_state()
        answer = await ask_supervisor(question, KILL_QUESTION)
        states = answer.task_states.get(ti.run_id, {})
        # Airflow names a mapped instance "<task_id>_<map_index>" in this answer.
        name = ti.task_id if question.map_index < 0 else f"{ti.task_id}_{question.map_index}"
        state = states.get(name)
        return None if state is None else str(getattr(state, "value", state))

    async def _hear(self, job: Job, status: JobStatus) -> None:
        self._count_asks()
        await self._tell_progress(job, status)

    def _hear_error(self, exc: OrkError) -> None:
        if self._tally is not None:
            self._tally.error(exc)
        self._count_asks()

    def _count_asks(self) -> None:
        if self._watch is not None and self._tally is not None:
            self._tally.asked(self._watch.asks, self.clock.monotonic())

    async def _tell_progress(self, job: Job, status: JobStatus) -> None:
        """Push ``ork_progress`` when something has changed, and not too often.

        How a single job has ended is in the event that follows, and that it runs, without another word, is no news.
        """
        if self.task_instance is None or self._watch is None or (len(self.jobs) == 1 and status.state.final):
            return
        at, told = self._progress
        now = self.clock.monotonic()
        if now - max(at, self._watch.started) < PROGRESS_INTERVAL:
            return
        words = self._words()
        if told is None and not status.message and len(self.jobs) == 1:
            self._progress = (at, words)
            return
        if words == told or len(_pushing) >= PUSHES:
            return
        self._progress = (now, words)
        _pushing.add(id(self))
        try:
            await self._push_progress(words)
        finally:
            _pushing.discard(id(self))

    def _words(self) -> dict[str, Any]:
        """Return what was heard of each job, as ``ork_progress`` has it."""
        heard = self._watch.heard if self._watch else {}
        return {str(job): {"state": s.remote_state or s.state.value, "message": s.message} for job, s in heard.items()}

    async def _push_progress(self, words: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.comms import SetXCom

        ti: Any = self.task_instance
        try:
            await ask_supervisor(
                SetXCom(
                    key="ork_progress",
                    value=portable(words),
                    dag_id=ti.dag_id,
                    task_id=ti.task_id,
                    run_id=ti.run_id,
                    map_index=getattr(ti, "map_index", -1),
                )
            )
        except Exception as exc:  # progress is a courtesy; the wait goes on without it
            self.log.debug("Could not push ork_progress: %s", exc)


class JobsTrigger(JobTrigger):
    """Waits for jobs of any kinds together: one trigger, however many jobs."""

    classpath: ClassVar[str] = "ork_provider.trigger.JobsTrigger"
    connection_defaults: ClassVar[Mapping[str, Any]] = CONNECTIONS


_pushing: set[int] = set()
"""Triggers that push their progress at this moment."""

_killing: set[asyncio.Task[None]] = set()
"""Kills under way, kept from the garbage collector."""

_KWARGS = (
    "jobs",
    "until",
    "fail_fast",
    "deadline",
    "not_before",
    "poll_interval",
    "error_budget",
    "cancel_on_kill",
    "cancel_rest",
    "cancel_on_timeout",
)


def new_event(payload: dict[str, Any]) -> TriggerEvent:
    """Return a trigger's event; what Airflow cannot carry of it would end the triggerer."""
    return TriggerEvent(portable(payload))  # type: ignore[no-untyped-call]


def read_time(value: object, where: str) -> datetime | None:
    """Read an ISO 8601 UTC time."""
    if value is None:
        return None
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise InvalidJob(
            f"{where}: expected a time as 2026-01-31T12:00:00+00:00 (ISO 8601), got {describe(value)}."
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def check_connection(name: str, value: object) -> None:
    """Raise InvalidJob for a connection id or an impersonation chain of the wrong type."""
    if name.endswith("conn_id"):
        if not isinstance(value, str):
            raise InvalidJob(f"{name}: expected the id of an Airflow connection, got {describe(value)}.")
        return
    texts = value if isinstance(value, list | tuple) else [value]
    if value is not None and not all(isinstance(text, str) for text in texts):
        raise InvalidJob(f"{name}: expected None, a text or a list of texts, got {describe(value)}.")


def read_seconds(value: object, where: str) -> float:
    """Read a positive number of seconds."""
    try:
        seconds = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    except OverflowError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidJob(f"{where}: expected a number of seconds greater than 0, got {describe(value)}.")
    return seconds
