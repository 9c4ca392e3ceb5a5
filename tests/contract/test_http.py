"""What only HTTP jobs have: lost answers without a key, URLs out of answers, secret headers, results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from ork_provider.errors import BadRequest, InvalidJob
from ork_provider.http import HttpJobOperator, HttpJobSensor
from ork_provider.testing import FakeHttpJobs, Fault, HttpOutcome
from tests.support.task import Task


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHttpJobs]:
    """Serve HTTP jobs under the connection http_default."""
    with FakeHttpJobs(pending=0.1, running=0.3, idempotent=False) as fake:
        for name, value in fake.connections().items():
            monkeypatch.setenv(name, value)
        yield fake


def start(**kwargs: Any) -> HttpJobOperator:
    ours = {"task_id": "report", "endpoint": "/jobs", "data": {"a": 1}, "poll_interval": 0.2}
    return HttpJobOperator(**{**ours, **kwargs})


def test_location_header(jobs: FakeHttpJobs) -> None:
    """Without status_url the answer's Location header says where to ask."""
    result = Task().run(start())
    assert result["state"] == "succeeded"
    assert result["url"] == f"{jobs.url}/jobs/job-1"


def test_status_url_path(jobs: FakeHttpJobs) -> None:
    """The status URL may stand in the answer's body."""
    assert Task().run(start(status_url_path="$.links.self"))["state"] == "succeeded"


def test_status_codes_as_the_verdict(jobs: FakeHttpJobs) -> None:
    """completion_field=None: 202 means running, 200 means done, whatever the body says."""
    result = Task().run(start(status_url="/jobs/{job_id}/poll", completion_field=None))
    assert result["state"] == "succeeded"
    assert {call.status for call in jobs.calls("GET", "*/poll")} == {200, 202}


@pytest.mark.parametrize(
    ("field", "value", "failures"),
    [("$.job.done", True, []), ("$.job.code", 2, [3, 4]), ("job.status", ["completed"], None)],
)
def test_values_of_any_type(jobs: FakeHttpJobs, field: str, value: Any, failures: Any) -> None:
    """Status values may be booleans, numbers or one of a list, at any depth."""
    operator = start(
        status_url="/jobs/{job_id}", completion_field=field, completion_value=value, failure_value=failures
    )
    assert Task().run(operator)["state"] == "succeeded"


def test_results(jobs: FakeHttpJobs) -> None:
    """A result is taken out of the status answer, or fetched from a URL of its own."""
    jobs.script(lambda _: True, HttpOutcome(0, 0.1, "completed", {"rows": [1, 2]}))
    assert Task().run(start(result_field="$.output.rows[1]"))["result"] == 2
    assert Task().run(start(status_url="/jobs/{job_id}", result_url="/jobs/{job_id}/result"))["result"] == {
        "rows": [1, 2]
    }


def test_wrong_result_field_is_said_at_once(jobs: FakeHttpJobs) -> None:
    """A result that is not there will not come by asking again."""
    with pytest.raises(BadRequest, match="Correct result_field"):
        Task().run(start(result_field="$.nothing"))


def test_lost_answer_without_a_key_is_not_sent_again(jobs: FakeHttpJobs) -> None:
    """Where a repeated request could start a second job, a lost answer ends the task without retries."""
    jobs.fail(Fault.reset(after=True), on="POST /jobs")
    task = Task()
    with pytest.raises(AirflowFailException, match=r"POST .*/jobs"):
        task.run(start())
    assert len(jobs.created) == 1
    with pytest.raises(AirflowFailException, match="idempotency_header"):
        task.retry().run(start())
    assert len(jobs.created) == 1


def test_clear_after_a_lost_answer_starts_another(jobs: FakeHttpJobs) -> None:
    """Clearing such a task is a person's decision to start another job."""
    jobs.fail(Fault.reset(after=True), on="POST /jobs")
    task = Task()
    with pytest.raises(AirflowFailException):
        task.run(start())
    assert task.clear().run(start())["state"] == "succeeded"
    assert len(jobs.created) == 2


def test_resubmit_unknown(jobs: FakeHttpJobs) -> None:
    """resubmit_unknown=True: rather two jobs than none."""
    jobs.fail(Fault.reset(after=True), on="POST /jobs")
    assert Task().run(start(resubmit_unknown=True))["state"] == "succeeded"
    assert len(jobs.created) == 2


