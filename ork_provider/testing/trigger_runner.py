"""Run a trigger the way Airflow's triggerer does, without a triggerer."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.jobs.triggerer_job_runner import TriggerRunner
    from airflow.sdk.definitions.connection import Connection
    from airflow.triggers.base import BaseTrigger, TriggerEvent

    from ork_provider.testing.supervisor import Answers, FakeSupervisor

When = float | Callable[[], object]
"""Seconds, or a condition that is looked at until it holds."""

DEFAULT_TI: Any = object()
_ID = 1
_LOOK = 0.01  # seconds between two looks at a condition
_LENGTH_PREFIX = 4  # bytes before each frame between the trigger runner and its supervisor


@dataclass
class TriggerResult:
    """What a trigger did.

    `events` as they reach the scheduler (after their trip through the wire format), `killed` whether Airflow
    called `on_kill`, `error` what `run()` ended with (a CancelledError after a kill), `duration` in seconds,
    `xcoms` the (key, value) pairs it pushed, `messages` everything it asked of the supervisor.
    """

    events: list[TriggerEvent] = field(default_factory=list)
    killed: bool = False
    error: BaseException | None = None
    duration: float = 0.0
    xcoms: list[tuple[str, Any]] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)

    @property
    def payload(self) -> Any:
        """The payload of the one event; raises AssertionError unless there is exactly one."""
        assert len(self.events) == 1, f"expected one event, got {self.events} (error: {self.error!r})"
        return self.events[0].payload


async def run_trigger(
    trigger: BaseTrigger,
    *,
    timeout: float = 30.0,
    ti: Any = DEFAULT_TI,
    connections: Mapping[str, Connection | str] | None = None,
    task_state: str = "running",
    kill_after: When | None = None,
    cancel_after: When | None = None,
    answers: Answers | None = None,
) -> TriggerResult:
    """Drive `trigger` through Airflow's own `TriggerRunner.run_trigger` and say what came out.

    The trigger is serialized, stored and rebuilt first, as in production. `connections` maps connection ids
    to a URI, JSON or Connection (AIRFLOW_CONN_* variables are read too); `task_state` is what Airflow says
    of the task. `kill_after` cancels as a user does who marks the task failed, `cancel_after` as a triggerer
    does that shuts down: after so many seconds, or as soon as a function without arguments returns true.
    `ti=None` is the world of `airflow dags test`. `answers` is a callable that may answer any message to the
    supervisor.

    Raises `TimeoutError` when the trigger is not at its end after `timeout` seconds.
    """
    from ork_provider.testing.supervisor import FakeSupervisor

    if ti is DEFAULT_TI:
        ti = task_instance()
    supervisor = FakeSupervisor(ti, connections, task_state, answers)
    result = TriggerResult(xcoms=supervisor.xcoms, messages=supervisor.messages)
    with _supervised_by(supervisor):
        runner, task = _started(rebuilt(trigger), ti, result)
        begin = time.monotonic()
        with _later(kill_after, partial(task.cancel, _user_action())), _later(cancel_after, task.cancel):
            result.error = await _end_of(task, timeout, type(trigger).__name__)
    result.duration = time.monotonic() - begin
    result.events = [_as_sent(entry) for entry in runner.events]
    result.xcoms = supervisor.xcoms
    return result


_supervisors: list[FakeSupervisor] = []
_outermost = ExitStack()


@contextmanager
def _supervised_by(supervisor: FakeSupervisor) -> Iterator[None]:
    """Let triggers talk to a supervisor; of several at a time it is the last one's, and none is left behind.

    Airflow's own `set_supervisor_comms` puts back what it has found, which may be that of a run that has ended.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.supervisor import set_supervisor_comms

    if not _supervisors:
        _outermost.enter_context(set_supervisor_comms(supervisor))
    _supervisors.append(supervisor)
    setattr(task_runner, "SUPERVISOR_COMMS", supervisor)  # noqa: B010 - typed as another class
    try:
        yield
    finally:
        _supervisors.remove(supervisor)
        if _supervisors:
            setattr(task_runner, "SUPERVISOR_COMMS", _supervisors[-1])  # noqa: B010
        else:
            _outermost.close()


