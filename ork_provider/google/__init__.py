"""Credentials and tokens from an Airflow Google connection: cached, single-flight, refreshed ahead.

A token is fetched by google-auth in a thread of its own, once for all who wait, whatever event loop they wait
in; a valid one costs no thread and no I/O. Nothing of Google's is imported before the first token is needed.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ork_provider.errors import BadRequest, OrkError, TryAgain
from ork_provider.google.connection import CLOUD_PLATFORM, ConnectionLike, GoogleConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["CLOUD_PLATFORM", "ConnectionLike", "GoogleAccess"]

log = logging.getLogger(__name__)

REFRESH_AHEAD = 300.0
"""Seconds before its expiry at which a token is renewed in the background."""
FETCH_TIMEOUT = 60.0
"""Seconds that anybody waits for a token; the parts of a fetch have limits of their own, a trickle has none."""
REFRESH_PAUSE = 30.0
"""Seconds between two background renewals; a metadata server repeats a token until it has 240 s left."""


@dataclass(frozen=True, repr=False)
class Fetched:
    """What one trip to the token server brings home; it has no repr, so that no token can reach a log.

    :param headers: what identifies us
    :param expires: seconds since the epoch
    :param credentials: google-auth's object, None when it has to be built anew
    """

    headers: Mapping[str, str]
    expires: float
    credentials: Any
    project: str | None


class GoogleAccess:
    """Who we are for one Google connection: bearer tokens, project and endpoints.

    One object serves any number of tasks, threads and event loops.

    :param conn_id: name of the connection, for messages
    :param fields: its ``extra``; names may have Airflow's old prefix ``extra__google_cloud_platform__``
    :param impersonation_chain: service account to act as, or a chain of which it is the last; default: the
        connection's
    :param scopes: OAuth scopes; default: the connection's ``scope``, else ``cloud-platform``
    :param clock: seconds since the epoch
    :raises BadRequest: when the connection names more than one source of credentials
    """

    def __init__(
        self,
        *,
        conn_id: str,
        fields: Mapping[str, Any],
        impersonation_chain: str | Sequence[str] | None = None,
        scopes: Sequence[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.conn_id = conn_id
        self._connection = GoogleConnection.read(conn_id, fields, impersonation_chain, scopes)
        self._clock = clock
        self._lock = threading.Lock()  # held for assignments only, never while waiting
        self._flight: Future[Fetched | OrkError] | None = None
        self._held: Fetched | None = None
        self._not_ahead_before = -math.inf

    @classmethod
    def from_connection(
        cls, conn: ConnectionLike, impersonation_chain: str | Sequence[str] | None = None
    ) -> GoogleAccess:
        """Read an Airflow connection.

        In a triggerer ``extra_dejson`` talks to the supervisor and may not be read in a coroutine; there, use
        ``GoogleAccess(conn_id=..., fields=await conn.aextra_dejson())``.

        :raises BadRequest: when the connection names more than one source of credentials
        """
        return cls(conn_id=conn.conn_id, fields=conn.extra_dejson, impersonation_chain=impersonation_chain)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(conn_id={self.conn_id!r}, credentials={self._connection.source!r})"

    @property
    def location(self) -> str | None:
        """The connection's ``location``, if it has one."""
        return self._connection.text("location")

    async def project_id(self) -> str | None:
        """Return the connection's ``project``, else the project of its credentials.

        :raises TryAgain, BadRequest: as :meth:`headers`, when the credentials have to be asked
        """
        project = self._connection.text("project")
        if project or self._connection.anonymous:
            return project
        return (self._held or await self._fetch()).project

    def endpoint(self, service: Literal["bigquery", "run", "dataproc"], default: str) -> str:
        """Return the base URL of a service, without a trailing slash.

        The connection's ``api_endpoints`` comes first, then the default in the connection's universe
        (``universe_domain``, else ``GOOGLE_CLOUD_UNIVERSE_DOMAIN`` from the environment).

        :raises BadRequest: when ``api_endpoints`` is not an object of known services and http(s) URLs
        """
        return self._connection.endpoints().get(service) or self._connection.in_universe(default).rstrip("/")

    async def headers(self) -> dict[str, str]:
        """Return the headers that identify us: ``Authorization``, and ``x-goog-user-project`` if one is set.

        An anonymous connection has none. A token that expires soon is used while the next one is fetched.

        :raises TryAgain: when the token server is out of reach or in trouble
        :raises BadRequest: when it refuses us, or the connection's credentials are unusable
        """
        if self._connection.anonymous:
            return {}
        held, now = self._held, self._clock()
        if held is None or held.expires <= now:
            held = await self._fetch()
        elif now >= max(held.expires - REFRESH_AHEAD, self._not_ahead_before):
            self._not_ahead_before = now + REFRESH_PAUSE
            self._take_off()
        return dict(held.headers)

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        """Forget the token that a service refused (401), so that the next :meth:`headers` fetches a new one.

        However many callers saw the same 401, one fetch follows; key files are read anew.

        :param stale: the headers that were refused; a newer token is kept. Default: whatever we hold
        """
        refused = None if stale is None else stale.get("Authorization", "")
        with self._lock:
            if self._held and refused in (None, self._held.headers["Authorization"]):
                self._held = None

    async def _fetch(self) -> Fetched:
        flight = self._take_off()
        try:
            outcome = await asyncio.wait_for(asyncio.wrap_future(flight), FETCH_TIMEOUT)
        except asyncio.TimeoutError as exc:
            with self._lock:
                if self._flight is flight:  # the next one who asks starts another
                    self._flight = None
            message = f"Airflow connection {self.conn_id!r}: no token after {FETCH_TIMEOUT:g} s"
            raise TryAgain(message, processed=False) from exc
        if isinstance(outcome, OrkError):
            # A copy for each waiter: one shared exception would collect the tracebacks of all of them.
            raise copy.copy(outcome) from outcome.__cause__
        return outcome

    def _take_off(self) -> Future[Fetched | OrkError]:
        """Return the fetch that is under way, or start one.

        A future and a thread instead of an asyncio lock: waiters may sit in different event loops, and one
        that is cancelled must not take the fetch away from the others.
        """
        with self._lock:
            if self._flight is None:
                flight: Future[Fetched | OrkError] = Future()
                flight.set_running_or_notify_cancel()  # from here on a waiter's cancel() does not reach it
                name = f"ork-token-{self.conn_id}"
                threading.Thread(target=self._fly, args=(flight, self._held), name=name, daemon=True).start()
                self._flight = flight
            return self._flight

    def _fly(self, flight: Future[Fetched | OrkError], held: Fetched | None) -> None:
        outcome: Fetched | OrkError
        try:
            from ork_provider.google.credentials import fetch

            outcome = fetch(self._connection, held)
        except OrkError as exc:
            outcome = exc
        except BaseException as exc:  # whatever it is, those who wait must hear of it
            self._land(None)
            flight.set_exception(exc)
            return
        self._land(outcome)
        flight.set_result(outcome)

    def _land(self, outcome: Fetched | OrkError | None) -> None:
        with self._lock:
            self._flight = None
            if isinstance(outcome, Fetched):
                self._held = outcome
                return
            if self._held and isinstance(outcome, BadRequest):
                self._held = replace(self._held, credentials=None)  # a key that was replaced counts next time
            left = self._held.expires - self._clock() if self._held else 0
        if left > 0:
            log.warning("No new token yet, the present one lasts %.0f s more: %s", left, outcome or "a bug")
