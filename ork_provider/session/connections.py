"""Session: what one event loop has of the world, a door and the Airflow connections read so far."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from ork_provider.errors import BadRequest, NoConnection, OrkError, TryAgain
from ork_provider.session.door import REQUEST_TIMEOUT, AiohttpDoor, Door

log = logging.getLogger(__name__)

CONNECTION_TTL = 60.0
"""Seconds after which a newly started wait reads an Airflow connection again, so that a mended one counts."""

CONNECTION_TRIES = 3

ReadConnection = Callable[[str], Awaitable[Any]]
"""Reads an Airflow connection by id."""


async def read_connection(conn_id: str) -> Any:
    """Read an Airflow connection from a worker, a triggerer or ``dags test``.

    Only a triggerer's supervisor answers without blocking the loop; elsewhere nothing else runs on the loop,
    and in ``dags test`` there is no asynchronous way at all.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.sdk.execution_time import task_runner

    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if comms is None or not hasattr(comms, "start_reader"):
        return BaseHook.get_connection(conn_id)
    for _ in range(CONNECTION_TRIES - 1):  # a passing failure of Airflow's API also reads "isn't defined"
        try:
            return await _ask_triggerer(conn_id)
        except AirflowNotFoundException:
            await asyncio.sleep(1)
    return await _ask_triggerer(conn_id)


async def _ask_triggerer(conn_id: str) -> Any:
    from airflow.sdk import BaseHook

    try:
        return await asyncio.wait_for(BaseHook.aget_connection(conn_id), REQUEST_TIMEOUT)
    except asyncio.TimeoutError as exc:
        raise TryAgain(f"Airflow did not answer for connection {conn_id!r} in {REQUEST_TIMEOUT:g} s") from exc


class Session:
    """What one event loop has of the world: a door, and the Airflow connections read so far.

    :param door: how requests are sent
    :param read: how Airflow connections are read
    """

    def __init__(self, door: Door, read: ReadConnection = read_connection) -> None:
        self.door = door
        self.cache: dict[Any, Any] = {}
        self._read = read
        self._connections: dict[str, tuple[float, Any]] = {}
        self._reading: dict[str, asyncio.Task[Any]] = {}
        self._users = 0
        self.missing: dict[str, NoConnection] = {}

    async def connection(self, conn_id: str) -> Any:
        """Return an Airflow connection, as it was read last.

        Who asks while it is being read waits for the same answer, so that a thousand triggers that start
        together cost one request of the triggerer's one channel to Airflow.

        :raises NoConnection: it is not defined
        """
        if conn_id in self._connections:
            return self._connections[conn_id][1]
        return await self._reading_of(conn_id)

    async def renew_connection(self, conn_id: str, *, if_old: bool = False) -> None:
        """Read a known connection again (``if_old``: after ``CONNECTION_TTL``); if that fails go on with it."""
        read_at, conn = self._connections.get(conn_id, (0.0, None))
        if conn is None or (if_old and time.monotonic() - read_at < CONNECTION_TTL):
            return
        try:
            await self._reading_of(conn_id)
        except OrkError as exc:
            log.warning("%s Going on with what was read before.", exc)
            self._connections[conn_id] = (time.monotonic(), conn)

    async def _reading_of(self, conn_id: str) -> Any:
        reading = self._reading.get(conn_id)
        if reading is None:
            reading = self._reading[conn_id] = asyncio.create_task(self._read_and_keep(conn_id))
            reading.add_done_callback(lambda done: self._has_read(conn_id, done))
        return await asyncio.shield(reading)  # one who is cancelled does not take it from the others

    async def _read_and_keep(self, conn_id: str) -> Any:
        try:
            conn = await self._read_or_explain(conn_id)
        except NoConnection as exc:
            self.missing[conn_id] = exc
            raise
        self._connections[conn_id] = (time.monotonic(), conn)
        return conn

    def _has_read(self, conn_id: str, done: asyncio.Task[Any]) -> None:
        del self._reading[conn_id]
        if not done.cancelled():
            done.exception()  # nobody may be left to hear it

    def known_connections(self) -> dict[str, Any]:
        """Return the connections read so far, by id."""
        return {conn_id: conn for conn_id, (_, conn) in self._connections.items()}

    async def _read_or_explain(self, conn_id: str) -> Any:
        try:
            return await self._read(conn_id)
        except OrkError:
            raise
        except Exception as exc:
            message = f"Airflow connection {conn_id!r} cannot be read ({type(exc).__name__}: {exc})."
            if type(exc).__name__ != "AirflowNotFoundException":  # named, not imported: it may be another Airflow's
                raise TryAgain(message) from exc
            raise NoConnection(f"{message} Define it, or set AIRFLOW_CONN_{conn_id.upper()}.") from exc

    async def close(self) -> None:
        """Close the door."""
        await self.door.close()

    async def __aenter__(self) -> Session:
        """Count a user; the door closes when the last one leaves."""
        self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users:
            await self.close()


def read_extra(conn: Any) -> dict[str, Any]:
    """Return a connection's extra as a dict, without Airflow's detour through its supervisor."""
    extra = _parse(conn.extra or "{}")
    if extra is None:
        raise BadRequest(f"Airflow connection {conn.conn_id!r}: its extra is not a JSON object; correct it.")
    return dict(extra)


@lru_cache(maxsize=256)
def _parse(text: str) -> dict[str, Any] | None:
    """Parse a JSON object; once, because every request asks for it."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, Session] = WeakKeyDictionary()


def shared_session() -> Session:
    """Return the one session of the running loop, for triggers: one connection pool and one token for all."""
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        _sessions[loop] = Session(AiohttpDoor())
    return _sessions[loop]
