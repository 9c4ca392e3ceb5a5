"""Whatever comes back from a trigger, or is stored for one: the task ends rightly or with a clear error."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowException
from hypothesis import given
from hypothesis import strategies as st

from ork_provider.bigquery import BigQueryJob, BigQueryJobTrigger
from ork_provider.cloud_run import CloudRunJob, CloudRunJobTrigger
from ork_provider.dataproc import DataprocBatchJob, DataprocBatchTrigger, DataprocJob, DataprocJobTrigger
from ork_provider.decorators import DeferredOperator
from ork_provider.dqops import DqopsJob, DqopsJobTrigger
from ork_provider.errors import BadRequest, OrkError
from ork_provider.http import HttpJob, HttpJobTrigger
from ork_provider.hub import Hub
from ork_provider.job import Job, JobState, JobStatus, describe_job, jobs_from_dicts
from ork_provider.session import Request, Response, Session, connections
from ork_provider.testing.clock import FakeClock
from ork_provider.trigger import JobsTrigger, JobTrigger, new_event
from ork_provider.waiting import Outcome, needed
from tests.support.hub_world import ScriptedDoor
from tests.support.strategies import HUGE, JSON, LONE, TEXTS, fuzz, mutated, odd
from tests.support.task import Instance, Task
from tests.unit.test_fuzz_answers import check_carried
from tests.unit.test_operator_arguments import GOOD, make

EXTRA = {"is_anonymous": True, "project": "p"}
PLACE = {"project": "p", "region": "r"}
JOBS: dict[str, Job] = {
    "bigquery": BigQueryJob(project="p", job_id="j"),
    "cloudrun": CloudRunJob(**PLACE, job_name="n", execution_id="x"),
    "dataproc": DataprocJob(**PLACE, job_id="j"),
    "dataproc_batch": DataprocBatchJob(**PLACE, batch_id="b"),
    "dqops": DqopsJob(job_id=7),
    "http": HttpJob(url="http://h/jobs/1", cancel_url="http://h/jobs/1", completion_field=None),
}
OF = {
    **{"bigquery": ["bigquery"], "http": ["http"], "sensor": ["http"], "cloud_run": ["cloudrun"]},
    **{"dataproc": ["dataproc"], "dataproc_batch": ["dataproc_batch"]},
    **{name: ["dqops"] for name in ("dqops", "dqops_statistics", "dqops_import", "dqops_wait")},
    **{"jobs": list(JOBS), "deferred": ["http", "bigquery", "dqops"]},
}
"""Which jobs each operator waits for."""

FOUND = {"job_type": "run_checks", "highest_severity": "valid", "executed_checks": 3, "valid_results": 3}
UNTIL = st.sampled_from(["all", "any", 1, 2])


def operator_of(name: str, until: Any) -> Any:
    """Return an operator; those that wait for many jobs with how many are enough."""
    many = {"until": until} if name in ("jobs", "deferred") else {}
    if name != "deferred":
        return make(name, **many)
    return DeferredOperator(task_id="load", python_callable=lambda: [], op_args=[], op_kwargs={}, **many)


def event_of(name: str, status: str, *states: JobState) -> dict[str, Any]:
    """Return an event as our own trigger sends it."""
    kinds = OF[name]
    statuses = [JobStatus(state=state, stats=FOUND) for state in states]
    jobs = [(JOBS[kinds[i % len(kinds)]], status) for i, status in enumerate(statuses)]
    payload: dict[str, Any] = json.loads(json.dumps(Outcome(verdict=status, message="m", jobs=tuple(jobs)).to_event()))
    return payload


def events_of(name: str) -> list[dict[str, Any]]:
    good, bad, runs = JobState.SUCCEEDED, JobState.FAILED, JobState.RUNNING
    some = [event_of(name, "success", good), event_of(name, "failed", bad), event_of(name, "timeout", runs)]
    some += [event_of(name, "error", runs), event_of(name, "failed", JobState.LOST), {"status": "success"}]
    if len(OF[name]) > 1:
        some += [event_of(name, "success", good, good, good), event_of(name, "success", good, runs, bad)]
    return some


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have no network, connections that need none, and no log."""
    for conn_id in ("google_cloud_default", "http_default"):
        value = {"conn_type": "http", "host": "http://h", "extra": EXTRA}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(value))
    monkeypatch.setenv("AIRFLOW_CONN_DQOPS_DEFAULT", json.dumps({"conn_type": "dqops", "host": "http://h"}))
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# What a task makes of an event ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*GOOD, "deferred"}))
def test_event(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task succeeds only by an event that says so of every job that is needed; else it fails in our words."""
    code = 404
    monkeypatch.setattr("ork_provider.worker.HttpxDoor", lambda: ScriptedDoor(lambda _: Response(status=code)))
    results = []

    @fuzz(60)
    @given(event=odd(*events_of(name)), until=UNTIL, status=st.sampled_from([404, 403, 503]), last=st.booleans())
    def resumed(event: Any, until: Any, status: int, last: bool) -> None:
        nonlocal code
        code = status
        operator = operator_of(name, until)
        operator.clock = FakeClock()
        task = Task(Instance(max_tries=0 if last else 3))
        try:
            result = operator.execute_complete(task.context, event)
        except (OrkError, AirflowException) as exc:
            f"{exc}".encode()
            check_carried(task.ti.xcoms)
        else:
            results.append(result)
            check_carried(result)
            states = [job.get("state") for job in event["jobs"]]
            assert event["status"] in ("success", "timeout")
            assert states.count("succeeded") >= needed(operator.until, len(states))

    resumed()
    assert results


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("jobs", {"status": "success", "jobs": [{"state": "succeeded"}, {"state": "running"}]}),
        ("bigquery", {"jobs": [{"stats": "abc"}]}),
        ("http", {"jobs": [JOBS["bigquery"].to_dict()]}),
        ("cloud_run", {"jobs": [JOBS["bigquery"].to_dict()]}),
        ("dqops", {"jobs": [{"stats": {**FOUND, "executed_checks": "3"}}]}),
        ("bigquery", {"message": HUGE}),
    ],
    ids=lambda value: str(value)[:50] if not isinstance(value, dict) else "".join(value),
)
def test_odd_event(name: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found once stays found: each was another exception or a success by accident."""
    monkeypatch.setattr("ork_provider.worker.HttpxDoor", lambda: ScriptedDoor(lambda _: Response(status=404)))
    listed = [describe_job(JOBS[OF[name][0]], JobStatus(state=JobState.SUCCEEDED, stats=FOUND))]
    changed = {**change, "jobs": [{**listed[0], **job} for job in change.get("jobs", [{}])]}
    operator = operator_of(name, "all")
    event = {"status": "success", "message": "", **changed}
    if changed["jobs"][0]["stats"] == "abc" or change.get("message"):
        assert operator.execute_complete(Task().context, event)["state"] == "succeeded"
    else:
        with pytest.raises((OrkError, AirflowException)):
            operator.execute_complete(Task().context, event)


# What a trigger makes of its arguments --------------------------------------------------------------------

TRIGGERS: dict[type[JobTrigger], list[str]] = {
    BigQueryJobTrigger: ["bigquery"],
    CloudRunJobTrigger: ["cloudrun"],
    DataprocJobTrigger: ["dataproc"],
    DataprocBatchTrigger: ["dataproc_batch"],
    DqopsJobTrigger: ["dqops"],
    HttpJobTrigger: ["http"],
    JobsTrigger: list(JOBS),
}
DONE = {
    "jobs/j": {"status": {"state": "DONE"}},
    "batches/b": {"state": "SUCCEEDED"},
    "jobs/7": {"jobId": {"jobId": 7}, "status": "finished"},
    "jobs/1": {"status": "completed"},
    "executions/x": {"name": "jobs/n/executions/x", "taskCount": 1, "succeededCount": 1, "completionTime": "t"},
}
ARGUMENTS = ("jobs", "until", "fail_fast", "deadline", "not_before", "poll_interval", "error_budget")
CONNECTIONS = ("cancel_on_kill", "cancel_rest", "gcp_conn_id", "impersonation_chain", "http_conn_id", "dqops_conn_id")
USUAL = st.sampled_from(
    [1, 0.5, "any", "2026-01-01", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "c", ["a"], 3]
)


def new_door(patience: int = 30) -> ScriptedDoor:
    """Return a door behind which every job that is known has ended well; it is shut after so many requests."""

    def answer(request: Request) -> Response:
        if len(door.requests) > patience:
            raise BadRequest("the door is shut")
        said = [said for end, said in DONE.items() if request.url.endswith(end)]
        return Response(status=200 if said else 400, body=json.dumps(said[0]).encode() if said else b"")

    door = ScriptedDoor(answer)
    return door


async def read(conn_id: str) -> Any:
    """Return a connection that needs no login."""
    return SimpleNamespace(
        conn_id=conn_id, host="http://h", schema=None, port=None, login=None, password=None, extra=json.dumps(EXTRA)
    )


async def run(kind: type[JobTrigger], kwargs: Mapping[str, Any]) -> list[Any]:
    session = Session(new_door(), read)
    trigger = kind(**kwargs)
    trigger.clock = FakeClock()
    session.cache["hub"] = Hub(clock=trigger.clock)
    connections._sessions[asyncio.get_running_loop()] = session
    trigger.serialize()
    return [event.payload async for event in trigger.run()]


@pytest.mark.parametrize("kind", TRIGGERS)
def test_row(kind: type[JobTrigger]) -> None:
    """Whatever stands in a trigger's row, it sends one event: how the jobs have ended, or which argument is wrong."""
    jobs = [JOBS[name].to_dict() for name in TRIGGERS[kind]]
    names = st.sampled_from([*ARGUMENTS, *ARGUMENTS, *CONNECTIONS]) | TEXTS.filter(lambda text: text != "self")
    seen = set()

    @fuzz(120)
    @given(kwargs=st.dictionaries(names, JSON | USUAL, max_size=3), listed=st.just(jobs) | mutated(jobs))
    def ran(kwargs: dict[str, Any], listed: Any) -> None:
        given_ = {"jobs": listed, **kwargs}
        (payload,) = asyncio.run(run(kind, given_))
        seen.add(payload["status"])
        check_carried(payload)
        if payload["status"] == "success":
            until = given_.get("until", "all")
            states = [job["state"] for job in payload["jobs"]]
            assert states.count("succeeded") >= needed(until, len(jobs_from_dicts(given_["jobs"])))
            return
        assert payload["status"] in ("error", "failed", "timeout")
        wrong = re.match(r"Trigger argument (\w+)", payload["message"])
        assert wrong is None or wrong[1] in {*given_, "HttpJob", "DqopsJob", "A"}
        assert wrong or payload["jobs"]

    ran()
    assert seen >= {"success", "error"}


def test_event_can_be_carried() -> None:
    """What Airflow cannot carry does not reach it, also as a part of an argument that nobody could read."""
    message = f"{LONE} \x00"
    check_carried(
        new_event({"status": "error", "message": message, "jobs": [{"a": 10**30, "b": float("nan")}]}).payload
    )


def test_job_that_cannot_be_shown() -> None:
    """A job whose text has half a character is an argument that is wrong, not the end of the trigger."""
    jobs = [{**JOBS["bigquery"].to_dict(), "job_id": LONE}]
    (payload,) = asyncio.run(run(BigQueryJobTrigger, {"jobs": jobs}))
    assert payload["message"].startswith("Trigger argument jobs[0].job_id: expected str")
