"""JobTrigger through Airflow's own TriggerRunner, over fake services and real HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import pairwise
from typing import Any

import airflow.jobs.triggerer_job_runner  # noqa: F401 - loaded now, not while the first test's job runs
import pytest
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.execution_time import comms
from hypothesis import given, settings
from hypothesis import strategies as st

from ork_provider import supervisor
from ork_provider import trigger as trigger_module
from ork_provider.bigquery import BigQueryJobTrigger
from ork_provider.errors import InvalidJob
from ork_provider.http import HttpJobTrigger
from ork_provider.session import Request, shared_session
from ork_provider.testing import Fault, run_trigger
from ork_provider.testing.trigger_runner import task_instance
from ork_provider.trigger import JobsTrigger, JobTrigger
from ork_provider.waiting import Policy
from tests.support.trigger_kinds import NEVER, POLL, Kind, bigquery, http, soon, states

KINDS = {"bigquery": bigquery, "http": http}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    """Each kind of job in turn, its connection pointing at a fake; pauses after errors are short."""
    monkeypatch.setattr(trigger_module, "policy_of", partial(Policy, backoff_base=0.05, backoff_cap=0.1))
    with KINDS[request.param]() as found:
        for name, value in found.fake.connections().items():
            monkeypatch.setenv(name, value)
        yield found


class Log:
    """What a task's log shows of us; structlog writes it to the standard output."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def lines(self) -> list[str]:
        """Return the messages of our own loggers so far, and forget them."""
        out = re.sub(r"\x1b\[[0-9;]*m", "", self._capsys.readouterr().out)
        return [match[1].rstrip() for match in re.finditer(r"\[\w+ *\] (.*?)\[ork_provider\.", out)]

    def text(self) -> str:
        """Return all of them."""
        return "\n".join(self.lines())


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Log:
    """Capture what a task's log would show."""
    return Log(capsys)


# How waits end -----------------------------------------------------------------------------------


async def test_success(kind: Kind) -> None:
    """A job that ends well: one event, plain JSON, with the job, its state and its stats; nothing is cancelled."""
    job = kind.start()
    result = await kind.run(job)
    assert result.payload["status"] == "success"
    assert states(result.payload) == ["succeeded"]
    (listed,) = result.payload["jobs"]
    assert {name: listed[name] for name in job} == job
    assert ("stats" in listed, listed["message"]) == (True, "")
    assert json.loads(json.dumps(result.payload)) == result.payload
    assert (len(kind.calls(kind.on_submit)), kind.cancels, result.killed) == (1, 0, False)
    assert kind.polls == 4


async def test_failure(kind: Kind) -> None:
    """A failed job carries the service's own words, in the sentence and with the job."""
    result = await kind.run(kind.start(good=False))
    assert (result.payload["status"], states(result.payload)) == ("failed", ["failed"])
    assert "no disk" in result.payload["message"]
    assert "no disk" in result.payload["jobs"][0]["message"]


async def test_cancelled(kind: Kind) -> None:
    """A job that somebody else cancels is neither a success nor a failure of its own."""
    job = kind.start(NEVER)
    asyncio.get_running_loop().call_later(0.2, kind.fake.live()[0].cancel)
    result = await kind.run(job)
    assert (result.payload["status"], states(result.payload)) == ("failed", ["cancelled"])


