"""Where HTTP jobs may lead and what goes there: redirects, allowed hosts, secrets; in a worker and in a triggerer."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from ork_provider.dqops import DqopsWaitForJobOperator
from ork_provider.errors import BadRequest, InvalidJob, JobError, JobFailed, OrkError
from ork_provider.http import HttpJob, HttpJobOperator, HttpJobSensor, HttpJobTrigger, HttpService
from ork_provider.session import HttpxDoor, Session
from ork_provider.testing import (
    Answer,
    FakeDqops,
    FakeHttpJobs,
    Fault,
    HttpOutcome,
    RecordedRequest,
    Route,
    run_trigger,
)
from tests.contract.kinds import Kind
from tests.support.task import Task


class Elsewhere(FakeHttpJobs):
    """An API of jobs, each of which is also behind redirects: ``/moved``, ``/hops/N``, and to another server."""

    away = ""

    def routes(self) -> list[Route]:
        """See FakeServer."""
        return [
            *super().routes(),
            *(Route(method, "/moved/{job_id}", self.move) for method in ("GET", "POST", "DELETE", "HEAD")),
            Route("GET", "/hops/{left}", self.hop),
            Route("GET", "/away/{job_id}", lambda request, job_id: redirect(f"{self.away}/jobs/{job_id}")),
            Route("GET", "/to", lambda request: redirect(request.query["there"])),
            Route("POST", "/moved", lambda request: redirect("/jobs", 307)),
        ]

    def move(self, request: RecordedRequest, job_id: str) -> Answer:
        return redirect(f"../jobs/{job_id}", 308)

    def hop(self, request: RecordedRequest, left: str) -> Answer:
        return redirect("/jobs/job-1" if left == "1" else f"/hops/{int(left) - 1}")


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(status, b"", {"Location": location})


@dataclass
class World:
    """Our server, over which the connection leads and where a job has run, and another one."""

    ours: Elsewhere
    other: Elsewhere


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Run both, each with a job that has ended well; the connection has a login and a secret header."""
    with Elsewhere(pending=0, running=0) as ours, Elsewhere(pending=0, running=0) as other:
        ours.away = other.url
        for fake in (ours, other):
            fake.created.append(fake._new_job(_Start(), None)) if not fake.created else None
        connection = json.loads(ours.connections()["AIRFLOW_CONN_HTTP_DEFAULT"])
        connection |= {"login": "me", "password": "pass-word", "extra": json.dumps({"X-Api-Key": "k-sesame"})}
        monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", json.dumps(connection))
        yield World(ours, other)


class _Start:
    """The least of a request that the fake needs to make a job."""

    body = b"{}"
    json: Any = {}


def watch(url: str, **kwargs: Any) -> Any:
    """Run a sensor to its end."""
    return Task().run(HttpJobSensor(task_id="watch", endpoint=url, poll_interval=0.2, **kwargs))


def trigger_of(url: str, **fields: Any) -> HttpJobTrigger:
    return HttpJobTrigger(jobs=[HttpJob(url=url, **fields).to_dict()], poll_interval=0.2)


async def event_of(url: str, **fields: Any) -> dict[str, Any]:
    """Run a trigger to its end; return its event."""
    event: dict[str, Any] = (await run_trigger(trigger_of(url, **fields), ti=None)).payload
    return event


# Redirects ---------------------------------------------------------------------------------------


def test_redirects_are_off(world: World) -> None:
    """A redirect is not followed unless the job says so; the error names the place."""
    with pytest.raises(JobError, match=r"answered 308: no body. It redirects to '../jobs/job-1'; use that address"):
        watch("/moved/job-1")
    assert [call.path for call in world.ours.requests] == ["/moved/job-1"]


