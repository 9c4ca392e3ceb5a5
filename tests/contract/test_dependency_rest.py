"""Another Airflow, over its REST API, says the same as our own through the supervisor: both over one real database."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import pytest
import uvicorn

from ork_provider.dependency.poll import DagPoll, Turns
from ork_provider.dependency.rest import RestApi
from ork_provider.dependency.source import Source, Supervisor
from ork_provider.errors import BadRequest, Throttled, TryAgain, Unauthorized
from ork_provider.session import HttpxDoor, Session
from tests.support.dependency import on
from tests.support.state_server import NOW, StateServer, serve_states

T = TypeVar("T")
DAY = timedelta(days=1)
INSTANCES = [(("each", i), "success") for i in range(12)]


@dataclass
class Api:
    """Airflow's REST API on a port of this machine, and who may come in."""

    url: str
    password: str = "the-reader-s-own"

    def connection(self, **other: Any) -> Any:
        """Return an Airflow connection to it."""
        from airflow.sdk import Connection

        given = {"host": self.url, "login": "reader", "password": self.password, **other}
        return Connection(conn_id="other", conn_type="http", **given)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Serve the API, of whatever database Airflow's settings name."""
    passwords = tmp_path_factory.mktemp("api") / "passwords.json"
    passwords.write_text(json.dumps({"reader": Api.password}))
    with pytest.MonkeyPatch.context() as environ, serve_states():
        environ.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "reader:viewer")
        environ.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "False")
        environ.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        environ.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
        environ.setenv("AIRFLOW__API__MAXIMUM_PAGE_LIMIT", "5")
        with _serve() as api:
            yield api


