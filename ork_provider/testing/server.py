"""The base of all fakes: a real HTTP server in its own thread, with a request log and scripted faults."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qs

from aiohttp import web

from ork_provider.testing.faults import Answer, Fault, Refused

Handler = Callable[..., "Answer | Awaitable[Answer]"]
Server = TypeVar("Server", bound="FakeServer")


class PortInUse(OSError):
    """The port that a fake was asked to use is taken."""

    def __init__(self, service: str, host: str, port: int) -> None:
        super().__init__(
            errno.EADDRINUSE,
            f"{service} cannot listen on {host}:{port}: the port is in use. "
            "Stop the other process or choose another port (0 picks a free one).",
        )
        self.port = port

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True)
class RecordedRequest:
    """One request as a fake received it.

    `at` is the server's clock in seconds, `query` holds the first value of each parameter (see
    `values` for repeated ones), `headers` have lower-case names. `status` is None until an answer is
    sent, and for ever when none is (a reset). `answer` is kept only with `keep_answers=True`.
    """

    at: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    status: int | None = None
    query_string: str = ""
    answer: bytes = b""

    @property
    def json(self) -> Any:
        """The body as a JSON value; None for an empty body."""
        return json.loads(self.body) if self.body else None

    def values(self, name: str) -> list[str]:
        """All values of a repeated query parameter, e.g. `stateFilter`."""
        return parse_qs(self.query_string, keep_blank_values=True).get(name, [])


@dataclass
class FaultRule:
    """A fault waiting for its turn; `applied` counts how often it was acted out."""

    fault: Fault
    on: str | re.Pattern[str]
    nth: int
    times: int
    seen: int = 0
    applied: int = 0

    def due(self, request: RecordedRequest) -> bool:
        """Count `request` if it matches, and say whether it gets the fault."""
        if not _matches(self.on, request):
            return False
        self.seen += 1
        return self.seen >= self.nth and (self.times < 0 or self.applied < self.times)


def _matches(on: str | re.Pattern[str], request: RecordedRequest) -> bool:
    if isinstance(on, re.Pattern):
        return on.search(f"{request.method} {request.path}") is not None
    method, _, path = on.rpartition(" ")
    return method in ("", "*", request.method) and fnmatchcase(request.path, path)


def _path_matches(wanted: str | re.Pattern[str] | None, path: str) -> bool:
    if wanted is None:
        return True
    return fnmatchcase(path, wanted) if isinstance(wanted, str) else wanted.search(path) is not None


@dataclass(frozen=True)
class Route:
    """`method` and a path such as `/jobs/{job_id}`; the names become the handler's keyword arguments."""

    method: str
    path: str
    handler: Handler

    def pattern(self, prefix: str) -> re.Pattern[str]:
        """Compile the path, with the regular expression `prefix` before it."""
        return re.compile(prefix + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path) + "/?")


