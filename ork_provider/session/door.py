"""The door: one HTTP request in, one answer out, the same from a worker and from a triggerer.

``Door`` is a Protocol with two implementations, because each is the cheaper one in its place: httpx in a
worker, where it is loaded already and three requests are sent; aiohttp in a triggerer, where thousands are
(0.12 ms of CPU each against 1-2 ms). Both: redirects off, no cookies, proxies from the environment, the same CA
bundle, timeouts and body cap; a URL is read strictly before either sees it; network trouble of either becomes the
same errors.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode, urlsplit

from ork_provider.errors import BadRequest, TryAgain
from ork_provider.session.body import ENCODINGS, read_body
from ork_provider.session.origin import Origin, read_origin, to_ascii
from ork_provider.session.secrets import show_url
from ork_provider.text import one_line

if TYPE_CHECKING:
    import ssl

    import aiohttp
    import httpx

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 30.0
"""Seconds that one request may take, connect to last byte."""

CONNECT_TIMEOUT = 10.0
MAX_BODY = 1024 * 1024
CONNECTIONS_PER_HOST = 64
QUEUE_TIMEOUT = 60.0
"""Seconds that a request waits for its turn."""

KEEP_ALIVE = 75.0
"""Seconds for which an idle connection is kept: longer than from one poll to the next."""

QUOTED = 500
"""Characters of a refused answer that an error message quotes."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request.

    :param json: body, sent as JSON; None sends no body
    :param timeout: seconds, connect to last byte
    :param max_body: bytes of answer that are read at most
    :param verify: False skips TLS verification, a path names a CA bundle
    :param shared: asks for many jobs at once, so it does not queue behind those that ask for one
    """

    method: str
    url: str
    params: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    timeout: float = REQUEST_TIMEOUT
    max_body: int = MAX_BODY
    verify: bool | str = True
    shared: bool = False

    @cached_property
    def full_url(self) -> str:
        """URL with the query, in ASCII."""
        url = to_ascii(self.url)
        if not self.params:
            return url
        return f"{url}{'&' if '?' in url else '?'}{urlencode(self.params)}"

    @property
    def body(self) -> bytes | None:
        """The JSON body as bytes."""
        return None if self.json is None else json.dumps(self.json, separators=(",", ":")).encode()

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, with the content type of a body, and how the answer may be packed."""
        content = {"Content-Type": "application/json"} if self.json is not None else {}
        return {"Accept": "application/json", "Accept-Encoding": ENCODINGS, **content, **self.headers}

    @cached_property
    def origin(self) -> Origin:
        """The server that is asked.

        :raises BadRequest: the URL can never be sent, or could be read in two ways
        """
        try:
            return read_origin(self.url)
        except ValueError as exc:
            raise BadRequest(f"{self}: {exc}") from None

    def check(self) -> None:
        """Raise BadRequest for a URL or a header that can never be sent: each client has other ideas of them."""
        origin = self.origin
        if self.verify is False and origin.scheme == "https":
            _warn_unverified(origin)
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or not isinstance(value, str) or _CONTROL.search(value):
                raise BadRequest(f"{self}: the header {name!r} cannot be sent; it needs a plain name and one line.")
            if not value.isascii():
                raise BadRequest(f"{self}: the header {name!r} cannot be sent; HTTP knows ASCII characters there.")

    def __str__(self) -> str:
        return f"{self.method} {show_url(self.url.partition('?')[0])}"


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@lru_cache(maxsize=256)  # once per process and server
def _warn_unverified(origin: Origin) -> None:
    log.warning(
        "TLS verification of %s is off, as its Airflow connection says (verify): whoever is on the way can read what "
        "is sent, secrets too. Name a CA bundle there instead.",
        origin,
    )


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
        except (ValueError, RecursionError) as exc:
            kind = one_line(self.headers.get("content-type", "no content type"), 100)
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
                    headers = {k.lower(): v for k, v in answer.headers.items()}
                    packed = headers.get("content-encoding", "")
                    body = await read_body(answer.aiter_raw(), request, answer.status_code, packed)
                    return Response(status=answer.status_code, headers=headers, body=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise TryAgain(f"{request}: cannot connect: {_say(exc)}", processed=False) from exc
        except httpx.InvalidURL as exc:
            raise BadRequest(f"{request}: {_say(exc)}") from exc
        except (httpx.HTTPError, TimeoutError) as exc:
            raise TryAgain(f"{request}: {_say(exc)}") from exc

    def _client(self, request: Request) -> httpx.AsyncClient:
        import httpx

        key = (request.verify if request.origin.scheme == "https" else False, proxy_for(request.url))
        if key not in self._clients:
            verify, proxy = key
            client = self._clients[key] = httpx.AsyncClient(
                verify=tls_context(verify),
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
    """The triggerer's door: one session, its connections kept open between polls.

    A host has ``CONNECTIONS_PER_HOST`` requests at a time; the others queue, and their time begins when they are
    sent. Only those queue who ask for one job.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._queues: dict[Origin, asyncio.Semaphore] = {}
        self._proxies: dict[Origin, str | None] = {}

    async def send(self, request: Request) -> Response:
        """See Door."""
        request.check()
        if request.shared or request.method != "GET":  # what starts or cancels a job does not wait for those who ask
            return await self._send(request)
        queue = self._queue(request.origin)
        try:
            await (asyncio.wait_for(queue.acquire(), QUEUE_TIMEOUT) if queue.locked() else queue.acquire())
        except asyncio.TimeoutError as exc:
            message = f"{request}: {CONNECTIONS_PER_HOST} requests to this host took longer than {QUEUE_TIMEOUT:g} s"
            raise TryAgain(message, processed=False) from exc
        try:
            return await self._send(request)
        finally:
            queue.release()

    def _queue(self, origin: Origin) -> asyncio.Semaphore:
        if origin not in self._queues:
            self._queues[origin] = asyncio.Semaphore(CONNECTIONS_PER_HOST)
        return self._queues[origin]

    def _proxy(self, request: Request) -> str | None:
        """Return the proxy for a URL, looked up once for each host: the environment of a process does not change."""
        if request.origin not in self._proxies:
            self._proxies[request.origin] = proxy_for(request.url)
        return self._proxies[request.origin]

    async def _send(self, request: Request) -> Response:
        import aiohttp
        from yarl import URL

        try:
            sent = self._open().request(
                request.method,
                URL(request.full_url, encoded=True),
                headers=request.all_headers,
                skip_auto_headers=("Content-Type",),
                data=request.body,
                proxy=self._proxy(request),
                ssl=tls_context(request.verify) if request.origin.scheme == "https" else True,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=request.timeout, sock_connect=CONNECT_TIMEOUT),
            )
            async with sent as answer:
                headers = {k.lower(): v for k, v in answer.headers.items()}
                packed = headers.get("content-encoding", "")
                body = await read_body(answer.content.iter_any(), request, answer.status, packed)
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
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, ttl_dns_cache=60)
            jar = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=jar, auto_decompress=False)
        return self._session

    async def close(self) -> None:
        """See Door."""
        session, self._session, self._queues, self._proxies = self._session, None, {}, {}
        if session is not None:
            await session.close()


@cache
def tls_context(verify: bool | str = True) -> ssl.SSLContext:
    """Return the TLS settings of both doors.

    The CA bundle is ``verify`` if it is a path, else ``SSL_CERT_FILE`` or ``REQUESTS_CA_BUNDLE`` from the
    environment, else certifi's.
    """
    import ssl

    import certifi

    if verify is False:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    bundle = verify if isinstance(verify, str) and verify else named or certifi.where()
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

    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is None or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        kind = proxy.partition(":")[0]
        raise BadRequest(f"The environment names a {kind} proxy for {parts.scheme} URLs; only http(s) ones work.")
    return proxy


def _say(exc: BaseException) -> str:
    said = one_line(str(exc), QUOTED)  # it may quote what the service has sent
    return f"{type(exc).__name__}: {said}" if said else type(exc).__name__
