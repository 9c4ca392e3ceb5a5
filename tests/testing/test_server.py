"""Every kind of fault reaches a real client over real HTTP; the log tells what came in."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from ork_provider.testing import FakeBigQuery, FakeHttpJobs, Fault, PortInUse
from tests.support.ticks import Ticks

INSERT = {"jobReference": {"jobId": "j"}, "configuration": {"query": {"query": "SELECT 1"}}}


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        (Fault.status(503), 503, ""),
        (Fault.status(500, body="oops"), 500, "oops"),
        (Fault.status(400, body={"a": 1}), 400, '{"a":1}'),
        (Fault.google(403, "rateLimitExceeded", "Exceeded rate limits"), 403, "Exceeded rate limits"),
        (Fault.malformed(), 200, "<!DOCTYPE html>"),
    ],
)
def test_fault_answers_without_effect(
    fake: FakeBigQuery, http: httpx.Client, fault: Fault, status: int, text: str
) -> None:
    """An answer that goes wrong leaves no job, is logged with its status, and the next request is served."""
    rule = fake.fail(fault, on="POST */jobs")
    answer = http.post("/jobs", json=INSERT)
    assert (answer.status_code, text in answer.text) == (status, True)
    assert not fake.jobs
    assert rule.applied == 1
    assert http.post("/jobs", json=INSERT).status_code == 200
    assert [request.status for request in fake.requests] == [status, 200]


def test_google_fault_has_googles_shape(fake: FakeBigQuery, http: httpx.Client) -> None:
    fake.fail(Fault.google(403, "quotaExceeded", "Quota exceeded"))
    error = http.get("/jobs").json()["error"]
    assert (error["code"], error["errors"][0]["reason"]) == (403, "quotaExceeded")


def test_retry_after(fake: FakeBigQuery, http: httpx.Client) -> None:
    fake.fail(Fault.retry_after(seconds=3))
    answer = http.get("/jobs")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


@pytest.mark.parametrize(("after", "jobs"), [(False, 0), (True, 1)])
def test_reset(fake: FakeBigQuery, http: httpx.Client, after: bool, jobs: int) -> None:
    """The connection is cut with a TCP reset, before the work or after it."""
    fake.fail(Fault.reset(after=after))
    with pytest.raises(httpx.ReadError, match="Connection reset"):
        http.post("/jobs", json=INSERT)
    assert len(fake.jobs) == jobs
    assert fake.requests[0].status is None


def test_done_but_answered_with_an_error(fake: FakeBigQuery, http: httpx.Client) -> None:
    """With after=True a 503 hides a job that was created: the second insert is a duplicate."""
    fake.fail(Fault.status(503, after=True), on="POST */jobs")
    assert [http.post("/jobs", json=INSERT).status_code for _ in range(2)] == [503, 409]


def test_truncated(fake: FakeBigQuery, http: httpx.Client) -> None:
    http.post("/jobs", json=INSERT)
    fake.fail(Fault.truncated(), on="GET */jobs/j")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        http.get("/jobs/j")


@pytest.mark.parametrize(("after", "jobs"), [(False, 0), (True, 1)])
def test_hang(fake: FakeBigQuery, http: httpx.Client, after: bool, jobs: int) -> None:
    """A client that gives up on a hanging server leaves no job behind, unless the work came first."""
    fake.fail(Fault.hang(0.3, after=after))
    with pytest.raises(httpx.ReadTimeout):
        http.post("/jobs", json=INSERT, timeout=0.1)
    http.close()
    time.sleep(0.4)
    assert len(fake.jobs) == jobs


def test_patient_client_outlives_a_hang(fake: FakeBigQuery, http: httpx.Client) -> None:
    fake.fail(Fault.hang(0.2))
    begin = time.monotonic()
    assert http.post("/jobs", json=INSERT).status_code == 200
    assert time.monotonic() - begin >= 0.2


def test_nth_and_times(fake: FakeBigQuery, http: httpx.Client) -> None:
    """`nth` counts matching requests from now, `times` is how many in a row; -1 is for ever."""
    http.post("/jobs", json=INSERT)
    fake.fail(Fault.status(503), on="GET */jobs/*", nth=2, times=2)
    seen = [http.get(path).status_code for path in ("/jobs/j", "/jobs", "/jobs/j", "/jobs/j", "/jobs/j")]
    assert seen == [200, 200, 503, 503, 200]
    fake.fail(Fault.status(500), on=re.compile(r"^GET .*/jobs/j$"), times=-1)
    assert {http.get("/jobs/j").status_code for _ in range(5)} == {500}
    fake.heal()
    assert http.get("/jobs/j").status_code == 200


def test_latency(fake: FakeBigQuery, http: httpx.Client) -> None:
    """Latency is a number of seconds or a function of the request."""
    fake.latency = lambda request: 0.2 if request.method == "POST" else 0.0
    begin = time.monotonic()
    http.get("/jobs")
    quick = time.monotonic() - begin
    http.post("/jobs", json=INSERT)
    assert quick < 0.2 <= time.monotonic() - begin


def test_log(fake: FakeBigQuery, http: httpx.Client, ticks: Ticks) -> None:
    """Requests are kept in order, with what a test may ask about."""
    ticks.seconds = 1234.5
    http.post("/jobs", json=INSERT, headers={"X-Trace": "t"})
    http.get("/jobs", params={"stateFilter": ["running", "pending"], "maxResults": 5})
    first, second = fake.requests
    assert (first.at, first.method, first.path) == (1234.5, "POST", "/bigquery/v2/projects/p/jobs")
    assert (first.json, first.headers["x-trace"], first.status) == (INSERT, "t", 200)
    assert second.query["maxResults"] == "5"
    assert second.values("stateFilter") == ["running", "pending"]
    assert fake.calls("GET") == [second]
    assert fake.calls(path="*/jobs") == [first, second]
    assert fake.calls("POST", re.compile("datasets")) == []
    fake.clear_log()
    assert fake.requests == []


def test_port_in_use_is_one_clear_error(fake: FakeBigQuery) -> None:
    with pytest.raises(PortInUse, match=rf"HTTP job service cannot listen on 127.0.0.1:{fake.port}.*choose another"):
        FakeHttpJobs(port=fake.port).start()


def test_stopped_server_comes_back_with_its_jobs(fake: FakeBigQuery, http: httpx.Client) -> None:
    """A service may be away for a while: refused connections, then the same port and the same jobs."""
    http.post("/jobs", json=INSERT)
    fake.stop()
    with pytest.raises(httpx.ConnectError):
        http.get("/jobs/j")
    fake.start()
    assert http.get("/jobs/j").status_code == 200


def test_unknown_path_and_bad_json(fake: FakeBigQuery, http: httpx.Client) -> None:
    assert http.get("/nope").status_code == 404
    answer = http.post("/jobs", content=b"{oops")
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "parseError")