@pytest.mark.parametrize(
    "url", ["/moved/job-1", "/hops/5", "/to?there=//HOST/jobs/job-1", "/to?there=HTTP://HOST/jobs/job-1"]
)
def test_redirects_are_followed_when_asked(world: World, url: str) -> None:
    """A job that says so is found behind redirects on its server, five of them at most, by the worker."""
    place = f"{world.ours.host}:{world.ours.port}"
    assert watch(url.replace("HOST", place), follow_redirects=True)["state"] == "succeeded"
    assert all(call.headers["x-api-key"] == "k-sesame" for call in world.ours.requests)


async def test_redirects_are_followed_by_the_trigger(world: World) -> None:
    """And by the triggerer."""
    assert (await event_of("/moved/job-1", follow_redirects=True))["status"] == "success"
    assert (await event_of("/moved/job-1"))["status"] == "error"


def test_redirected_result(world: World) -> None:
    """A result is fetched behind redirects, too."""
    world.ours.created[0].outcome = HttpOutcome(0, 0, "completed", {"rows": 2})
    found = watch("/jobs/job-1", result_url="/moved/job-1", result_field="output.rows", follow_redirects=True)
    assert found["result"] == 2


def test_redirects_end(world: World) -> None:
    """More than five redirects in a row are an error that says so."""
    with pytest.raises(JobError, match=r"/hops/1 is the end of 5 redirects, and redirects again"):
        watch("/hops/6", follow_redirects=True)
    assert len(world.ours.requests) == 6


@pytest.mark.parametrize(
    "url", ["/away/job-1", "/to?there=https://HOST/jobs/1", "/to?there=http://localhost:PORT/jobs/1"]
)
def test_redirect_to_another_server(world: World, url: str) -> None:
    """A redirect to another server is never followed, also not to https or another name of the same machine."""
    url = url.replace("HOST", f"{world.ours.host}:{world.ours.port}").replace("PORT", str(world.ours.port))
    with pytest.raises(JobError, match=r"which is another server than http://127\.0\.0\.1"):
        watch(url, follow_redirects=True)
    assert len(world.ours.requests) == 1
    assert not world.other.requests


@pytest.mark.parametrize("there", ["http://me@127.0.0.1/x", "ftp://127.0.0.1/x", "http://[", "//[::1"])
def test_redirect_to_nowhere(world: World, there: str) -> None:
    """A redirect to what is no URL is an error, and nothing is sent."""
    with pytest.raises(JobError, match=r"which is another server than|is not a URL"):
        watch(f"/to?there={there}", follow_redirects=True)
    assert {call.path for call in world.ours.requests} == {"/to"}  # httpx itself calls some of them trouble


def test_start_is_not_redirected(world: World) -> None:
    """The request that starts a job is sent to one place, whatever follow_redirects says."""
    operator = HttpJobOperator(task_id="t", endpoint="/moved", status_url="/jobs/{job_id}", follow_redirects=True)
    with pytest.raises(BadRequest, match="It redirects to '/jobs'; use that address"):
        Task().run(operator)
    assert [call.path for call in world.ours.requests] == ["/moved"]


def test_question_by_post_is_not_redirected(world: World) -> None:
    """Nor is a question that is asked by POST."""
    with pytest.raises(JobError, match="It redirects to"):
        watch("/moved/job-1", method="POST", follow_redirects=True)
    assert len(world.ours.requests) == 1


async def test_cancel_is_not_redirected(world: World) -> None:
    """Nor is the request that cancels."""
    job = HttpJob(url="/jobs/job-1", cancel_url="/moved/job-1", follow_redirects=True)
    async with Session(HttpxDoor()) as session:
        service = await HttpService.open(session, http_conn_id="http_default")
        with pytest.raises(BadRequest, match="It redirects to"):
            await service.cancel(job)
    assert len(world.ours.requests) == 1


def test_declared_code_is_no_redirect(world: World) -> None:
    """A 308 that the job declares to mean success means that, and is not followed."""
    found = watch("/moved/job-1", success_status_codes=[308], completion_field=None, follow_redirects=True)
    assert found["state"] == "succeeded"
    assert len(world.ours.requests) == 1


