"""Secret headers: rendered, sent, and never shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.crypto import get_fernet
from cryptography.fernet import Fernet

from ork_provider.attempt import Attempt, Handover
from ork_provider.errors import BadRequest, InvalidJob
from ork_provider.forms import read_jobs
from ork_provider.http import HttpJob, HttpJobOperator, HttpJobSensor
from ork_provider.job import JobState, JobStatus, describe_job, job_from_dict
from ork_provider.operator import WaitForJobsOperator
from ork_provider.operator.outcome import read_event
from ork_provider.session import Headers, Request, Response, hide_headers
from ork_provider.session.secrets import HIDDEN, scrub
from ork_provider.waiting import Outcome

SECRET = "hunter2-hunter2"
HEADERS = {"X-Api-Key": SECRET, "Authorization": f"Bearer {SECRET}", "Cookie": f"sid={SECRET}", "X-Team": "blue"}

MAKE = {
    "operator": lambda headers: HttpJobOperator(task_id="t", endpoint="/jobs", status_url="/s", headers=headers),
    "sensor": lambda headers: HttpJobSensor(task_id="t", endpoint="/jobs/1", headers=headers),
    "job": lambda headers: WaitForJobsOperator(task_id="t", jobs=HttpJob(url="/jobs/1", headers=headers)),
    "jobs": lambda headers: WaitForJobsOperator(task_id="t", jobs=[HttpJob(url="/jobs/1", headers=headers).to_dict()]),
    "deferred": lambda headers: WaitForJobsOperator(
        task_id="t", jobs={"deferred": [HttpJob(url="/jobs/1", headers=headers).to_dict()]}
    ),
}


@pytest.mark.parametrize("name", MAKE)
def test_serialized_dag(name: str) -> None:
    """What Airflow stores of the DAG has no secret header, and has the others."""
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("d", schedule=None) as dag:
        MAKE[name](HEADERS)
    stored = json.dumps(DagSerialization.to_dict(dag))
    assert SECRET not in stored
    assert "blue" in stored


@pytest.mark.parametrize("name", MAKE)
def test_rendered_fields(name: str) -> None:
    """What Airflow stores of the rendered fields has no secret header; the job that is asked for has it."""
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    headers = {**HEADERS, "X-Api-Key": "{{ secret }}"}
    operator = MAKE[name](headers)
    operator.render_template_fields({"secret": SECRET})  # type: ignore[typeddict-item]
    assert SECRET not in json.dumps(_serialize_rendered_fields(operator))
    if name != "operator":
        (job,) = operator.wanted_jobs({})
        assert job.headers == HEADERS
        assert SECRET not in json.dumps(job.public_dict())


@pytest.fixture(params=["key", "no key"])
def has_key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Airflow with a Fernet key, and without one."""
    key = Fernet.generate_key().decode() if request.param == "key" else ""
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", key)
    get_fernet.cache_clear()
    yield bool(key)
    get_fernet.cache_clear()


def test_sealed(has_key: bool) -> None:
    """What must be able to ask later gets the secret headers encrypted; without a key it has to do without them."""
    job = HttpJob(url="/jobs/1", headers=HEADERS)
    wire = job.sealed_dict()
    assert SECRET not in json.dumps(wire)
    read = job_from_dict(json.loads(json.dumps(wire)))
    assert isinstance(read, HttpJob)
    assert read.headers == (HEADERS if has_key else {"X-Team": "blue"})
    assert read.withheld_headers == ([] if has_key else ["Authorization", "Cookie", "X-Api-Key"])


