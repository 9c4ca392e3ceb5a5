"""The first request to a triggerer's supervisor, which has Airflow's API built before a kill needs it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner

from ork_provider import supervisor
from ork_provider.supervisor import wake_supervisor


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wake it without delay."""
    monkeypatch.setattr(supervisor, "WAKE_AFTER", 0.0)


class Channel:
    """A triggerer's channel that keeps what it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[Any] = []
        self.error = error

    async def asend(self, message: Any) -> Any:
        self.asked.append(message)
        if self.error:
            raise self.error


class WorkerChannel(Channel):
    """A worker's: nobody there reads the answers to `asend`."""

    socket = None


@pytest.mark.parametrize("error", [None, RuntimeError("a broken channel")])
async def test_woken_once(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    """One question for each channel, whatever becomes of it; the next process has a new one."""
    for _ in range(2):
        channel = Channel(error)
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
        for _ in range(3):
            wake_supervisor(lambda: "question")
            await asyncio.sleep(0.01)
        assert channel.asked == ["question"]


@pytest.mark.parametrize("channel", [WorkerChannel(), None, object()])
async def test_nobody_to_wake(monkeypatch: pytest.MonkeyPatch, channel: Any) -> None:
    """A worker has the task's own channel, `airflow dags test` one without a loop, and a script none."""
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
    wake_supervisor(lambda: pytest.fail("nobody answers"))
    await asyncio.sleep(0)
    assert getattr(channel, "asked", []) == []