def test_job_of_an_older_release_follows_none() -> None:
    """A stored job that does not know the field is read as before; the field travels with the job."""
    old = HttpJob(url="/jobs/1").to_dict()
    del old["follow_redirects"]
    assert HttpJob.from_dict(old) == HttpJob(url="/jobs/1")
    assert HttpJob.from_dict(HttpJob(url="/jobs/1", follow_redirects=True).to_dict()).follow_redirects is True


# Allowed hosts -----------------------------------------------------------------------------------


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow one host, which is neither of ours."""
    monkeypatch.setenv("AIRFLOW__ORK__ALLOWED_HOSTS", "jobs.example.com, *.internal.example.com")


REFUSED = r"the host 127\.0\.0\.1:{port} is not in \[ork\] allowed_hosts, so nothing was sent there"


def refused(world: World) -> str:
    return REFUSED.format(port=world.other.port)


@pytest.mark.usefixtures("closed")
def test_host_of_the_connection_is_allowed(world: World) -> None:
    """Who defines connections runs Airflow, so a connection's own server needs no entry; relative or absolute URL."""
    assert watch("/jobs/job-1")["state"] == "succeeded"
    assert watch(f"{world.ours.url}/jobs/job-1")["state"] == "succeeded"


@pytest.mark.parametrize("field", ["endpoint", "result_url", "cancel_url"])
@pytest.mark.usefixtures("closed")
def test_sensor_is_refused_another_host(world: World, field: str) -> None:
    """A URL of a watched job that leads to another host is refused before anything is sent, in the worker."""
    urls = {"url": "/jobs/job-1", **({} if field == "endpoint" else {field: f"{world.other.url}/jobs/job-1"})}
    url = f"{world.other.url}/jobs/job-1" if field == "endpoint" else urls.pop("url")
    urls.pop("url", None)
    with pytest.raises(JobError, match=refused(world)):
        watch(url, **urls)
    assert not world.other.requests + world.ours.requests


@pytest.mark.usefixtures("closed")
async def test_trigger_is_refused_another_host(world: World) -> None:
    """And in the triggerer, whose setting counts there: a stored row is not believed."""
    event = await event_of(f"{world.other.url}/jobs/job-1")
    assert event["status"] == "error"
    assert f"the host 127.0.0.1:{world.other.port} is not in [ork] allowed_hosts" in event["message"]
    assert not world.other.requests


@pytest.mark.parametrize("field", ["endpoint", "status_url", "result_url", "cancel_url"])
@pytest.mark.usefixtures("closed")
def test_start_is_refused_another_host(world: World, field: str) -> None:
    """No job is started when one of its URLs leads to another host."""
    urls = {"endpoint": "/jobs", "status_url": "/jobs/{job_id}", field: f"{world.other.url}/jobs/{{job_id}}"}
    with pytest.raises(BadRequest, match=refused(world)):
        Task().run(HttpJobOperator(task_id="t", **urls))
    assert not world.other.requests + world.ours.requests


@pytest.mark.parametrize("source", ["location", "body"])
@pytest.mark.usefixtures("closed")
def test_answer_cannot_lead_to_another_host(world: World, source: str) -> None:
    """When the answer to a start names a status URL on another host, that is not asked; the message says what to do."""
    there = f"{world.other.url}/jobs/job-1"
    world.ours.fail(Fault.status(202, {"id": "x", "at": there}, {"Location": there}), on="POST /jobs")
    path = {"status_url_path": "$.at"} if source == "body" else {}
    with pytest.raises(
        AirflowFailException, match=f"A job was started, but it cannot be asked for. .*{refused(world)}"
    ):
        Task().run(HttpJobOperator(task_id="t", endpoint="/jobs", **path))
    assert not world.other.requests


@pytest.mark.usefixtures("closed")
async def test_cancel_is_refused_another_host(world: World) -> None:
    """A cancel of an old row is refused there, too."""
    async with Session(HttpxDoor()) as session:
        service = await HttpService.open(session, http_conn_id="http_default")
        with pytest.raises(BadRequest, match=refused(world)):
            await service.cancel(HttpJob(url="/jobs/job-1", cancel_url=f"{world.other.url}/jobs/job-1"))
    assert not world.other.requests


