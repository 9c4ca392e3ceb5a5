"""A kill takes bounded time whatever hangs, service, supervisor or connection; it says what to do by hand."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from airflow.sdk import BaseHook
from airflow.sdk.execution_time import comms

from ork_provider import ending
from ork_provider import trigger as trigger_module
from ork_provider import worker as worker_module
from ork_provider.errors import Killed
from ork_provider.job import job_from_dict
from ork_provider.testing import Fault, run_trigger
from tests.contract.kinds import Kind
from tests.support.sigterm import kill_after
from tests.support.task import Task


async def deferred_trigger(kind: Kind) -> Any:
    """Start a job that runs for long; return the trigger that waits for it."""
    kind.script(60, True)
    return (await asyncio.to_thread(Task().start, kind.operator())).trigger


def by_hand(trigger: Any) -> str:
    """Return the end of the line that tells a person what to do."""
    return f"Cancel it by hand: {job_from_dict(trigger.jobs[0]).link or 'in the service'}"


# In a worker -------------------------------------------------------------------------------------


def test_service_hangs(
    kind: Kind, sigterm: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A cancel that is never answered is given up in time; the log names the job before SIGKILL can come."""
    monkeypatch.setattr(worker_module, "CANCEL_BUDGET", 2.0)
    monkeypatch.setattr(worker_module, "SAY_AFTER", 0.3)
    kind.script(60, True)
    kind.fake.fail(Fault.hang(8), on=kind.on_cancel, times=-1)
    operator = sigterm["operator"] = kind.operator(poll_timeout=30)
    kill_after(0.4, kind.started)
    began = time.monotonic()
    with pytest.raises(Killed):
        operator.execute(Task().context)
    assert time.monotonic() - began < 6
    said = capfd.readouterr().out
    assert "is not cancelled yet. If this is the last line, see to it by hand: " in said
    assert "could not be cancelled: the service did not answer within" in said


def test_connection_hangs(kind: Kind, sigterm: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is killed while it reads its connection leaves no job behind."""
    read = BaseHook.get_connection

    def slow(conn_id: str) -> Any:
        time.sleep(0.6)
        return read(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", slow)
    kind.script(60, True)
    operator = sigterm["operator"] = kind.operator()
    kill_after(0.2)
    with pytest.raises(Killed):
        operator.execute(Task().context)
    assert not kind.live()
    assert len(kind.started()) <= 1


# In the triggerer --------------------------------------------------------------------------------


async def test_service_hangs_in_the_triggerer(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cancel that is never answered is given up while there is time to say what to do."""
    trigger = await deferred_trigger(kind)
    monkeypatch.setattr(trigger_module, "KILL_BUDGET", 1.0)
    kind.fake.fail(Fault.hang(8), on=kind.on_cancel, times=-1)
    result = await run_trigger(trigger, task_state="failed", kill_after=0.3, timeout=6)
    assert (result.killed, result.events) == (True, [])
    assert f"could not be cancelled: not done in 1 s. {by_hand(trigger)}" in capsys.readouterr().out


async def test_one_connection_hangs_in_the_triggerer(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel whose connection hangs is sent again over another one, and leaves no job behind."""
    trigger = await deferred_trigger(kind)
    monkeypatch.setattr(ending, "ANSWER", 0.5)
    monkeypatch.setattr(trigger_module, "KILL_BUDGET", 5.0)  # less than the hang: waiting for it would be too late
    kind.fake.fail(Fault.hang(8), on=kind.on_cancel, times=1)
    result = await run_trigger(trigger, task_state="failed", kill_after=0.3, timeout=10)
    assert (result.killed, result.events) == (True, [])
    assert not kind.live()


async def test_supervisor_hangs(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When Airflow never says whether the task was killed nothing is cancelled, and the log names the job."""
    trigger = await deferred_trigger(kind)
    monkeypatch.setattr(trigger_module, "KILL_QUESTION", 0.3)
    monkeypatch.setattr("ork_provider.testing.supervisor._supported", lambda: (comms.GetConnection, comms.MaskSecret))
    result = await run_trigger(trigger, task_state="failed", kill_after=0.3, timeout=6)
    assert (result.killed, kind.cancels(), len(kind.live())) == (True, 0, 1)
    said = capsys.readouterr().out
    assert "did not say whether the task was killed" in said
    job = job_from_dict(trigger.jobs[0])
    assert f"cancel them by hand: {job} {job.link or ''}" in said


async def test_connection_hangs_in_the_triggerer(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A connection that is never read holds up neither the triggerer nor the word of what to do."""
    trigger = await deferred_trigger(kind)
    for name in kind.fake.connections():
        monkeypatch.delenv(name)
    monkeypatch.setattr(trigger_module, "KILL_BUDGET", 1.0)
    monkeypatch.setattr("ork_provider.testing.supervisor._supported", lambda: (comms.GetTaskStates, comms.MaskSecret))
    result = await run_trigger(trigger, task_state="failed", kill_after=0.3, timeout=6)
    assert (result.killed, len(kind.live())) == (True, 1)
    assert by_hand(trigger) in capsys.readouterr().out


async def test_shutdown(kind: Kind) -> None:
    """A triggerer that shuts down, which runs the trigger's cleanup, cancels nothing."""
    trigger = await deferred_trigger(kind)
    result = await run_trigger(trigger, task_state="deferred", cancel_after=0.3)
    assert isinstance(result.error, asyncio.CancelledError)
    assert (result.killed, kind.cancels(), len(kind.live())) == (False, 0, 1)
