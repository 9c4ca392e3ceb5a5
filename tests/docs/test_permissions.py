"""docs/permissions.md: each request that is sent stands in it, and each request of the page is sent."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.bases.operator import ExecutorSafeguard

from ork_provider.bigquery import BigQueryJob
from ork_provider.cloud_run import CloudRunJobOperator
from ork_provider.dqops import (
    DqopsAssertTableStatusOperator,
    DqopsCollectStatisticsOperator,
    DqopsTableImportOperator,
)
from ork_provider.errors import OrkError
from ork_provider.session import HttpxDoor, Session
from ork_provider.testing import Fault, run_trigger
from tests.conftest import Tell
from tests.contract.kinds import KINDS, Kind
from tests.docs.pages import ROOT
from tests.support.discovery import Discovery
from tests.support.task import Task

pytestmark = pytest.mark.timeout(120)

PAGE = (ROOT / "docs" / "permissions.md").read_text()
ROW = re.compile(r"^\| `((?:GET|POST|PUT|DELETE) /\S+)` \| (.*) \|$", re.MULTILINE)
ROWS = [match[1] for match in ROW.finditer(PAGE)]
DOCUMENTS = {"bigquery": ("bigquery", "v2"), "run": ("run", "v2"), "dataproc": ("dataproc", "v1")}


@pytest.fixture(autouse=True)
def _allow_execute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


def row_of(request: str) -> str:
    """Return the row that a request is of; fail where there is none, or more than one."""
    found = [row for row in ROWS if re.fullmatch(_pattern(row), request)]
    exact = [row for row in found if "{" not in row] or found
    assert len(exact) == 1, f"docs/permissions.md has {exact or 'no row'} for {request}"
    return exact[0]


def _pattern(row: str) -> str:
    return "".join("[^/:]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", row))


def _scenes(kind: Kind) -> Iterator[Callable[[], Any]]:
    """Yield what makes an operator of this kind send each of its requests."""
    yield lambda: Task().run(kind.operator(**kind.result))
    yield lambda: asyncio.run(
        run_trigger(Task().start(kind.operator()).trigger, task_state="failed", kill_after=1.0, timeout=40)
    )
    if kind.on_search:
        kind.fake.fail(Fault.reset(after=True), on=kind.on_submit)
        yield lambda: Task().start(kind.operator())


def test_requests_are_rows_and_rows_are_requests(monkeypatch: pytest.MonkeyPatch, tell: Tell) -> None:
    """Starting, asking, listing, fetching, cancelling and looking for a lost job send what the page lists, all of it.

    Of the page only the rows that lead to Google's token services are not sent here.
    """
    seen = {row_of(request) for request in asyncio.run(_ask_everything())}
    for name in KINDS:
        if name != "custom_http":  # its requests are the user's own
            seen |= _rows_of(name, monkeypatch)
    tokens = {"POST /token", "POST /v1/projects/-/serviceAccounts/{account}:generateAccessToken"}
    tell(f"requests of the page seen: {len(seen)} / {len(set(ROWS) - tokens)}")
    assert seen == set(ROWS) - tokens


def _rows_of(name: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Run a kind's scenes; return the rows of what was sent."""
    with KINDS[name]() as kind:
        for variable, value in kind.fake.connections().items():
            monkeypatch.setenv(variable, value)
        for scene, running in zip(_scenes(kind), (2.0, 60.0, 60.0), strict=False):
            kind.script(running, True)
            scene()
        _more(name, kind)
        requests = list(kind.fake.requests)
    assert requests
    return {row_of(f"{request.method} {request.path}") for request in requests}


def _more(name: str, kind: Kind) -> None:
    """Send what only one service has."""
    if name == "bigquery":
        kind.fake.fail(Fault.google(404, "notFound"), on="GET */jobs/*", times=-1)
        job = BigQueryJob(project="ork-sandbox", job_id="lost", location=None)
        with suppress(OrkError):
            asyncio.run(_locate(job))
    elif name == "cloudrun":
        kind.fake.create_job("many", ["main", "proxy"])
        Task().start(CloudRunJobOperator(task_id="many", region="r", job_name="many", overrides={"args": ["x"]}))
        from ork_provider.cloud_run import CloudRunJob, CloudRunJobTrigger

        jobs = [
            CloudRunJob(project="ork-sandbox", region="r", job_name="many", execution_id=f"e{n}") for n in range(30)
        ]
        trigger = CloudRunJobTrigger(jobs=[job.to_dict() for job in jobs], poll_interval=0.1)
        asyncio.run(run_trigger(trigger, cancel_after=1.5))
    elif name == "dqops":
        kind.script(0.1, True)
        Task().run(DqopsCollectStatisticsOperator(task_id="statistics", connection="warehouse"))
        Task().run(DqopsTableImportOperator(task_id="import", connection_name="warehouse", schema_name="public"))
        place = {"connection_name": "warehouse", "schema_name": "public", "table_name": "orders"}
        with suppress(OrkError):
            Task().run(DqopsAssertTableStatusOperator(task_id="status", **place))


async def _locate(job: BigQueryJob) -> None:
    from ork_provider.bigquery.service import BigQueryService
    from ork_provider.google.api import GOOGLE_CONNECTION
    from ork_provider.session import shared_session

    async with shared_session() as session:
        service = await BigQueryService.open(session, **GOOGLE_CONNECTION)
        await service.locate(job)


async def _ask_everything() -> list[str]:
    """Ask another Airflow each question that the REST client has; return the requests."""
    from ork_provider.dependency.rest import RestApi

    seen: list[str] = []
    with _airflow(seen) as url:

        async def read(conn_id: str) -> Any:
            return Connection(conn_id=conn_id, conn_type="http", host=url, login="reader", password="secret")

        session = Session(HttpxDoor(), read)
        try:
            api = RestApi(session, "other")
            await api.run_states("d", ["a", "b"])
            await api.existing("d", ["a"])
            await api.task_states("d", ["a"], ["t"])
            await api.group_states("d", ["a"], None)
            await api.first_run("d")
            await api.latest_run("d")
            await api.has_dag("d")
            await api.xcom("d", "a", "t", -1)
            _ = [found async for found in api.runs_of_dates("d", ["2026-01-31"])]
        finally:
            await session.close()
    return seen


class _airflow:  # noqa: N801 - used as a function
    """Serve an Airflow in which there is nothing, and note what it is asked."""

    def __init__(self, seen: list[str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(f"{self.command} {self.path.partition('?')[0]}")
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                empty = {"dag_runs": [], "task_instances": [], "total_entries": 0, "access_token": "t"}
                body = json.dumps({**empty, "state": "running", "dag_run_id": "a", "value": 1}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - the name that http.server wants

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> str:
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_methods_are_those_of_the_documents() -> None:
    """Each row for Google's services names the method of the discovery document that has this path."""
    checked = 0
    for match in ROW.finditer(PAGE):
        method = re.match(r"`((bigquery|run|dataproc)\.[\w.]+)`", match[2])
        if method and match[1].split("/")[1] in ("bigquery", "v1", "v2"):
            verb, _, path = match[1].partition(" ")
            assert Discovery(*DOCUMENTS[method[2]])._method(verb, _sample(path))["id"] == method[1], match[1]
            checked += 1
    assert checked == 18


def _sample(path: str) -> str:
    return re.sub(r"\{(\w+)\}", r"\1", path)


def test_a_request_that_is_not_there_is_missed() -> None:
    """A request without a row is an error; so the tests above can fail."""
    with pytest.raises(AssertionError, match="no row"):
        row_of("PATCH /bigquery/v2/projects/p/jobs/j")
