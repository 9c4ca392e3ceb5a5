"""The door to the world: one HTTP request in, one answer out, the same from a worker and from a triggerer.

``Door`` is a Protocol with two implementations, because each is the cheaper one in its place: httpx in a
worker, where it is loaded already and three requests are sent; aiohttp in a triggerer, where thousands are
(0.12 ms of CPU each against 1-2 ms). Both: redirects off, proxies from the environment, the same CA bundle,
timeouts and body cap. What went wrong is sorted into our errors here, once for both (``send`` and ``check``).

``Session`` is what one event loop has of the world: a door, and the connections read so far.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urlsplit
from weakref import WeakKeyDictionary

from ork_provider.errors import BadRequest, Conflict, NotFound, OrkError, TryAgain, Unauthorized

if TYPE_CHECKING:
    import ssl

    import aiohttp
    import httpx

REQUEST_TIMEOUT = 30.0
"""Seconds that one request may take, connect to last byte."""

CONNECT_TIMEOUT = 10.0
MAX_BODY = 1024 * 1024
CONNECTIONS_PER_HOST = 64
CONNECTION_TTL = 60.0
"""Seconds after which a newly started wait reads an Airflow connection again, so that a mended one counts."""

CONNECTION_TRIES = 3

QUOTED = 500
"""Characters of a refused answer that an error message quotes."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request.

    :param json: body, sent as JSON; None sends no body
    :param timeout: seconds, connect to last byte
    :param max_body: bytes of answer that are read at most
    :param verify: False skips TLS verification, a path names a CA bundle
    """

    method: str
    url: str
    params: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    timeout: float = REQUEST_TIMEOUT
    max_body: int = MAX_BODY
    verify: bool | str = True

    @property
    def full_url(self) -> str:
        """URL with the query, in ASCII."""
        url = quote(self.url, safe=_URL_CHARACTERS)
        if not self.params:
            return url
        return f"{url}{'&' if '?' in url else '?'}{urlencode(self.params)}"

    @property
    def body(self) -> bytes | None:
        """The JSON body as bytes."""
        return None if self.json is None else json.dumps(self.json, separators=(",", ":")).encode()

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, with the content type of a body."""
        content = {"Content-Type": "application/json"} if self.json is not None else {}
        return {"Accept": "application/json", **content, **self.headers}

    def check(self) -> None:
        """Raise BadRequest for a URL or a header that can never be sent: each client has other ideas of them."""
        try:
            parts = urlsplit(self.full_url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError as exc:
            raise BadRequest(f"{self}: not a URL: {exc}") from exc
        if not good:
            raise BadRequest(f"{self}: not an http(s) URL.")
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or not isinstance(value, str) or _CONTROL.search(value):
                raise BadRequest(f"{self}: the header {name!r} cannot be sent; it needs a plain name and one line.")

    def __str__(self) -> str:
        return f"{self.method} {self.url.partition('?')[0]}"


_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=~"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class Response:
    """One HTTP answer; header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        """The body as text, whatever it is."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body's JSON; anything else, such as an HTML error page, is TryAgain."""
        try:
            return json.loads(self.body)
        except ValueError as exc:
            kind = self.headers.get("content-type", "no content type")
            raise TryAgain(f"Expected JSON, got {kind}: {self.text[:QUOTED]!r}") from exc


class Door(Protocol):
    """Sends one request; network trouble is TryAgain, any answer at all is a Response."""

    async def send(self, request: Request) -> Response:
        """Send the request and read the answer, at most ``request.max_body`` bytes of it."""
        ...

    async def close(self) -> None:
        """Close what is open; the door opens again by itself when it is used again."""
        ...


class HttpxDoor:
    """The worker's door."""

    def __init__(self) -> None:
        self._clients: dict[tuple[bool | str, str | None], httpx.AsyncClient] = {}

    async def send(self, request: Request) -> Response:
        """See Door."""
        import anyio
        import httpx

        request.check()
        client = self._client(request)
        try:
            with anyio.fail_after(request.timeout):
                sent = client.stream(
                    request.method, request.full_url, headers=request.all_headers, content=request.body
                )
                async with sent as answer:
                    body = await _read(answer.aiter_bytes(), request)
                    headers = {k.lower(): v for k, v in answer.headers.items()}
                    return Response(status=answer.status_code, headers=headers, body=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise TryAgain(f"{request}: cannot connect: {_say(exc)}", processed=False) from exc
        except httpx.InvalidURL as exc:
            raise BadRequest(f"{request}: {_say(exc)}") from exc
        except (httpx.HTTPError, TimeoutError) as exc:
            raise TryAgain(f"{request}: {_say(exc)}") from exc

    def _client(self, request: Request) -> httpx.AsyncClient:
        import httpx

        key = (request.verify if request.url.startswith("https:") else False, proxy_for(request.url))
        if key not in self._clients:
            verify, proxy = key
            client = self._clients[key] = httpx.AsyncClient(
                verify=tls_context(verify) if verify else False,
                proxy=proxy,
                trust_env=False,
                timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
                follow_redirects=False,
            )
            client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return self._clients[key]

    async def close(self) -> None:
        """See Door."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()


class AiohttpDoor:
    """The triggerer's door: one session, its connections kept open between polls."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request) -> Response:
        """See Door."""
        import aiohttp
        from yarl import URL

        request.check()
        try:
            sent = self._open().request(
                request.method,
                URL(request.full_url, encoded=True),
                headers=request.all_headers,
                skip_auto_headers=("Content-Type",),
                data=request.body,
                proxy=proxy_for(request.url),
                ssl=tls_context(request.verify) if request.url.startswith("https:") else True,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=request.timeout, sock_connect=CONNECT_TIMEOUT),
            )
            async with sent as answer:
                body = await _read(answer.content.iter_any(), request)
                headers = {k.lower(): v for k, v in answer.headers.items()}
                return Response(status=answer.status, headers=headers, body=body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise TryAgain(f"{request}: cannot connect: {_say(exc)}", processed=False) from exc
        except aiohttp.InvalidURL as exc:
            raise BadRequest(f"{request}: {_say(exc)}") from exc
        except (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError, OSError) as exc:
            raise TryAgain(f"{request}: {_say(exc)}") from exc

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None or self._session.closed:
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=CONNECTIONS_PER_HOST)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """See Door."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _read(chunks: AsyncIterator[bytes], request: Request) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > request.max_body:
            raise BadRequest(
                f"{request}: the answer is larger than {request.max_body} bytes; "
                "ask the service for less, or raise max_body_bytes."
            )
    return bytes(body)


@cache
def tls_context(verify: bool | str = True) -> ssl.SSLContext:
    """Return the TLS settings of both doors.

    The CA bundle is ``verify`` if it is a path, else ``SSL_CERT_FILE`` or ``REQUESTS_CA_BUNDLE`` from the
    environment, else certifi's.
    """
    import ssl

    import certifi

    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    bundle = verify if isinstance(verify, str) else named or certifi.where()
    try:
        return ssl.create_default_context(cafile=bundle)
    except OSError as exc:
        raise BadRequest(f"The CA bundle {bundle!r} cannot be read: {_say(exc)}") from exc


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for a URL (``HTTPS_PROXY``, ``NO_PROXY`` and so on).

    The clients' own ``trust_env`` is off, because aiohttp's also takes logins from a ``.netrc``, refuses our own
    ``Authorization`` beside them, and looks both up in a thread for every request.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is None or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _say(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def check(request: Request, response: Response) -> Response:
    """Return a 2xx answer; raise any other as the error that says what the waiting loop shall do."""
    if 200 <= response.status < 300:
        return response
    raise refusal(request, response)


def refusal(request: Request, response: Response) -> OrkError:
    """Sort an answer that is not 2xx into our errors; see the table in docs/waiting.md."""
    status = response.status
    message = f"{request} answered {status}: {_quote(response)}"
    if status == 401:
        return Unauthorized(f"{message}. Check the credentials of the Airflow connection.")
    if status == 404:
        return NotFound(message)
    if status == 409:
        return Conflict(message)
    if status in (408, 429) or status >= 500 or (status == 403 and _reason(response) in PASSING_REASONS):
        return TryAgain(message, retry_after=retry_after(response), processed=status not in (403, 429))
    if status in (301, 302, 303, 307, 308):
        return BadRequest(f"{message}. It redirects to {response.headers.get('location')!r}; use that address.")
    return BadRequest(message)


PASSING_REASONS = frozenset(
    {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "backendError", "jobRateLimitExceeded"}
)
"""Reasons of a Google 403 that pass by themselves; any other is a missing permission."""


def _reason(response: Response) -> str | None:
    try:
        return str(json.loads(response.body)["error"]["errors"][0]["reason"])
    except (ValueError, LookupError, TypeError):
        return None


def _quote(response: Response) -> str:
    """Return the service's own message if there is one in the body, else the body's first characters."""
    try:
        error = json.loads(response.body)["error"]
        said = error["message"]
    except (ValueError, LookupError, TypeError):
        return repr(response.text[:QUOTED]) if response.body else "no body"
    reason = _reason(response)
    return str(said)[:QUOTED] + (f" (reason: {reason})" if reason else "")


def retry_after(response: Response) -> float | None:
    """Seconds that the service asks us to wait (``Retry-After`` as seconds or as a date), if it does."""
    value = response.headers.get("retry-after")
    if not value:
        return None
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())


class Credentials(Protocol):
    """Headers that say who we are."""

    async def headers(self) -> dict[str, str]:
        """Return the headers to send now; cheap when nothing has to be renewed."""
        ...

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        """Forget what the service has just refused (the ``stale`` headers)."""
        ...


async def send_as(door: Door, credentials: Credentials, request: Request) -> Response:
    """Send with credentials; a 401 renews them and asks once more. Any other answer is returned as it is."""
    signed = await credentials.headers()
    response = await door.send(_sign(request, signed))
    if response.status == 401:
        await credentials.renew(signed)
        response = await door.send(_sign(request, await credentials.headers()))
    return response


def _sign(request: Request, headers: Mapping[str, str]) -> Request:
    """Add the credentials; a header that the request has already, in whatever case, stays as it is."""
    given = {name.lower() for name in request.headers}
    missing = {name: value for name, value in headers.items() if name.lower() not in given}
    return replace(request, headers={**request.headers, **missing})


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

    async def connection(self, conn_id: str, *, fresh: bool = False) -> Any:
        """Return an Airflow connection; read again after ``CONNECTION_TTL``, or if it must be fresh.

        Who asks while it is being read waits for the same answer, so that a thousand triggers that start
        together cost one request of the triggerer's one channel to Airflow.
        """
        read_at, conn = self._connections.get(conn_id, (0.0, None))
        if conn is not None and not fresh and time.monotonic() - read_at <= CONNECTION_TTL:
            return conn
        reading = self._reading.get(conn_id)
        if reading is None:
            reading = self._reading[conn_id] = asyncio.create_task(self._read_and_keep(conn_id))
            reading.add_done_callback(lambda done: self._has_read(conn_id, done))
        return await asyncio.shield(reading)  # one who is cancelled does not take it from the others

    async def _read_and_keep(self, conn_id: str) -> Any:
        conn = await self._read_or_explain(conn_id)
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
            raise BadRequest(
                f"Airflow connection {conn_id!r} cannot be read ({type(exc).__name__}: {exc}). "
                f"Define it, or set AIRFLOW_CONN_{conn_id.upper()}."
            ) from exc

    async def close(self) -> None:
        """Close the door."""
        await self.door.close()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[Session]:
        """Count a user; the door closes when the last one leaves."""
        self._users += 1
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users:
                await self.close()


def read_extra(conn: Any) -> dict[str, Any]:
    """Return a connection's extra as a dict, without Airflow's detour through its supervisor."""
    try:
        extra = json.loads(conn.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise BadRequest(f"Airflow connection {conn.conn_id!r}: its extra is not a JSON object; correct it.")
    return extra


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, Session] = WeakKeyDictionary()


def shared_session() -> Session:
    """Return the one session of the running loop, for triggers: one connection pool and one token for all."""
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        _sessions[loop] = Session(AiohttpDoor())
    return _sessions[loop]
