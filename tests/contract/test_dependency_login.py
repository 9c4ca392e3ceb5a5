"""As whom another Airflow is asked: the headers and the token of its connection, and how a refusal renews them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from airflow.sdk import Connection

from ork_provider.dependency.rest import RestApi
from ork_provider.errors import BadRequest
from ork_provider.session import HttpxDoor, Session

RUNS = {"dag_runs": [{"dag_run_id": "r1", "state": "running"}], "total_entries": 1}


class Gate:
    """An Airflow behind a proxy: it lets those in who send a good token and the proxy's own header."""

    def __init__(self) -> None:
        self.url = ""
        self.good = "Bearer good"
        self.refusal = 401
        self.headers: list[tuple[str, dict[str, str]]] = []
        self.connections: list[Connection] = []
        self.read = 0

    def connect(self, *connections: dict[str, Any]) -> None:
        """Say what the connection is each time that it is read; the last one stays."""
        self.connections = [Connection(conn_id="other", conn_type="http", host=self.url, **one) for one in connections]
        self.read = 0

    def ask(self, question: Callable[[RestApi], Awaitable[Any]]) -> Any:
        """Ask over the connection."""

        async def read(conn_id: str) -> Any:
            self.read += 1
            return self.connections[min(self.read, len(self.connections)) - 1]

        async def ask() -> Any:
            session = Session(HttpxDoor(), read)
            try:
                return await question(RestApi(session, "other"))
            finally:
                await session.close()

        return asyncio.run(ask())

    def sent(self, name: str, path: str = "/dagRuns") -> list[str | None]:
        """Return what was sent in a header with the questions of a kind."""
        return [headers.get(name) for where, headers in self.headers if path in where]


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            gate.headers.append((self.path, headers))
            self.rfile.read(int(headers.get("content-length", 0)))
            if headers.get("x-proxy") == "wrong":
                self._answer(403, {"detail": f"{headers['x-proxy-token']} is not known here"})
            elif self.path == "/auth/token":
                self._answer(201, {"access_token": gate.good.removeprefix("Bearer ")})
            elif headers.get("authorization", headers.get("x-api-key")) != gate.good:
                self._answer(gate.refusal, {"detail": "no"})
            else:
                self._answer(200, RUNS)

        do_POST = do_GET  # noqa: N815 - http.server's name

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        gate.url = f"http://127.0.0.1:{server.server_port}"
        yield gate
        server.shutdown()


async def first(source: RestApi) -> str | None:
    return await source.first_run("sales")


LOGINS: dict[str, dict[str, Any]] = {
    "login": {"login": "robot", "password": "secret"},
    "token": {"password": "good"},
}


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("spelt", ["Authorization", "authorization"])
def test_headers_of_the_connection(gate: Gate, login: str, spelt: str) -> None:
    """They are sent with each question, also with that for a token; only the token is in Authorization."""
    extra = {"headers": {"X-Proxy": "yes", spelt: "Basic abc"}}
    gate.connect({**LOGINS[login], "extra": json.dumps(extra)})
    assert gate.ask(first) == "r1"
    assert gate.sent("x-proxy") == ["yes"]
    assert gate.sent("authorization") == ["Bearer good"]
    if login == "login":
        assert gate.sent("x-proxy", "/auth/token") == ["yes"]
        assert gate.sent("authorization", "/auth/token") == [None]


def test_headers_only(gate: Gate) -> None:
    """Without login and password they are all that says who asks."""
    gate.connect({"extra": json.dumps({"headers": {"Authorization": "Bearer good"}})})
    assert gate.ask(first) == "r1"


def test_quoted_secret(gate: Gate) -> None:
    """What refuses a header, and quotes it, is not quoted."""
    headers = {"X-Proxy": "wrong", "X-Proxy-Token": "very-secret-token"}
    gate.connect({**LOGINS["login"], "extra": json.dumps({"headers": headers})})
    with pytest.raises(BadRequest) as caught:
        gate.ask(first)
    assert "/auth/token" in str(caught.value)
    assert "very-secret-token" not in str(caught.value)


CHANGED: dict[str, Callable[[str], dict[str, Any]]] = {
    "token": lambda secret: {"password": secret},
    "headers": lambda secret: {"extra": json.dumps({"headers": {"Authorization": f"Bearer {secret}"}})},
    "key": lambda secret: {"extra": json.dumps({"headers": {"X-API-Key": f"Bearer {secret}"}})},
}


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("kind", CHANGED)
def test_changed_connection(gate: Gate, kind: str, status: int) -> None:
    """After a refusal the connection is read again, whatever says who asks; many who are refused read it once."""
    gate.refusal = status
    gate.connect(CHANGED[kind]("old"), CHANGED[kind]("good"))

    async def many(source: RestApi) -> list[str | None]:
        return await asyncio.gather(*(first(source) for _ in range(5)))

    assert gate.ask(many) == ["r1"] * 5
    assert gate.read == 2


def test_refused_for_good(gate: Gate) -> None:
    """A token that stays wrong is read again once for a question."""
    gate.connect({"password": "old"})
    with pytest.raises(BadRequest, match="401"):
        gate.ask(first)
    assert (gate.read, len(gate.sent("authorization"))) == (2, 2)