@contextmanager
def _serve() -> Iterator[Api]:
    from airflow.api_fastapi.app import create_app

    config = uvicorn.Config(create_app(apps="core"), host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started and time.monotonic() < end:
        time.sleep(0.02)
    yield Api(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def server(api: Api) -> Iterator[StateServer]:
    """Yield an empty state server, whose database the API reads, too."""
    with serve_states() as server:
        yield server


def over_rest(connection: Any, question: Callable[[RestApi], Awaitable[T]]) -> T:
    """Ask another Airflow."""

    async def ask() -> T:
        async def read(conn_id: str) -> Any:
            return connection

        session = Session(HttpxDoor(), read)
        try:
            return await question(RestApi(session, "other"))
        finally:
            await session.close()

    return asyncio.run(ask())


def fill(server: StateServer) -> None:
    """Store runs of every kind."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    tasks: dict[Any, str | None] = {"a": "success", "b": "failed", "c": None, **dict(INSTANCES)}
    server.add_run(run_id="r1", state="running", tasks=tasks, logical_date=NOW)
    server.add_run(run_id="r2", state="success", tasks={"a": "skipped", "b": "up_for_retry"}, logical_date=NOW + DAY)
    server.add_run(run_id="r+3:~", state="failed", tasks={"a": "removed"})
    server.add_run(run_id="r4", state="queued", tasks={})
    server.add_run("empty", run_id="other")
    server.add_groups("sales", {"load": ["a", "b"], "rest": ["c", "each"]})
    with create_session() as session:  # what the page of a DAG cannot do without
        session.execute(update(DagModel).values(fileloc="sales.py", owners="", max_active_tasks=1, max_active_runs=1))
    server.returns({"rows": [1, 2]}, "a")
    server.returns("eleven", "each", 11)


async def dates(source: Source, *times: datetime) -> dict[str, str]:
    """Ask for the runs of logical dates."""
    return {date: run_id async for date, run_id in source.runs_of_dates("sales", [one.isoformat() for one in times])}


ALL = ["r1", "r2", "r+3:~", "r4", "none"]
QUESTIONS: dict[str, Callable[[Source], Awaitable[Any]]] = {
    "states of runs": lambda source: source.run_states("sales", ALL),
    "state of a run": lambda source: source.run_states("sales", ["r2"]),
    "existing": lambda source: source.existing("sales", ALL),
    "tasks": lambda source: source.task_states("sales", ALL, ["a", "b", "none"]),
    "mapped": lambda source: source.task_states("sales", ["r1"], ["each"]),
    "group": lambda source: source.group_states("sales", ["r1", "r2"], "load"),
    "mapped in a group": lambda source: source.group_states("sales", ["r1"], "rest"),
    "all tasks": lambda source: source.group_states("sales", ["r1"], None),
    "dates": lambda source: dates(source, NOW, NOW + DAY, NOW - DAY),
    "latest": lambda source: source.latest_run("sales"),
    "latest of none": lambda source: source.latest_run("none"),
    "first": lambda source: source.first_run("empty"),
    "first of none": lambda source: source.first_run("none"),
    "DAG": lambda source: source.has_dag("sales"),
    "no DAG": lambda source: source.has_dag("none"),
    "runs of no DAG": lambda source: source.run_states("none", ["r1", "r2"]),
    "tasks of no DAG": lambda source: source.task_states("none", ["r1"], ["a"]),
    "output": lambda source: source.xcom("sales", "r1", "a", -1),
    "output of an instance": lambda source: source.xcom("sales", "r1", "each", 11),
    "no output": lambda source: source.xcom("sales", "r1", "each", 10),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_same_answers(server: StateServer, api: Api, name: str) -> None:
    """To each question another Airflow gives the same answer as our own, page by page."""
    fill(server)
    ask = QUESTIONS[name]

    async def here() -> Any:
        return await ask(Supervisor())

    assert over_rest(api.connection(), ask) == asyncio.run(here())


@pytest.mark.parametrize("state", ["running", "failed", "success"])
def test_run_that_is_over(server: StateServer, api: Api, state: str) -> None:
    """A task that has not begun when its run ends has failed there, too."""
    server.add_run(state=state, tasks={"a": None, "b": "running"})
    server.add_run(run_id="r2", tasks={"a": None})
    jobs = [on("r1", "a"), on("r2", "a"), on("r1", "a", "b")]

    async def ask(source: Source) -> list[Any]:
        poll = DagPoll(source, "other", "sales", Turns())
        return [told.to_dict() for told in (await poll.look([poll.name(job) for job in jobs])).values()]

    async def here() -> Any:
        return await ask(Supervisor())

    told = over_rest(api.connection(), ask)
    assert told == asyncio.run(here())
    assert [one["failed"] for one in told] == [int(state != "running"), 0, 0]


def test_token_that_is_refused(server: StateServer, api: Api) -> None:
    """A token that is not good any more is replaced by a new one: Airflow says 403 of one with another signature."""
    fill(server)

    async def ask(source: RestApi) -> list[bool]:
        first = await source.has_dag("sales")
        source._server._token = "expired"
        return [first, await source.has_dag("sales")]

    assert over_rest(api.connection(), ask) == [True, True]


def test_many_at_once_fetch_one_token(server: StateServer, api: Api) -> None:
    """Those who find the same token refused fetch one new token together."""
    fetched: list[str] = []

    async def ask(source: RestApi) -> None:
        fetch = source._server._fetch_token

        async def counted(login: str, password: str) -> str:
            fetched.append(login)
            return await fetch(login, password)

        source._server._fetch_token = counted  # type: ignore[method-assign]
        for count in (1, 2):
            signed = await asyncio.gather(*(source._server.headers() for _ in range(20)))
            assert len({headers["Authorization"] for headers in signed}) == 1
            assert len(fetched) == count
            await asyncio.gather(*(source._server.renew(headers) for headers in signed))

    over_rest(api.connection(), ask)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"password": "another"}, r"/auth/token answered 401.*Check the credentials"),
        ({"login": "nobody"}, r"/auth/token answered 401.*Check the credentials"),
        ({"login": None, "password": "no-token"}, r"answered 40[13]"),
    ],
)
def test_wrong_credentials(server: StateServer, api: Api, other: dict[str, Any], said: str) -> None:
    """Who is not let in is told so at once; asking again cannot help. The secret is not in the message."""
    with pytest.raises(BadRequest, match=said) as caught:
        over_rest(api.connection(**other), lambda source: source.has_dag("sales"))
    assert isinstance(caught.value, Unauthorized) or "403" in str(caught.value)
    assert str(other.get("password", api.password)) not in str(caught.value)


def test_token_as_the_password(server: StateServer, api: Api) -> None:
    """Without a login the password is the token."""
    fill(server)

    async def fetch(source: RestApi) -> str:
        return (await source._server.headers())["Authorization"].removeprefix("Bearer ")

    token = over_rest(api.connection(), fetch)
    assert over_rest(api.connection(login=None, password=token), lambda source: source.has_dag("sales"))


class Odd(BaseHTTPRequestHandler):
    """Gives one answer to every question."""

    answer = (200, b"")

    def do_GET(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def odd() -> Iterator[Callable[[int, str], Any]]:
    """Serve one answer to every question; return a connection to who does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

        def serve(status: int, body: str) -> Any:
            Odd.answer = (status, body.encode())
            return Api(f"http://127.0.0.1:{server.server_port}").connection(login=None, password="token")

        yield serve
        server.shutdown()


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"task_instances": 7, "total_entries": 1}', "null", '"x"'])
@pytest.mark.parametrize("name", ["states of runs", "tasks", "all tasks", "dates", "latest"])
def test_answers_without_sense(odd: Callable[[int, str], Any], body: str, name: str) -> None:
    """An answer that is not of the API's shape is trouble that may pass, and no bug of ours."""
    connection = odd(200, body)
    with pytest.raises(TryAgain):
        over_rest(connection, QUESTIONS[name])


def test_groups_that_are_not_known(odd: Callable[[int, str], Any]) -> None:
    """An Airflow that gives all tasks for whatever group is not believed."""
    one = {"dag_run_id": "r1", "task_id": "a", "map_index": -1, "state": "success"}
    connection = odd(200, json.dumps({"task_instances": [one], "total_entries": 1}))
    with pytest.raises(BadRequest, match="name them in task_ids"):
        over_rest(connection, QUESTIONS["group"])
    assert over_rest(connection, QUESTIONS["all tasks"]) == {"r1": {("a", -1): "success"}}


@pytest.mark.parametrize(("status", "error"), [(503, TryAgain), (429, Throttled), (403, BadRequest)])
def test_refusals(odd: Callable[[int, str], Any], status: int, error: type[Exception]) -> None:
    """Refusals are sorted as those of any service are."""
    connection = odd(status, "{}")
    with pytest.raises(error):
        over_rest(connection, QUESTIONS["tasks"])