class FakeServer:
    """A fake service on `http://host:port`; `port=0` picks a free one.

    `clock` returns seconds and drives the states of the fake's jobs. `latency` (seconds, or a callable of
    the request that returns seconds) delays every answer. A stopped server can be started again: it keeps
    its port and its jobs, as a service does that was away for a while.

    Raises `PortInUse` from `start()`.
    """

    service = "The fake service"
    path_prefix = ""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        latency: float | Callable[[RecordedRequest], float] = 0.0,
        keep_answers: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.clock = clock
        self.latency = latency
        self.keep_answers = keep_answers
        self._epoch = time.time() - clock()
        self._lock = threading.RLock()  # a script that is asked about a new job may read the log
        self._log: dict[int, RecordedRequest] = {}
        self._next = 0
        self._rules: list[FaultRule] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._routes = [(r.method, r.pattern(self.path_prefix), r.handler) for r in self.routes()]

    # -- what a service declares ---------------------------------------------------------------------------

    def routes(self) -> list[Route]:
        """List what the service answers to."""
        return []

    def connections(self) -> dict[str, str]:
        """Map the Airflow connections that reach this fake, as environment variable -> JSON."""
        return {}

    def authorize(self, request: RecordedRequest) -> None:
        """Raise `Refused` if the request may not enter; everybody may by default."""

    def path_of(self, raw: web.BaseRequest) -> str:
        """Return the path that routes and the log see: decoded, unless the service tells %2F from a slash."""
        return raw.path

    # -- life ----------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base URL without a trailing slash; known once started."""
        return f"http://{self.host}:{self.port}"

    def start(self: Server) -> Server:
        """Listen and serve in a background thread; returns when requests are accepted."""
        if self._thread is not None:
            return self
        sock = self._bind()
        self.port = sock.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(sock, ready)), name=type(self).__name__, daemon=True
        )
        self._thread.start()
        ready.wait(10)
        return self

    def stop(self) -> None:
        """Stop listening and end every open connection; jobs and the log stay."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        self._thread = None

    def __enter__(self: Server) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _bind(self) -> socket.socket:
        try:
            return socket.create_server((self.host, self.port), backlog=2048)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise PortInUse(self.service, self.host, self.port) from exc
            raise

    async def _main(self, sock: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=0.05)
        await runner.setup()
        await web.SockSite(runner, sock, backlog=2048).start()
        ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    # -- log -----------------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far, in order of arrival (a copy)."""
        with self._lock:
            return list(self._log.values())

    def calls(self, method: str | None = None, path: str | re.Pattern[str] | None = None) -> list[RecordedRequest]:
        """Filter the log by method and by path, a glob (`*` also spans `/`) or a regular expression."""
        return [r for r in self.requests if method in (None, r.method) and _path_matches(path, r.path)]

    def clear_log(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._log.clear()

    def _record(self, request: RecordedRequest) -> int:
        with self._lock:
            self._next += 1
            self._log[self._next] = request
            return self._next

    def _answered(self, number: int, answer: Answer) -> None:
        kept = answer.body if self.keep_answers else b""
        with self._lock:
            if number in self._log:
                self._log[number] = replace(self._log[number], status=answer.status, answer=kept)

    # -- faults --------------------------------------------------------------------------------------------

    def fail(
        self, fault: Fault, on: str | re.Pattern[str] = "*", nth: int | None = None, times: int | None = None
    ) -> FaultRule:
        """Act out `fault` on requests that match `on`, counted from now.

        `on` is `"GET */jobs/*"`, `"*/jobs/*"` (any method) or a regular expression over `METHOD path`. The
        first match gets it, or the `nth`; then `times` - 1 more (-1: for ever).
        """
        rule = FaultRule(fault, on, nth or 1, 1 if times is None else times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def heal(self) -> None:
        """Forget every fault that was scripted."""
        with self._lock:
            self._rules.clear()

    def _fault_for(self, request: RecordedRequest) -> Fault | None:
        with self._lock:
            due = [rule for rule in self._rules if rule.due(request)]
            if not due:
                return None
            due[0].applied += 1
            return due[0].fault

    # -- serving -------------------------------------------------------------------------------------------

    def epoch_ms(self, at: float | None = None) -> int:
        """Translate a reading of the fake's clock (default: now) to milliseconds since 1970."""
        return round((self._epoch + (self.clock() if at is None else at)) * 1000)

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        request = RecordedRequest(
            at=self.clock(),
            method=raw.method,
            path=self.path_of(raw),
            query={name: values[0] for name, values in _query(raw.query_string).items()},
            headers={name.lower(): value for name, value in raw.headers.items()},
            body=await raw.read(),
            query_string=raw.query_string,
        )
        number = self._record(request)
        delay = self.latency(request) if callable(self.latency) else self.latency
        if delay > 0:
            await asyncio.sleep(delay)
        fault = self._fault_for(request)
        answer = await (self._act(fault, request, raw) if fault else self._process(request))
        if fault and fault.ending != "reply":
            _break_off(raw, answer if fault.ending == "truncate" else None)
            return web.Response()
        self._answered(number, answer)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _act(self, fault: Fault, request: RecordedRequest, raw: web.BaseRequest) -> Answer:
        answer = await self._process(request) if fault.after else fault.answer
        if fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault.ending == "reset" or raw.transport is None:  # the client has left
            return Answer()
        return fault.answer or answer or await self._process(request)

    async def _process(self, request: RecordedRequest) -> Answer:
        try:
            self.authorize(request)
            handler, names = self._find(request)
            answer = handler(request, **names)
            return answer if isinstance(answer, Answer) else await answer
        except Refused as refused:
            return refused.answer
        except json.JSONDecodeError as exc:
            return Answer.google_error(400, "parseError", f"The body is not JSON: {exc}")

    def _find(self, request: RecordedRequest) -> tuple[Handler, dict[str, str]]:
        for method, pattern, handler in self._routes:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                return handler, match.groupdict()
        raise Refused(Answer.google_error(404, "notFound", f"{self.service} has no {request.method} {request.path}"))


def _query(text: str) -> dict[str, list[str]]:
    return parse_qs(text, keep_blank_values=True) if text else {}


def _break_off(raw: web.BaseRequest, half: Answer | None) -> None:
    """End the connection: with a reset, or after half of an answer."""
    transport = raw.transport
    if transport is None:
        return
    if half is None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        return
    assert isinstance(transport, asyncio.Transport)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(half.body) + 1}"
    transport.write(head.encode() + b"\r\n\r\n" + half.body[: len(half.body) // 2])
    transport.close()
