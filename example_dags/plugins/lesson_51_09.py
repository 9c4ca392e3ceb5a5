"""The triggers of lessons 51.9.1, 51.9.2 and 51.9.5; those of the other two are in lesson_51_09_many."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.serde import serialize
from airflow.triggers.base import BaseTrigger, TriggerEvent

BLOCK = 0.5
"""Seconds that each call of 51.9.1 takes, wrong or right: long enough to see, short enough for other triggers."""
TIMES = 2
TURN = 0.02
"""A good neighbour on the event loop wants its turn again after so many seconds."""


class RunTrigger(BaseOperator):
    """Defer to a trigger, and return what it says. `trigger`: its class; `arguments`: what it is built with."""

    template_fields = ("arguments",)

    def __init__(self, trigger: type[BaseTrigger], arguments: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trigger = trigger
        self.arguments = arguments or {}

    def execute(self, context: Any) -> None:
        """Leave the rest to the triggerer."""
        self.defer(trigger=self.trigger(**self.arguments), method_name="execute_complete")

    def execute_complete(self, context: Any, event: Any) -> Any:
        """Return the event's payload."""
        return event


# -- 51.9.1: who keeps the event loop to himself --------------------------------------------------------------


class Neighbour:
    """A coroutine beside the block that wants its turn all the time; `lag`: the longest that it had to wait, s."""

    def __init__(self) -> None:
        self.lag = 0.0
        self.turns = 0

    async def __aenter__(self) -> Neighbour:
        self._task = asyncio.create_task(self._live())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(2 * TURN)  # it notices how late it is when it gets its turn
        self._task.cancel()

    async def _live(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(TURN)
            self.lag = max(self.lag, time.monotonic() - began - TURN)
            self.turns += 1


class MeasuredCalls(BaseTrigger):
    """Make three calls, each beside a neighbour, and tell what the neighbour has seen of the loop."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class; there are no arguments."""
        return f"lesson_51_09.{type(self).__name__}", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the lag and the neighbour's turns for each call; of several measurements the best one."""
        seen: dict[str, dict[str, float]] = {}
        with silent_service() as url, locked_database() as path:
            for name, argument in (("sleep", BLOCK), ("http", url), ("database", path)):
                neighbours = [await self._measured(name, argument) for _ in range(TIMES)]
                best = min(neighbours, key=lambda one: one.lag)
                seen[name] = {"lag": round(best.lag, 3), "turns": best.turns}
                self.log.info("%s.%s(): %s", type(self).__name__, name, seen[name])
        yield TriggerEvent({"pid": os.getpid(), **seen})

    async def _measured(self, name: str, argument: Any) -> Neighbour:
        async with Neighbour() as neighbour:
            with contextlib.suppress(httpx.ReadTimeout, sqlite3.OperationalError):  # how these two calls shall end
                await getattr(self, name)(argument)
        return neighbour


class BlockingCalls(MeasuredCalls):
    """Wrong: while one of these calls waits, no trigger in this triggerer runs."""

    async def sleep(self, seconds: float) -> None:
        """Sleep as a thread does."""
        time.sleep(seconds)  # noqa: ASYNC251 - the mistake that is shown

    async def http(self, url: str) -> None:
        """Ask with a synchronous client."""
        httpx.get(url, timeout=BLOCK, trust_env=False)  # noqa: ASYNC210 - the mistake that is shown

    async def database(self, path: str) -> None:
        """Query with a synchronous driver: no linter finds this one."""
        write(path)


class AsyncCalls(MeasuredCalls):
    """Right: whoever waits gives the loop to the others."""

    async def sleep(self, seconds: float) -> None:
        """Sleep as a coroutine does."""
        await asyncio.sleep(seconds)

    async def http(self, url: str) -> None:
        """Ask with an asynchronous client."""
        async with httpx.AsyncClient(timeout=BLOCK, trust_env=False) as http:
            await http.get(url)

    async def database(self, path: str) -> None:
        """Query in a thread: for every library that has no asynchronous form."""
        await asyncio.to_thread(write, path)


@contextlib.contextmanager
def silent_service() -> Iterator[str]:
    """Yield the URL of a service that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def locked_database() -> Iterator[str]:
    """Yield the path of a SQLite database in which somebody else is writing."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "locked.db"))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as owner:
            owner.execute("BEGIN EXCLUSIVE")
            yield path


def write(path: str) -> None:
    """Try to write to a database; wait for its lock, then give up with OperationalError."""
    with contextlib.closing(sqlite3.connect(path, timeout=BLOCK)) as connection:
        connection.execute("BEGIN IMMEDIATE")


# -- 51.9.2: what a trigger can be stored with ----------------------------------------------------------------


class KeepsObject(BaseTrigger):
    """Wrong: it is given a living thing and returns it from `serialize()`."""

    def __init__(self, thing: Any) -> None:
        super().__init__()
        self.thing = thing

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow should store."""
        return "lesson_51_09.KeepsObject", {"thing": self.thing}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Never come here, unless Airflow could store the thing."""
        yield TriggerEvent(type(self.thing).__name__)


class KeepsNames(BaseTrigger):
    """Right: it is given names, and makes the living things in `run()`, in the process that uses them."""

    def __init__(self, conn_id: str, function: str, path: str) -> None:
        super().__init__()
        self.conn_id = conn_id
        self.function = function
        self.path = path

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return three names."""
        return "lesson_51_09.KeepsNames", {"conn_id": self.conn_id, "function": self.function, "path": self.path}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Open the connection and the file, load the function, use all three, and keep none."""
        await asyncio.sleep(2)  # who fires at once may be failed: https://github.com/apache/airflow/issues/66374
        connection = await BaseHook.aget_connection(self.conn_id)
        is_ready = import_string(self.function)
        text = await asyncio.to_thread(Path(self.path).read_text)
        yield TriggerEvent({"host": connection.host, "ready": is_ready(text), "pid": os.getpid()})


def says_ready(text: str) -> bool:
    """Say if a file's text means that it is complete: a named function, which a trigger can be told of by its name."""
    return text.strip() == "ready"


def stored(trigger: BaseTrigger) -> Any:
    """Return a trigger's arguments as a worker hands them to Airflow; raise what the deferral would raise."""
    return serialize(trigger.serialize()[1])


# -- 51.9.5: who keeps his trouble to himself -----------------------------------------------------------------


class AsksDeadService(BaseTrigger):
    """Ask every half second if a service is there, which is not. `end`: seconds until it gives up in any case."""

    forgiven: int | None = None

    def __init__(self, port: int, end: float) -> None:
        super().__init__()
        self.port = port
        self.end = end

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments."""
        return f"lesson_51_09.{type(self).__name__}", {"port": self.port, "end": self.end}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield when the service answers, when too many errors have come in a row, or at the end."""
        began, errors = time.monotonic(), 0
        try:
            while (passed := time.monotonic() - began) < self.end:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError as exc:
                    errors += 1
                    if self.forgiven is not None and errors > self.forgiven:
                        yield TriggerEvent({"status": "error", "errors": errors, "after": passed, "message": str(exc)})
                        return
                else:
                    writer.close()
                    yield TriggerEvent({"status": "success", "errors": errors, "after": passed})
                    return
                await asyncio.sleep(0.5)
            yield TriggerEvent({"status": "gave up", "errors": errors, "after": passed})
        finally:
            self.log.info("(51.9.5: 2) %s ends; it met %d errors", type(self).__name__, errors)


class SilentTrigger(AsksDeadService):
    """Wrong: every error is forgiven, for ever, and nobody hears of it."""


class LoudTrigger(AsksDeadService):
    """Right: a few errors in a row may pass; then the task is told what is wrong."""

    forgiven = 4