def _started(trigger: BaseTrigger, ti: Any, result: TriggerResult) -> tuple[TriggerRunner, asyncio.Task[None]]:
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    trigger.task_instance = ti
    trigger.trigger_id = _ID
    setattr(trigger, "timeout_after", None)  # noqa: B010 - the triggerer sets it, BaseTrigger does not declare it
    _note_kill(trigger, result)
    runner = TriggerRunner()  # type: ignore[no-untyped-call]
    task = asyncio.create_task(runner.run_trigger(_ID, trigger, None, None))
    runner.triggers[_ID] = {"task": task, "is_watcher": False, "name": type(trigger).__name__, "events": 0}
    return runner, task


def _user_action() -> str:
    """Return the message by which Airflow marks that a user, and not a shutdown, cancels."""
    from airflow.jobs.triggerer_job_runner import _USER_ACTION_CANCEL_MSG

    return _USER_ACTION_CANCEL_MSG


@contextmanager
def _later(when: When | None, action: Callable[[], object]) -> Iterator[None]:
    """Do something at its time, if that comes."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        if callable(when) and not when():
            timer = loop.call_later(_LOOK, look)
        else:
            action()

    if when is not None:
        timer = loop.call_later(_LOOK if callable(when) else when, look)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


async def _end_of(task: asyncio.Task[None], timeout: float, name: str) -> BaseException | None:
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
    finally:
        task.cancel()
    if not done:
        await asyncio.wait({task}, timeout=5)
        raise TimeoutError(f"{name} was still running after {timeout:g} s")
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def rebuilt(trigger: BaseTrigger) -> BaseTrigger:
    """Store a trigger and load it again, as it travels from the worker through the database."""
    from airflow.models.trigger import Trigger
    from airflow.sdk._shared.module_loading import import_string
    from airflow.serialization.decoders import smart_decode_trigger_kwargs

    path, kwargs = trigger.serialize()
    stored = Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(kwargs))
    decode: Callable[[Any], Any] = smart_decode_trigger_kwargs
    loaded = {name: decode(value) for name, value in stored.items()}
    new: BaseTrigger = import_string(path)(**loaded)
    return new


def task_instance(**fields: Any) -> Any:
    """Build a task instance as a trigger sees it: dag `dag`, task `task`, run `run`, try 1, not mapped."""
    from airflow.executors.workloads.task import TaskInstanceDTO

    defaults = {
        "id": uuid.uuid4(),
        "dag_version_id": uuid.uuid4(),
        "dag_id": "dag",
        "task_id": "task",
        "run_id": "run",
        "try_number": 1,
        "map_index": -1,
        "queue": "default",
        "pool_slots": 1,
        "priority_weight": 1,
    }
    return TaskInstanceDTO(**{**defaults, **fields})


def _note_kill(trigger: BaseTrigger, result: TriggerResult) -> None:
    on_kill = trigger.on_kill

    async def noted() -> None:
        result.killed = True
        await on_kill()

    setattr(trigger, "on_kill", noted)  # noqa: B010 - a method of one instance, which mypy forbids to assign


def _as_sent(entry: Any) -> TriggerEvent:
    """Send an event over the wire between the trigger runner and its supervisor."""
    import msgspec
    from airflow.jobs.triggerer_job_runner import messages
    from airflow.sdk.execution_time.comms import _RequestFrame

    body = messages.TriggerStateChanges(events=[entry]).model_dump()
    sent = bytes(_RequestFrame(id=1, body=body).as_bytes())[_LENGTH_PREFIX:]
    frame = msgspec.msgpack.decode(sent, type=_RequestFrame)
    received = messages.TriggerStateChanges.model_validate(frame.body)
    assert received.events
    event: TriggerEvent = received.events[0].event
    return event
