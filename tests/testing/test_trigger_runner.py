"""run_trigger() is the triggerer's world: stored kwargs, supervisor messages, kills, shutdowns."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import DRCount, GetDRCount, GetTaskStates, GetTaskStateStore, SetXCom
from airflow.triggers.base import BaseTrigger, TriggerEvent

from ork_provider.testing import run_trigger
from ork_provider.testing.trigger_runner import task_instance


class Probe(BaseTrigger):
    """Does one of several things that triggers do."""

    def __init__(self, what: str, value: Any = None) -> None:
        super().__init__()
        self.what = what
        self.value = value
        self.killed_in: str | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Probe", {"what": self.what, "value": self.value}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        payload = await getattr(self, self.what)()
        if payload is not None:
            yield TriggerEvent(payload)

    async def on_kill(self) -> None:
        await task_runner.SUPERVISOR_COMMS.asend(xcom("killed", True))

    async def cleanup(self) -> None:
        await task_runner.SUPERVISOR_COMMS.asend(xcom("cleaned", True))

    async def echo(self) -> Any:
        return self.value

    async def typed(self) -> Any:
        return {"type": type(self.value).__name__, "value": self.value}

    async def nothing(self) -> None:
        return None

    async def boom(self) -> Any:
        raise RuntimeError("boom")

    async def forever(self) -> Any:
        await asyncio.Event().wait()

    async def swallow(self) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "swallowed"

    async def connection(self) -> Any:
        conn = await BaseHook.aget_connection(self.value)
        return {"host": conn.host, "port": conn.port, "extra": conn.extra_dejson}

    async def sync_connection(self) -> Any:
        return BaseHook.get_connection(self.value).host

    async def states(self) -> Any:
        answer = await task_runner.SUPERVISOR_COMMS.asend(GetTaskStates(dag_id="dag", run_ids=["run"]))
        return answer.task_states

    async def count(self) -> Any:
        answer = await task_runner.SUPERVISOR_COMMS.asend(GetDRCount(dag_id="dag"))
        return getattr(answer, "count", None) or answer.detail["message"]

    async def who(self) -> Any:
        return [self.task_instance and self.task_instance.task_id, self.trigger_id]

    async def unsupported(self) -> Any:
        await task_runner.SUPERVISOR_COMMS.asend(GetTaskStateStore(ti_id=task_instance().id, key="k"))


def xcom(key: str, value: Any) -> SetXCom:
    return SetXCom(key=key, value=value, dag_id="dag", run_id="run", task_id="task")


async def test_event_and_xcoms() -> None:
    result = await run_trigger(Probe("echo", {"status": "success", "jobs": [1]}))
    assert result.payload == {"status": "success", "jobs": [1]}
    assert (result.error, result.killed, result.xcoms) == (None, False, [("cleaned", True)])


@pytest.mark.parametrize("value", [dt.timedelta(seconds=5), dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), (1, 2)])
async def test_kwargs_travel_through_the_stored_form(value: Any) -> None:
    """The trigger that runs is a new object, built from what the database would hold."""
    result = await run_trigger(Probe("typed", value))
    assert result.payload["type"] == type(value).__name__


async def test_payload_is_what_arrives() -> None:
    """A set arrives as a list: events cross a process boundary."""
    result = await run_trigger(Probe("echo", {"a": {1}}))
    assert result.payload == {"a": [1]}


async def test_no_event_and_error() -> None:
    assert (await run_trigger(Probe("nothing"))).events == []
    result = await run_trigger(Probe("boom"))
    assert isinstance(result.error, RuntimeError)
    with pytest.raises(AssertionError, match="boom"):
        result.payload  # noqa: B018


async def test_kill_calls_on_kill_then_cleanup() -> None:
    result = await run_trigger(Probe("forever"), kill_after=0.05)
    assert (result.killed, result.xcoms) == (True, [("killed", True), ("cleaned", True)])
    assert isinstance(result.error, asyncio.CancelledError)


async def test_shutdown_calls_cleanup_only() -> None:
    result = await run_trigger(Probe("forever"), cancel_after=0.05)
    assert (result.killed, result.xcoms) == (False, [("cleaned", True)])
    assert isinstance(result.error, asyncio.CancelledError)


@pytest.mark.parametrize(("argument", "killed"), [("kill_after", True), ("cancel_after", False)])
async def test_condition(argument: str, killed: bool) -> None:
    """In place of seconds there may be a condition; it is looked at until it holds, and then no longer."""
    looks = iter([False, 0, None, "yes"])
    result = await run_trigger(Probe("forever"), **{argument: lambda: next(looks)})
    assert (result.killed, list(looks)) == (killed, [])


async def test_condition_that_never_holds() -> None:
    """A trigger that ends before the condition holds is not killed, and nobody looks any longer."""
    looks: list[bool] = []
    result = await run_trigger(Probe("nothing"), kill_after=lambda: looks.append(True))
    count = len(looks)
    await asyncio.sleep(0.05)
    assert (result.killed, result.error, len(looks)) == (False, None, count)


async def test_swallowed_cancel_is_seen() -> None:
    """A trigger that swallows the cancellation is not killed: the bug that the triggerer has with it shows here."""
    result = await run_trigger(Probe("swallow"), kill_after=0.05)
    assert (result.killed, result.error, result.payload) == (False, None, "swallowed")


async def test_timeout() -> None:
    with pytest.raises(TimeoutError, match=r"Probe was still running after 0\.1 s"):
        await run_trigger(Probe("forever"), timeout=0.1)


@pytest.mark.parametrize(
    "given", ["http://h:81?x=1", '{"conn_type": "http", "host": "h", "port": 81, "extra": {"x": "1"}}']
)
async def test_connections(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the argument or from the environment, asynchronously or through the greenback portal."""
    expected = {"host": "h", "port": 81, "extra": {"x": "1"}}
    assert (await run_trigger(Probe("connection", "c"), connections={"c": given})).payload == expected
    assert (await run_trigger(Probe("sync_connection", "c"), connections={"c": given})).payload == "h"
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", given)
    assert (await run_trigger(Probe("connection", "other"))).payload == expected


async def test_missing_connection() -> None:
    result = await run_trigger(Probe("connection", "missing"))
    assert "missing" in str(result.error)


@pytest.mark.parametrize(("index", "name"), [(-1, "task"), (3, "task_3")])
async def test_task_states(index: int, name: str) -> None:
    ti = task_instance(map_index=index)
    result = await run_trigger(Probe("states"), ti=ti, task_state="deferred")
    assert result.payload == {"run": {name: "deferred"}}


async def test_answers() -> None:
    """Messages without an answer of their own are answered by the test, or say so."""
    given = await run_trigger(Probe("count"), answers=lambda m: DRCount(count=7) if isinstance(m, GetDRCount) else None)
    assert given.payload == 7
    assert "pass answers=" in (await run_trigger(Probe("count"))).payload


async def test_unsupported_message_hangs() -> None:
    """As in a real triggerer, which never answers what it does not know."""
    with pytest.raises(TimeoutError):
        await run_trigger(Probe("unsupported"), timeout=0.2)


async def test_task_instance() -> None:
    """A default one, or None as in `airflow dags test`."""
    assert (await run_trigger(Probe("who"))).payload == ["task", 1]
    assert (await run_trigger(Probe("who"), ti=None)).payload == [None, 1]


async def test_globals_are_restored() -> None:
    before = getattr(task_runner, "SUPERVISOR_COMMS", None)
    with pytest.raises(TimeoutError):
        await run_trigger(Probe("forever"), timeout=0.05)
    assert getattr(task_runner, "SUPERVISOR_COMMS", None) is before