@pytest.mark.parametrize("has_key", ["key"], indirect=True)
def test_sealed_with_another_key(has_key: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggerer with another key says so; it does not ask without the headers."""
    wire = HttpJob(url="/jobs/1", headers=HEADERS).sealed_dict()
    for other in (Fernet.generate_key().decode(), ""):
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", other)
        get_fernet.cache_clear()
        with pytest.raises(InvalidJob, match=r"same Fernet key \(\[core\] fernet_key\)"):
            job_from_dict(wire)


def test_stored_attempt(has_key: bool) -> None:
    """What the task state store remembers of a job has no secret to be read, and with a key is complete."""
    job = HttpJob(url="/jobs/1", headers=HEADERS)
    for kept in (
        Attempt(nonce="n", request_hash="h", max_tries=0, at=datetime.now(timezone.utc), job=job),
        Handover(jobs=(job,), max_tries=0, at=datetime.now(timezone.utc)),
    ):
        stored = kept.to_dict()
        assert SECRET not in json.dumps(stored)
        read = type(kept).from_dict(stored)
        found = read.jobs[0] if isinstance(read, Handover) else read.job
        assert isinstance(found, HttpJob)
        assert bool(found.withheld_headers) is not has_key


def test_event(has_key: bool) -> None:
    """An event holds no secret to be read; what the task makes of it for XCom not even an encrypted one."""
    job, status = HttpJob(url="/jobs/1", headers=HEADERS), JobStatus(state=JobState.SUCCEEDED)
    event = Outcome(verdict="success", message="", jobs=((job, status),)).to_event()
    assert SECRET not in json.dumps(event)
    ((read, heard),) = read_event(event)[2]
    assert isinstance(read, HttpJob)
    assert (read.headers == HEADERS) is has_key
    assert "sealed_headers" not in describe_job(read, heard)


def test_headers_are_a_mapping() -> None:
    """Headers are used as the dict they were; only what is shown differs."""
    headers = hide_headers(HEADERS)
    assert isinstance(headers, Headers)
    assert dict(headers) == HEADERS
    assert {**headers}["X-Api-Key"] == SECRET
    assert SECRET not in repr(headers)
    assert f"{headers}".count(HIDDEN) == 3


def test_outputs_of_other_tasks_are_found() -> None:
    """A header that is another task's output stays where Airflow finds it: the dependency is kept."""
    with DAG("d", schedule=None):
        first = HttpJobSensor(task_id="first", endpoint="/x")
        second = HttpJobSensor(task_id="second", endpoint="/y", headers={"X-Api-Key": first.output["token"]})
    assert second.upstream_task_ids == {"first"}
    second.headers = {"X-Api-Key": SECRET}  # as Airflow does once it has rendered it
    assert SECRET not in repr(second.headers)


@pytest.mark.parametrize("value", [None, "{{ params.headers }}", 7], ids=repr)
def test_other_values_stay(value: Any) -> None:
    """A template of all headers and what is no dict at all are left as they are."""
    assert hide_headers(value) is value


@pytest.mark.parametrize("secret", ['quo"ted-key', "back\\slash-key", "umlaut-kö-key"])
def test_refusal_that_quotes_a_secret_in_json(secret: str) -> None:
    """A secret is found in JSON too, where some of its characters are spelt otherwise."""
    request = Request(method="GET", url="http://h", headers={"X-Api-Key": secret})
    for ascii_only in (True, False):
        body = json.dumps({"error": f"bad key {secret}"}, ensure_ascii=ascii_only).encode()
        assert HIDDEN in scrub(request, Response(status=400, body=body)).text
        assert secret[-6:] not in scrub(request, Response(status=400, body=body)).text


@pytest.mark.parametrize(
    "job",
    [
        {"service_type": "custom_http", "headers": {"Authorization": SECRET}},
        {"service_type": "custom_http", "headers": {"Authorization": SECRET, "X": 1}, "url": "/x"},
        {"headers": [{"X-Api-Key": SECRET}]},
    ],
    ids=["no url", "wrong type", "no job"],
)
def test_wrong_job_is_described_without_its_secrets(job: Any) -> None:
    """A job that cannot be read is shown in the message, its secret headers are not."""
    with pytest.raises(InvalidJob) as caught:
        read_jobs(job)
    assert HIDDEN in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_user_info_is_not_shown() -> None:
    """A login in a URL is not part of what messages call the request."""
    assert str(Request(method="GET", url="http://bob:hunter2@h:80/x@y?a=b")) == "GET http://h:80/x@y"


def test_header_that_is_not_ascii() -> None:
    """A header that cannot be sent is refused before anything is sent, with its name."""
    with pytest.raises(BadRequest, match="'X-Owner' cannot be sent"):
        Request(method="GET", url="http://h", headers={"X-Owner": "Zoë"}).check()


def test_refusal_that_quotes_a_secret() -> None:
    """A service that quotes what it refuses does not get our key into a message."""
    request = Request(method="GET", url="http://h", headers={"Authorization": f"Bearer {SECRET}"})
    answer = Response(status=400, body=f"bad token {SECRET} in Bearer {SECRET}".encode())
    assert scrub(request, answer).text == f"bad token {HIDDEN} in {HIDDEN}"
    good = Response(status=200, body=SECRET.encode())
    assert scrub(request, good) is good
