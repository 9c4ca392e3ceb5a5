"""The fake HTTP job service: one job from its start to each of its ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ork_provider.testing import FakeHttpJobs, HttpOutcome
from tests.support.ticks import Ticks


@pytest.fixture
def jobs(ticks: Ticks) -> Iterator[FakeHttpJobs]:
    with FakeHttpJobs(pending=1, running=10, clock=ticks) as server:
        yield server


@pytest.fixture
def api(jobs: FakeHttpJobs) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=jobs.url) as client:
        yield client


def test_start_answers_202_with_a_location(jobs: FakeHttpJobs, api: httpx.Client) -> None:
    answer = api.post("/jobs", json={"any": ["thing"]})
    path = answer.headers["location"]
    assert (answer.status_code, answer.json()["status"], answer.json()["links"]["self"]) == (202, "queued", path)
    assert api.get(path).json()["id"] == answer.json()["id"]
    assert jobs.created[0].body == {"any": ["thing"]}


def test_life_of_a_job(jobs: FakeHttpJobs, api: httpx.Client, ticks: Ticks) -> None:
    """The status in words, flag, number and status code; the result when it is there."""
    jobs.script("report", HttpOutcome(1, 10, output={"rows": 3}))
    path = api.post("/jobs", json={"name": "report"}).headers["location"]
    seen = []
    for wait in (0, 6, 6):
        ticks.seconds += wait
        job = api.get(path).json()
        seen.append((job["status"], job["job"], job["progress"], api.get(f"{path}/poll").status_code))
    assert seen == [
        ("queued", {"status": "queued", "done": False, "code": 0}, 0.0, 202),
        ("running", {"status": "running", "done": False, "code": 1}, 0.5, 202),
        ("completed", {"status": "completed", "done": True, "code": 2}, 1.0, 200),
    ]
    assert (job["output"], job["error"]) == ({"rows": 3}, None)
    assert api.get(f"{path}/result").json() == {"rows": 3}


def test_result_before_the_end(api: httpx.Client) -> None:
    path = api.post("/jobs").headers["location"]
    answer = api.get(f"{path}/result")
    assert (answer.status_code, "is queued" in answer.json()["error"]) == (409, True)


def test_body_scripts_its_own_job(api: httpx.Client, ticks: Ticks) -> None:
    fake = {"pending": 0, "running": 2, "outcome": "failed", "error": "disk full"}
    path = api.post("/jobs", json={"fake": fake}).headers["location"]
    assert api.get(path).json()["status"] == "running"
    ticks.seconds += 3
    job = api.get(path).json()
    assert (job["status"], job["error"], job["job"]["code"], job["output"]) == ("failed", "disk full", 3, None)


def test_unknown_script_key_is_named(jobs: FakeHttpJobs, api: httpx.Client) -> None:
    answer = api.post("/jobs", json={"fake": {"seconds": 1}})
    assert (answer.status_code, "seconds" in answer.json()["error"]) == (400, True)
    assert not jobs.created


@pytest.mark.parametrize(("method", "suffix"), [("DELETE", ""), ("POST", "/cancel")])
def test_cancel(jobs: FakeHttpJobs, api: httpx.Client, ticks: Ticks, method: str, suffix: str) -> None:
    """A live job is cancelled for good, a finished one stays as it is."""
    first, second = (api.post("/jobs").headers["location"] for _ in range(2))
    ticks.seconds += 6
    assert api.request(method, first + suffix).json()["job"] == {"status": "cancelled", "done": True, "code": 4}
    ticks.seconds += 10
    assert api.request(method, second + suffix).json()["status"] == "completed"
    assert [job.job_id for job in jobs.cancelled] == ["job-1"]
    assert jobs.live() == []
    assert api.get(first).json()["progress"] == 0.5


@pytest.mark.parametrize(("idempotent", "count", "status"), [(True, 1, 200), (False, 2, 202)])
def test_idempotency_key(ticks: Ticks, idempotent: bool, count: int, status: int) -> None:
    """A repeated key is the same job, if the service knows the header."""
    with FakeHttpJobs(idempotent=idempotent, clock=ticks) as jobs:
        headers = {"Idempotency-Key": "k1"}
        answers = [httpx.post(f"{jobs.url}/jobs", json={}, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, status]
        assert len({answer.json()["id"] for answer in answers}) == len(jobs.created) == count


@pytest.mark.parametrize(
    ("options", "auth", "connection"),
    [
        ({"basic": ("me", "secret")}, {"auth": ("me", "secret")}, {"login": "me", "password": "secret"}),
        (
            {"bearer": "t"},
            {"headers": {"Authorization": "Bearer t"}},
            {"extra": {"Authorization": "Bearer t"}},
        ),
    ],
)
def test_auth(options: dict[str, Any], auth: dict[str, Any], connection: dict[str, Any]) -> None:
    """Requests without the credentials get 401; the connection carries them."""
    with FakeHttpJobs(**options) as jobs:
        refused = httpx.post(f"{jobs.url}/jobs")
        assert (refused.status_code, "www-authenticate" in refused.headers) == (401, True)
        assert httpx.post(f"{jobs.url}/jobs", **auth).status_code == 202
        value = json.loads(jobs.connections()["AIRFLOW_CONN_HTTP_DEFAULT"])
        assert value == {"conn_type": "http", "host": "127.0.0.1", "port": jobs.port, "schema": "http"} | connection


def test_unknown_job(api: httpx.Client) -> None:
    assert api.get("/jobs/nope").status_code == 404