@pytest.mark.parametrize("rule", ["127.0.0.1", "127.0.0.1:PORT", "jobs.example.com\n127.0.0.1"])
def test_named_host_is_allowed(world: World, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that the setting names is asked, without the connection's secrets."""
    monkeypatch.setenv("AIRFLOW__ORK__ALLOWED_HOSTS", rule.replace("PORT", str(world.other.port)))
    assert watch(f"{world.other.url}/jobs/job-1")["state"] == "succeeded"
    assert all(not {"authorization", "x-api-key"} & set(call.headers) for call in world.other.requests)


def test_setting_that_cannot_be_read_allows_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in the setting closes, it does not open."""
    monkeypatch.setenv("AIRFLOW__ORK__ALLOWED_HOSTS", "http://jobs.example.com")
    with pytest.raises(OrkError, match=r"\[ork\] allowed_hosts: 'http://jobs.example.com' is none of host, host:port"):
        watch("/jobs/job-1")
    assert not world.ours.requests


def test_dqops_base_url_is_refused_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting holds for the base_url of a DQOps operator, too; the connection's own server needs no entry."""
    with FakeDqops() as ours, FakeDqops() as other:
        monkeypatch.setenv("AIRFLOW__ORK__ALLOWED_HOSTS", "dqops.example.com")
        for name, value in ours.connections().items():
            monkeypatch.setenv(name, value)
        with pytest.raises(OrkError, match=rf"the host 127\.0\.0\.1:{other.port} is not in \[ork\] allowed_hosts"):
            Task().run(DqopsWaitForJobOperator(task_id="t", job_id=1, base_url=other.url))
        assert not other.requests
        with pytest.raises(OrkError, match="not known to DQOps"):
            Task().run(DqopsWaitForJobOperator(task_id="t", job_id=1, base_url=ours.url, error_budget=0.1))
        assert ours.requests


def test_login_in_a_base_url() -> None:
    """A login in a base_url is refused like one in a URL, and not shown."""
    with pytest.raises(InvalidJob, match="may not hold a login") as caught:
        DqopsWaitForJobOperator(task_id="t", job_id=1, base_url="http://me:hush@dqops:8888")
    assert "hush" not in str(caught.value)


# What goes where ---------------------------------------------------------------------------------

PACKAGES = ("bigquery", "cloud_run", "dataproc", "decorators", "dqops", "http", "operator", "trigger")
CREDENTIALS = {
    "login",
    "password",
    "token",
    "api_key",
    "auth",
    "key_path",
    "keyfile_dict",
    "verify",
    "verify_ssl",
    "proxy",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_credentials_come_from_connections_only(package: str) -> None:
    """No operator, trigger or job takes a credential, or says that TLS is not verified; a connection id is all."""
    module = import_module(f"ork_provider.{package}")
    classes = [
        value for value in vars(module).values() if isinstance(value, type) and "ork_provider" in value.__module__
    ]
    inits = {vars(base)["__init__"] for cls in classes for base in cls.__mro__ if "__init__" in vars(base)}
    ours = [init for init in inits if getattr(init, "__module__", "").startswith("ork_provider")]
    assert ours
    names = {name for init in ours for name in inspect.signature(inspect.unwrap(init)).parameters}
    assert names & CREDENTIALS == set()


TYPED = {"X-Api-Key": "typed-sesame", "X-Team": "blue"}


def test_secret_headers_stay_with_the_status(world: World) -> None:
    """Secret headers of a job go to the server of its status, not to another one of its result."""
    watch(f"{world.ours.url}/jobs/job-1", result_url=f"{world.other.url}/jobs/job-1", headers=TYPED)
    assert {call.headers["x-api-key"] for call in world.ours.requests} == {"typed-sesame"}
    assert [("x-api-key" in call.headers, call.headers["x-team"]) for call in world.other.requests] == [(False, "blue")]


async def test_secret_headers_stay_when_cancelling(world: World) -> None:
    """Nor to another one that cancels it."""
    job = HttpJob(url="/jobs/job-1", cancel_url=f"{world.other.url}/jobs/job-1", headers=TYPED)
    async with Session(HttpxDoor()) as session:
        await (await HttpService.open(session, http_conn_id="http_default")).cancel(job)
    assert [("x-api-key" in call.headers, call.headers["x-team"]) for call in world.other.requests] == [(False, "blue")]


@pytest.mark.parametrize(
    "host", ["http://me:hush@127.0.0.1", "me:hush@127.0.0.1", "http://127.0.0.1\\@evil", "http:///x", "http://["]
)
def test_host_of_a_connection_is_read_strictly(world: World, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login in a connection's host is refused like one in a URL, and not shown."""
    monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", json.dumps({"conn_type": "http", "host": host}))
    with pytest.raises(
        JobError, match=r"Airflow connection 'http_default', host: (a URL may not hold|not a URL|Invalid)"
    ) as caught:
        watch("/jobs/job-1")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", 81, "http://127.0.0.1:81"),
        ("http://127.0.0.1/api", 81, "http://127.0.0.1:81/api"),
        ("http://127.0.0.1:82/api", 81, "http://127.0.0.1:82/api"),
        ("[::1]", 81, "http://[::1]:81"),
    ],
)
async def test_base_url(host: str, port: int, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection's port counts unless its host names one; nothing goes to the usual port by mistake."""
    monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", json.dumps({"conn_type": "http", "host": host, "port": port}))
    async with Session(HttpxDoor()) as session:
        service = await HttpService.open(session, http_conn_id="http_default")
        assert await service.full_url("/x") == f"{url}/x"


# What is said of it ------------------------------------------------------------------------------

FORGED = "no disk\n[2026-11-20T10:00:00.000+0000] INFO - Done\x1b[2K"
LINE = r"no disk [2026-11-20T10:00:00.000+0000] INFO - Done\x1b[2K"


def assert_not_forged(printed: str, line: str = LINE) -> None:
    """See that a log tells of the words, in one line of its own."""
    assert line in printed
    assert not [text for text in printed.splitlines() if text.startswith("[2026-11-20")]
    assert "\x1b[2K" not in printed


def test_message_of_a_job_makes_no_line_of_its_own(world: World) -> None:
    """A failed job's words are one line in the error and the XCom."""
    world.ours.created[0].outcome = HttpOutcome(0, 0, "failed", None, FORGED)
    task = Task()
    with pytest.raises(JobFailed) as caught:
        task.run(HttpJobSensor(task_id="t", endpoint="/jobs/job-1", message_field="error"))
    assert_not_forged(str(caught.value))
    assert task.ti.xcoms["ork_job"]["message"] == LINE


async def test_message_in_an_event_makes_no_line_of_its_own(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """And in the triggerer's log and event; a secret in the URL is in neither."""
    world.ours.created[0].outcome = HttpOutcome(0, 0, "failed", None, FORGED)
    event = await event_of(f"{world.ours.url}/jobs/job-1?token=hush-hush", message_field="error")
    assert event["jobs"][0]["message"] == LINE
    assert_not_forged(event["message"])
    printed = "".join(line for line in capsys.readouterr().out.splitlines(True) if "Trigger fired event" not in line)
    assert_not_forged(printed)
    assert "hush" not in event["message"] + event["jobs"][0]["link"] + printed


def test_refusal_makes_no_line_of_its_own(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever service refuses a job with whatever words: they are one line in the error and in the log."""
    kind.fake.fail(Fault.google(503, "backendError", FORGED), on=kind.on_submit)
    kind.fake.fail(Fault.google(400, "invalid", FORGED), on=kind.on_submit, nth=2, times=-1)
    with pytest.raises(BadRequest, match="no disk") as caught:
        Task().run(kind.operator())
    assert_not_forged(str(caught.value))
    assert_not_forged(capsys.readouterr().out)