async def test_lost(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that its service does not know any longer is lost, not waited for for ever."""
    monkeypatch.setattr(trigger_module, "policy_of", partial(Policy, backoff_base=0.1, not_found_grace=0.3))
    job = kind.start(NEVER)
    kind.fake.fail(Fault.status(404), on=kind.on_status, nth=3, times=-1)
    result = await kind.run(job)
    assert (result.payload["status"], states(result.payload)) == ("failed", ["lost"])
    assert "no longer known to its service" in result.payload["message"]


async def test_timeout(kind: Kind) -> None:
    """The deadline ends the wait; the job is left to the worker, which cancels and verifies."""
    result = await kind.run(kind.start(NEVER), kwargs={"deadline": soon(0.3)})
    assert (result.payload["status"], states(result.payload)) == ("timeout", ["running"])
    assert kind.cancels == 0


async def test_deadline_in_the_past(kind: Kind) -> None:
    """A trigger that was restarted after the deadline still asks once: what has ended counts."""
    done = kind.start(0)
    assert (await kind.run(done, kwargs={"deadline": soon(-60)})).payload["status"] == "success"
    assert (await kind.run(kind.start(NEVER), kwargs={"deadline": soon(-60)})).payload["status"] == "timeout"


async def test_budget_spent(kind: Kind) -> None:
    """A service that is away for too long ends the wait with an error, and the job is still listed."""
    kind.fake.fail(Fault.status(503), on=kind.on_status, times=-1)
    result = await kind.run(kind.start(NEVER), kwargs={"error_budget": 0.5})
    assert (result.payload["status"], states(result.payload)) == ("error", ["running"])
    assert "503" in result.payload["message"]


@pytest.mark.parametrize("fault", [Fault.status(400), Fault.google(403, "accessDenied"), Fault.status(302)], ids=str)
async def test_bad_request(kind: Kind, fault: Fault) -> None:
    """What asking again cannot mend ends the wait at once, and says what the service said."""
    kind.fake.fail(fault, on=kind.on_status, nth=2)
    result = await kind.run(kind.start(NEVER))
    assert (result.payload["status"], kind.polls) == ("error", 2)
    assert fault.answer is not None
    assert f"answered {fault.answer.status}" in result.payload["message"]


async def test_401_twice(kind: Kind) -> None:
    """Credentials that are refused again after they were renewed end the wait: a person must mend them."""
    kind.fake.fail(Fault.status(401), on=kind.on_status, nth=2, times=-1)
    result = await kind.run(kind.start(NEVER))
    assert (result.payload["status"], kind.polls) == ("error", 3)
    assert "Check the credentials of the Airflow connection" in result.payload["message"]


async def test_unknown_connection(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is not defined is named."""
    monkeypatch.setattr("ork_provider.session.connections.CONNECTION_TRIES", 1)
    name = next(iter(kind.trigger().connections))
    result = await kind.run(kind.start(), kwargs={name: "no_such"})
    assert result.payload["status"] == "error"
    assert "'no_such'" in result.payload["message"]


async def test_bug(kind: Kind, monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """A bug of ours fails its own task with a traceback in its log; the triggerer goes on."""

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("ork_provider.service.Services.check", broken)
    result = await kind.run(kind.start())
    assert (result.payload["status"], result.error) == ("error", None)
    assert "ZeroDivisionError: a bug" in result.payload["message"]
    assert states(result.payload) == ["running"]


# Trouble that passes -----------------------------------------------------------------------------

PASSING = {
    "429": Fault.retry_after(429, 0.2),
    **{str(status): Fault.status(status) for status in (408, 500, 502, 503, 504)},
    "reset": Fault.reset(),
    "hang": Fault.hang(20),
    "truncated": Fault.truncated(),
    "malformed": Fault.malformed(),
    "401": Fault.status(401),
    **{reason: Fault.google(403, reason) for reason in ("rateLimitExceeded", "quotaExceeded", "backendError")},
    "404": Fault.status(404),
}


@pytest.mark.parametrize("trouble", PASSING)
async def test_passing_trouble(kind: Kind, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every single transient fault on the second poll: the wait succeeds, and nothing is submitted again."""
    if trouble == "hang":  # the default of a dataclass field lives in its __init__
        monkeypatch.setitem(Request.__init__.__kwdefaults__ or {}, "timeout", 0.3)
    rule = kind.fake.fail(PASSING[trouble], on=kind.on_status, nth=2)
    result = await kind.run(kind.start())
    assert (result.payload["status"], states(result.payload)) == ("success", ["succeeded"])
    assert rule.applied == 1
    assert (len(kind.calls(kind.on_submit)), kind.cancels) == (1, 0)


async def test_retry_after_is_honoured(kind: Kind) -> None:
    """The service is left alone for as long as it asks, which is longer than any pause of our own here."""
    job = kind.start()
    asked: list[float] = []
    kind.fake.fail(Fault.retry_after(429, 0.7), on=kind.on_status, nth=2)
    kind.fake.latency = lambda r: asked.append(time.monotonic()) or 0.0 if "/jobs/" in r.path else 0.0
    await kind.run(job)
    assert asked[2] - asked[1] >= 0.7


async def test_service_that_restarts(kind: Kind) -> None:
    """A service that is gone for a while and comes back is asked until it does."""
    job = kind.start(20)

    def restart() -> None:
        kind.fake.stop()
        time.sleep(0.5)
        kind.fake.start()

    loop = asyncio.get_running_loop()
    loop.call_later(0.3, lambda: loop.run_in_executor(None, restart))
    assert (await kind.run(job)).payload["status"] == "success"


# Many jobs ---------------------------------------------------------------------------------------


async def test_all(kind: Kind) -> None:
    """By default all jobs must succeed; the event lists them in the order in which they were given."""
    jobs = [kind.start(6), kind.start(1), kind.start(3, good=False)]
    payload = (await kind.run(*jobs)).payload
    assert (payload["status"], states(payload)) == ("failed", ["succeeded", "succeeded", "failed"])
    assert [job["job_id"] for job in payload["jobs"]] == [job["job_id"] for job in jobs]


@pytest.mark.parametrize(("cancel_rest", "left"), [(True, 0), (False, 1)])
@pytest.mark.parametrize(
    ("kwargs", "good", "status"),
    [({"until": "any"}, True, "success"), ({"until": 1}, True, "success"), ({"fail_fast": True}, False, "failed")],
    ids=["any", "one", "fail_fast"],
)
async def test_cancel_rest(  # noqa: PLR0917 - pytest passes them by name
    kind: Kind, kwargs: Mapping[str, Any], good: bool, status: str, cancel_rest: bool, left: int
) -> None:
    """When the wait ends without a job, that job is cancelled if the trigger was told so, and never otherwise."""
    jobs = [kind.start(NEVER), kind.start(3, good=good)]
    result = await kind.run(*jobs, kwargs={**kwargs, "cancel_rest": cancel_rest})
    assert result.payload["status"] == status
    assert (len(kind.fake.live()), kind.cancels) == (left, 1 - left)


async def test_timeout_leaves_the_rest_to_the_worker(kind: Kind) -> None:
    """``cancel_rest`` is no ``cancel_on_timeout``."""
    result = await kind.run(kind.start(NEVER), kwargs={"deadline": soon(0.3), "cancel_rest": True})
    assert (result.payload["status"], kind.cancels) == ("timeout", 0)


# What is stored ----------------------------------------------------------------------------------

ODD_KWARGS = {
    "until": 1,
    "fail_fast": True,
    "deadline": "2026-01-31T12:00:00+00:00",
    "not_before": "2026-01-31T12:00:00+00:00",
    "poll_interval": 7.5,
    "error_budget": 30,
    "cancel_on_kill": False,
    "cancel_rest": True,
    "cancel_on_timeout": True,
}
JOBS = {
    BigQueryJobTrigger: [{"service_type": "bigquery", "job_id": "j", "project": "p", "location": "EU"}],
    HttpJobTrigger: [{"service_type": "custom_http", "job_id": "/j", "url": "/j"}],
    JobsTrigger: [{"service_type": "custom_http", "job_id": "/j", "url": "/j"}],
}
CONNECTIONS = {
    BigQueryJobTrigger: {"gcp_conn_id": "gcp", "impersonation_chain": ["a@b"]},
    HttpJobTrigger: {"http_conn_id": "api"},
    JobsTrigger: {"gcp_conn_id": "gcp", "impersonation_chain": ["a@b"], "http_conn_id": "api", "dqops_conn_id": "dq"},
}
CONNECTIONS[JobsTrigger]["airflow_conn_id"] = "airflow"
every_trigger = pytest.mark.parametrize("kind_", JOBS, ids=lambda kind: kind.__name__)


@every_trigger
def test_serialize_round_trip(kind_: type[JobTrigger]) -> None:
    """What a trigger is stored as makes the same trigger again; every argument is stored; the path can be imported."""
    given_ = {"jobs": JOBS[kind_], **ODD_KWARGS, **CONNECTIONS[kind_]}
    path, kwargs = kind_(**given_).serialize()
    assert kwargs == given_
    assert import_string(path) is kind_
    assert import_string(path)(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)
    assert kind_().serialize()[1].keys() == given_.keys()


def test_names_are_api() -> None:
    """Rows in a database name these classes; they change only with a reader for the old form."""
    assert {kind_.classpath for kind_ in JOBS} == {
        "ork_provider.bigquery.BigQueryJobTrigger",
        "ork_provider.http.HttpJobTrigger",
        "ork_provider.trigger.JobsTrigger",
    }


GOLDEN = {
    "bigquery": (
        "ork_provider.bigquery.BigQueryJobTrigger",
        {
            "until": "all",
            "fail_fast": False,
            "deadline": None,
            "not_before": None,
            "poll_interval": 0.15,
            "error_budget": 600.0,
            "cancel_on_kill": True,
            "cancel_rest": False,
            "cancel_on_timeout": False,
            "gcp_conn_id": "google_cloud_default",
            "impersonation_chain": None,
        },
    ),
    "http": (
        "ork_provider.http.HttpJobTrigger",
        {
            "until": "all",
            "fail_fast": False,
            "deadline": None,
            "not_before": None,
            "poll_interval": 0.15,
            "error_budget": 600.0,
            "cancel_on_kill": True,
            "cancel_rest": False,
            "cancel_on_timeout": False,
            "http_conn_id": "http_default",
        },
    ),
}
"""Rows as the first release wrote them."""


async def test_golden_row(kind: Kind) -> None:
    """A task that was deferred under the first release finishes under this one."""
    path, kwargs = GOLDEN[kind.name]
    assert (await run_trigger(import_string(path)(jobs=[kind.start(2)], **kwargs))).payload["status"] == "success"


async def test_unknown_arguments(kind: Kind, log: Log) -> None:
    """A row of a later release runs, and the log says what was ignored."""
    trigger = kind.trigger(jobs=[kind.start()], poll_interval=POLL, shiny=1, newer={"a": 1})
    assert (await first_event(trigger))["status"] == "success"
    assert "ignoring unknown arguments ['newer', 'shiny']" in log.text()


async def first_event(trigger: JobTrigger) -> Any:
    """Run a trigger without storing it first, which would drop what it does not know."""
    (payload,) = [event.payload async for event in trigger.run()]
    return payload


SECONDS = [None, 0, -1, "10", [], {}, True, float("nan"), float("inf"), 10**400]
TIMES = ["yesterday", 5, [], {}, "2026-13-01T00:00:00", True]
BAD: list[Any] = [
    *(("jobs", value) for value in [None, [], {}, "x", 5, [None], [[]], [{}], [{"service_type": "nope"}]]),
    *(("until", value) for value in [None, 0, -1, 2, 10**30, 1.0, True, "some", [], {}]),
    *(("deadline", value) for value in TIMES),
    *(("not_before", value) for value in TIMES),
    *(("poll_interval", value) for value in SECONDS),
    *(("error_budget", value) for value in SECONDS),
]


@every_trigger
@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda value: repr(value)[:40])
async def test_odd_argument_is_named(kind_: type[JobTrigger], name: str, value: Any) -> None:
    """An argument of any type and size never hurts the triggerer: the task fails with its name and what it was."""
    result = await run_trigger(kind_(**{"jobs": JOBS[kind_], name: value}))
    assert result.error is None
    assert result.payload["status"] == "error"
    assert result.payload["message"].startswith(f"Trigger argument {name}")
    assert (states(result.payload) == ["running"]) is (name != "jobs")


@pytest.mark.parametrize("value", [None, 5, [], {"a": 1}], ids=repr)
@pytest.mark.parametrize(
    ("kind_", "name"),
    [
        *((BigQueryJobTrigger, "gcp_conn_id"), (HttpJobTrigger, "http_conn_id")),
        *((JobsTrigger, name) for name in ("gcp_conn_id", "http_conn_id", "dqops_conn_id")),
    ],
)
async def test_odd_connection_id_is_named(kind_: type[JobTrigger], name: str, value: Any) -> None:
    """So is a connection id."""
    result = await run_trigger(kind_(jobs=JOBS[kind_], **{name: value}))
    assert result.payload["status"] == "error"
    assert result.payload["message"].startswith(f"Trigger argument {name}: expected the id of an Airflow connection")


@pytest.mark.parametrize("value", [5, {"a": 1}, [5], True], ids=repr)
async def test_odd_impersonation_chain_is_named(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is an impersonation chain."""
    with bigquery() as kind:
        for name, connection in kind.fake.connections().items():
            monkeypatch.setenv(name, connection)
        result = await kind.run(kind.start(), kwargs={"impersonation_chain": value})
    assert result.payload["status"] == "error"
    assert "impersonation_chain" in result.payload["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(kind_=st.sampled_from(list(JOBS)), kwargs=st.dictionaries(st.sampled_from([*ODD_KWARGS, "jobs", "more"]), JSON))
def test_any_row(kind_: type[JobTrigger], kwargs: dict[str, Any]) -> None:
    """Whatever stands in a row: building and storing the trigger never raise, reading it names what is wrong."""
    trigger = kind_(**{"jobs": JOBS[kind_], **kwargs})
    trigger.serialize()
    wrong = ""
    try:
        trigger._read()
    except InvalidJob as exc:
        wrong = str(exc)
    assert not wrong or wrong.startswith(tuple(kwargs))


# When events are sent ----------------------------------------------------------------------------


async def test_event_is_held_back(kind: Kind) -> None:
    """A task that resumes too soon is failed by the scheduler: no event before ``not_before``."""
    not_before = datetime.now(timezone.utc) + timedelta(seconds=0.7)
    result = await kind.run(kind.start(0), kwargs={"not_before": not_before.isoformat()})
    assert result.payload["status"] == "success"
    assert datetime.now(timezone.utc) >= not_before


async def test_event_is_not_held_back_without_a_scheduler(kind: Kind) -> None:
    """``airflow dags test`` has no scheduler, so there is nothing to wait for."""
    not_before = datetime.now(timezone.utc) + timedelta(seconds=20)
    result = await kind.run(kind.start(0), kwargs={"not_before": not_before.isoformat()}, ti=None)
    assert result.payload["status"] == "success"
    assert datetime.now(timezone.utc) < not_before


async def test_error_event_is_held_back_too() -> None:
    """An argument that cannot be read ends the wait at once, which is too soon just the same."""
    not_before = datetime.now(timezone.utc) + timedelta(seconds=1)
    await run_trigger(HttpJobTrigger(jobs=[], not_before=not_before.isoformat()))
    assert datetime.now(timezone.utc) >= not_before


# Kills -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "success", "removed", "restarting", "queued"])
async def test_kill(kind: Kind, state: str) -> None:
    """A user who marks the task, or clears it, ends its job: one cancel, no event."""
    result = await kind.run(kind.start(NEVER), kill_after=kind.asked, task_state=state)
    assert (result.killed, result.events) == (True, [])
    assert (kind.cancels, kind.fake.live()) == (1, [])


@pytest.mark.parametrize(("map_index", "name"), [(-1, "task"), (0, "task_0"), (3, "task_3")])
@pytest.mark.parametrize(("state", "cancels"), [("failed", 1), ("deferred", 0)])
async def test_kill_or_move(kind: Kind, map_index: int, name: str, state: str, cancels: int) -> None:
    """A trigger that was only moved to another triggerer cancels nothing, also for a mapped task instance."""
    seen = []

    def answer(message: Any) -> Any:
        if not isinstance(message, comms.GetTaskStates):
            return None
        seen.append((message.task_ids, message.run_ids, message.map_index))
        return comms.TaskStatesResult(task_states={"run": {name: state, "other": "running"}})

    ti = task_instance(map_index=map_index)
    await kind.run(kind.start(NEVER), kill_after=kind.asked, ti=ti, answers=answer)
    assert seen == [(["task"], ["run"], map_index)]
    assert kind.cancels == cancels


async def test_task_that_is_gone(kind: Kind) -> None:
    """A run that was deleted has no task any more: its job is cancelled."""

    def answer(message: Any) -> Any:
        return comms.TaskStatesResult(task_states={}) if isinstance(message, comms.GetTaskStates) else None

    await kind.run(kind.start(NEVER), kill_after=kind.asked, answers=answer)
    assert kind.cancels == 1


async def test_supervisor_that_never_answers(kind: Kind, monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """When Airflow does not say what happened, nothing is cancelled on a guess, and the log says what to do."""
    monkeypatch.setattr(trigger_module, "KILL_QUESTION", 0.3)
    known = (comms.GetConnection, comms.MaskSecret)
    monkeypatch.setattr("ork_provider.testing.supervisor._supported", lambda: known)
    job = kind.start(NEVER)
    result = await kind.run(job, kill_after=kind.asked)
    assert (result.killed, kind.cancels, len(kind.fake.live())) == (True, 0, 1)
    (said,) = [line for line in log.lines() if "did not say whether the task was killed" in line]
    assert job["job_id"] in said


async def test_supervisor_that_answers_with_an_error(kind: Kind, log: Log) -> None:
    """An error in place of the answer is no answer."""

    def answer(message: Any) -> Any:
        if isinstance(message, comms.GetTaskStates):
            raise RuntimeError("API server is away")
        return None

    await kind.run(kind.start(NEVER), kill_after=kind.asked, answers=answer)
    assert kind.cancels == 0
    assert "API server is away" in log.text()


async def test_shutdown_cancels_nothing(kind: Kind) -> None:
    """A triggerer that shuts down hands its triggers to another one; their jobs go on."""
    result = await kind.run(kind.start(NEVER), cancel_after=kind.asked)
    assert isinstance(result.error, asyncio.CancelledError)
    assert (result.killed, result.events, kind.cancels, len(kind.fake.live())) == (False, [], 0, 1)


@pytest.mark.parametrize(("more", "questions"), [({}, 1), ({"ti": None}, 0)])
async def test_supervisor_is_woken(
    kind: Kind, more: dict[str, Any], questions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill would have to ask is asked once ahead, when there is time for a first answer."""
    monkeypatch.setattr(supervisor, "WAKE_AFTER", 0.0)
    result = await kind.run(kind.start(2), **more)
    assert sum(isinstance(message, comms.GetTaskStates) for message in result.messages) == questions
    assert result.payload["status"] == "success"


async def test_cancel_on_kill_false(kind: Kind) -> None:
    """Who was told to leave the job alone asks nobody and cancels nothing."""
    result = await kind.run(
        kind.start(NEVER), kwargs={"cancel_on_kill": False}, kill_after=kind.asked, task_state="failed"
    )
    assert (result.killed, kind.cancels, len(kind.fake.live())) == (True, 0, 1)
    assert not [message for message in result.messages if isinstance(message, comms.GetTaskStates)]


async def test_kill_spares_what_has_ended(kind: Kind) -> None:
    """Of many jobs only those are cancelled that are not known to have ended."""
    jobs = [kind.start(0), kind.start(NEVER), kind.start(NEVER)]
    await kind.run(*jobs, kill_after=lambda: kind.polls > 8, task_state="failed")  # the first answers are known
    assert (kind.cancels, kind.fake.live()) == (2, [])


async def test_cancel_is_tried_again(kind: Kind) -> None:
    """A kill is not lost because the service stumbles over the cancel."""
    kind.fake.fail(Fault.status(503), on=kind.on_cancel, times=2)
    await kind.run(kind.start(NEVER), kill_after=kind.asked, task_state="failed")
    assert (kind.cancels, kind.fake.live()) == (3, [])


async def test_cancel_of_a_job_that_is_gone(kind: Kind, log: Log) -> None:
    """A job that its service does not know needs no cancel."""
    kind.fake.fail(Fault.status(404), on=kind.on_cancel)
    await kind.run(kind.start(NEVER), kill_after=kind.asked, task_state="failed")
    assert "is gone already; nothing to cancel" in log.text()
    assert "by hand" not in log.text()


@pytest.mark.parametrize("fault", [Fault.status(503), Fault.google(403, "accessDenied")], ids=lambda fault: fault.kind)
async def test_failing_cancel_says_what_to_do(
    kind: Kind, fault: Fault, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """A cancel that cannot be done is given up in time, and the log names each job to cancel by hand."""
    monkeypatch.setattr(trigger_module, "KILL_BUDGET", 3.5)
    kind.fake.fail(fault, on=kind.on_cancel, times=-1)
    jobs = [kind.start(NEVER), kind.start(NEVER)]
    result = await kind.run(*jobs, kill_after=kind.asked, task_state="failed")
    assert result.killed
    said = [line for line in log.lines() if "by hand" in line]
    assert len(said) == 2
    assert all(any(job["job_id"] in line for line in said) for job in jobs)


async def test_hung_cancel_says_what_to_do(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """A cancel that hangs is given up within the budget, while there is still time to say what to do."""
    monkeypatch.setattr(trigger_module, "KILL_BUDGET", 3.5)
    with http() as kind:
        for name, value in kind.fake.connections().items():
            monkeypatch.setenv(name, value)
        kind.fake.fail(Fault.hang(7), on=kind.on_cancel, times=-1)
        await kind.run(kind.start(NEVER), kill_after=kind.asked, task_state="failed", timeout=6)
    assert [line for line in log.lines() if "by hand" in line]


# What Airflow is asked and told ------------------------------------------------------------------


async def test_connection_is_read_once(kind: Kind) -> None:
    """A wait asks Airflow for its connection once, not per poll."""
    result = await kind.run(kind.start())
    assert kind.polls == 4
    asked = [message for message in result.messages if isinstance(message, comms.GetConnection)]
    assert len(asked) <= 1


async def test_progress(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ork_progress`` tells how each job is, when something has changed and not more often than agreed."""
    monkeypatch.setattr(trigger_module, "PROGRESS_INTERVAL", 0.15)
    result = await kind.run(kind.start(30), kind.start(10))
    pushed = [value for key, value in result.xcoms if key == "ork_progress"]
    assert 1 <= len(pushed) <= 4
    assert all(a != b for a, b in pairwise(pushed))
    assert all(
        len(value) <= 2 and all(set(words) == {"state", "message"} for words in value.values()) for value in pushed
    )
    assert json.loads(json.dumps(pushed)) == pushed


async def test_no_progress_for_a_short_wait(kind: Kind) -> None:
    """A short wait costs no XCom."""
    assert (await kind.run(kind.start())).xcoms == []


async def test_refused_progress_does_not_hurt(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is a courtesy: the wait goes on when Airflow does not take it."""
    monkeypatch.setattr(trigger_module, "PROGRESS_INTERVAL", 0.1)

    def answer(message: Any) -> Any:
        if isinstance(message, comms.SetXCom):
            raise RuntimeError("no XComs today")
        return None

    assert (await kind.run(kind.start(8), answers=answer)).payload["status"] == "success"


LINES = (r"^Waiting for ", r" is running after \d+ s$", r" is (done|completed) after \d+ s$")


async def test_log(kind: Kind, log: Log) -> None:
    """The task's log has one line when waiting starts, one per change of state, one at the end; none per poll."""
    job = kind.start(8)
    await kind.run(job)
    said = log.lines()
    assert kind.polls == 8
    assert [bool(re.search(part, line, re.IGNORECASE)) for part, line in zip(LINES, said, strict=True)] == [True] * 3
    assert all(job["job_id"] in line for line in said)


async def test_many_triggers_share_the_door(kind: Kind) -> None:
    """Triggers of one loop share a session; what ends first does not close the door under the others."""
    jobs = [kind.start(5 * i) for i in range(10)]
    async with shared_session():
        triggers = [kind.trigger(jobs=[job], poll_interval=POLL) for job in jobs]
        payloads = await asyncio.gather(*(first_event(trigger) for trigger in triggers))
        assert shared_session().door._session is not None  # type: ignore[attr-defined]
    assert [payload["status"] for payload in payloads] == ["success"] * 10
    assert shared_session().door._session is None  # type: ignore[attr-defined]