@pytest.mark.parametrize("fault", [Fault.retry_after(429, 0.2), Fault.status(408)], ids=lambda f: f.kind)
def test_refused_request_is_sent_again_if_it_had_no_effect(jobs: FakeHttpJobs, fault: Fault) -> None:
    """A 429 says that nothing was started, so it is sent again also without a key; a 408 does not say so."""
    jobs.fail(fault, on="POST /jobs")
    if "408" in fault.kind:
        with pytest.raises(AirflowFailException):
            Task().run(start())
    else:
        assert Task().run(start())["state"] == "succeeded"
    assert len(jobs.calls("POST", "/jobs")) == (1 if "408" in fault.kind else 2)


def test_conflict_after_a_lost_answer_forgets_nothing(jobs: FakeHttpJobs) -> None:
    """A 409 to a repeated key says nothing of the first request: the next try asks under the same key."""
    jobs.idempotent = True
    jobs.fail(Fault.reset(after=True), on="POST /jobs")
    jobs.fail(Fault.status(409), on="POST /jobs", nth=2)
    task = Task()
    with pytest.raises(BadRequest, match="409"):
        task.run(start(idempotency_header="Idempotency-Key"))
    task.ti.max_tries = 1
    assert task.store.values["ork_attempt"]["nonce"]
    again = task.retry()
    again.store.set("ork_attempt", {**task.attempt, "max_tries": 1})
    assert again.run(start(idempotency_header="Idempotency-Key"))["state"] == "succeeded"
    assert len(jobs.created) == 1


def test_secret_headers_stay_secret(jobs: FakeHttpJobs) -> None:
    """A header that a user put into the task by hand reaches the service, and neither XCom nor the state store."""
    task = Task()
    secret = {"X-Api-Key": "k-sesame", "X-Team": "blue"}
    result = task.run(start(headers=secret, status_url="/jobs/{job_id}"))
    assert all(call.headers["x-api-key"] == "k-sesame" for call in jobs.requests)
    assert "sesame" not in json.dumps([task.ti.xcoms, task.store.values, result])
    assert result["headers"] == {"X-Team": "blue"}


def test_secret_headers_are_back_on_a_retry(jobs: FakeHttpJobs) -> None:
    """A job that is taken up again is asked for with the task's present secret headers."""
    jobs.script(lambda _: True, HttpOutcome(0, 1.5))
    task = Task()
    task.ti.max_tries = 1
    task.start(start(headers={"X-Api-Key": "k-1"}, status_url="/jobs/{job_id}"))
    jobs.clear_log()
    task.retry().run(start(headers={"X-Api-Key": "k-2"}, status_url="/jobs/{job_id}"))
    assert {call.headers["x-api-key"] for call in jobs.requests} == {"k-2"}


def test_another_server_gets_no_credentials(jobs: FakeHttpJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the answer sends us to another server, neither the connection's nor the task's secrets go there."""
    connection = {**json.loads(jobs.connections()["AIRFLOW_CONN_HTTP_DEFAULT"]), "login": "me", "password": "pw"}
    monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", json.dumps(connection))
    with FakeHttpJobs(pending=0, running=0) as other:
        other.created.append(other._new_job(_Request(), None)) if not other.created else None
        answer = {"id": "x", "links": {"self": f"{other.url}/jobs/{other.created[0].job_id}"}}
        jobs.fail(Fault.status(202, body=answer), on="POST /jobs")
        Task().run(start(status_url_path="$.links.self", headers={"X-Api-Key": "k-sesame", "X-Team": "blue"}))
        assert other.requests
        assert all(not {"authorization", "x-api-key"} & set(call.headers) for call in other.requests)
    assert all(call.headers["authorization"].startswith("Basic ") for call in jobs.requests)


class _Request:
    """The least of a request that the fake needs to make a job."""

    body = b"{}"
    json: Any = {}


def test_sensor_leaves_the_job_alone(jobs: FakeHttpJobs) -> None:
    """A sensor only watches: its timeout and its kill cancel nothing."""
    from ork_provider.errors import TimedOut

    jobs.script(lambda _: True, HttpOutcome(0, 60))
    Task().start(start(status_url="/jobs/{job_id}"))
    sensor = HttpJobSensor(task_id="watch", endpoint="/jobs/job-1", timeout=0.5, poll_interval=0.2)
    with pytest.raises(TimedOut, match="left running"):
        Task().run(sensor)
    sensor.on_kill()
    assert len(jobs.live()) == 1
    assert not jobs.calls("DELETE")


def test_templated_paths_are_checked_before_anything_is_sent(jobs: FakeHttpJobs) -> None:
    """A path that is a template when the DAG is parsed is checked when it is rendered, before the job starts."""
    operator = start(completion_field="{{ params.field }}")
    operator.completion_field = "no path["
    with pytest.raises(InvalidJob, match="completion_field"):
        operator.execute(Task().context)
    assert not jobs.requests
