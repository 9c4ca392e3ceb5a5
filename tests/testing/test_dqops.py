"""The fake DQOps: a job from its start to each of its ends, and the habits that a client has to survive."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ork_provider.testing import DqopsOutcome, FakeDqops, Fault
from tests.support.ticks import Ticks

BODY = {"check_search_filters": {"connection": "c", "fullTableName": "s.t"}}


@pytest.fixture
def dqops(ticks: Ticks) -> Iterator[FakeDqops]:
    with FakeDqops(pending=1, running=10, clock=ticks, feed_wait=0.05) as server:
        yield server


@pytest.fixture
def api(dqops: FakeDqops) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{dqops.url}/api/jobs/") as client:
        yield client


def start(api: httpx.Client, key: str | None = None, path: str = "runchecks", **kwargs: Any) -> int:
    query = {"wait": "false", **({"jobBusinessKey": key} if key else {})}
    answer = api.post(path, params=query, json=BODY, **kwargs)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["jobId"]["jobId"])


def status(api: httpx.Client, name: int | str) -> str:
    answer = api.get(f"jobs/{name}")
    return str(answer.json()["status"]) if answer.content else str(answer.status_code)


def feed(api: httpx.Client, since: int) -> tuple[list[dict[str, Any]], int]:
    answer = api.get(f"jobchangessince/{since}").json()
    return answer["jobChanges"], answer["lastSequenceNumber"]


def test_life_of_a_job(dqops: FakeDqops, api: httpx.Client, ticks: Ticks) -> None:
    """A job is queued, waits, runs and shows its result; it is found by its number and by its key."""
    dqops.script("s.t", DqopsOutcome(1, 10, waiting=2, severity="error", executed_checks=5, execution_errors=1))
    number = start(api, "k 1")
    seen = []
    for seconds in (0, 2, 3, 10):
        ticks.seconds += seconds
        seen.append((status(api, number), len(dqops.live())))
        assert status(api, "k%201") == seen[-1][0]
    assert seen == [("queued", 1), ("waiting", 1), ("running", 1), ("finished", 0)]
    job = api.get(f"jobs/{number}").json()
    assert (job["jobType"], job["jobId"]["jobId"], job["jobId"]["jobBusinessKey"]) == ("run_checks", number, "k 1")
    parameters = job["parameters"]["runChecksParameters"]
    assert parameters["check_search_filters"] == BODY["check_search_filters"]
    assert parameters["run_checks_result"] == {
        **{"highest_severity": "error", "executed_checks": 5, "valid_results": 4},
        **{"warnings": 0, "errors": 1, "fatals": 0, "execution_errors": 1},
    }
    assert dqops.jobs[number] is dqops.started[0]
    assert (dqops.started[0].body, dqops.started[0].query["wait"]) == (BODY, "false")


def test_failed_job_says_why(dqops: FakeDqops, api: httpx.Client, ticks: Ticks) -> None:
    """The history of a failed job has its message and no result."""
    dqops.script(lambda body: body == BODY, DqopsOutcome(0, 1, "failed", error_message="boom"))
    number = start(api)
    ticks.seconds += 1
    job = api.get(f"jobs/{number}").json()
    assert (job["status"], job["errorMessage"]) == ("failed", "boom")
    assert "run_checks_result" not in job["parameters"]["runChecksParameters"]


def test_counts_follow_from_the_severity() -> None:
    """Counts that are given stay; without a severity the field is absent."""
    assert DqopsOutcome(severity="fatal").checks_result["fatals"] == 1
    given = DqopsOutcome(severity="warning", warnings=3, valid_results=7).checks_result
    assert (given["warnings"], given["valid_results"], given["executed_checks"]) == (3, 7, 10)
    assert "highest_severity" not in DqopsOutcome(severity=None).checks_result
    with pytest.raises(ValueError, match=r"'succeeded'.*known: finished, failed, cancelled"):
        DqopsOutcome(status="succeeded")


@pytest.mark.parametrize("cancelling", [0.0, 5.0])
def test_cancel(dqops: FakeDqops, api: httpx.Client, ticks: Ticks, cancelling: float) -> None:
    """A live job comes to its end as cancelled, after a while; an ended and an unknown one are 204, too."""
    dqops.default = DqopsOutcome(1, 10, cancelling=cancelling)
    number, other = start(api), start(api)
    ticks.seconds += 2
    assert api.delete(f"jobs/{number}").status_code == 204
    assert status(api, number) == ("cancel_requested" if cancelling else "cancelled")
    ticks.seconds += 20
    assert [api.delete(f"jobs/{name}").status_code for name in (number, other, 77, "no-such-key")] == [204] * 4
    assert (status(api, number), status(api, other)) == ("cancelled", "finished")
    assert [job.job_id for job in dqops.cancelled] == [number]


def test_ids_are_seconds_and_a_counter(dqops: FakeDqops, api: httpx.Client) -> None:
    """Numbers rise and fit a signed 64 bit integer; after a restart they rise further."""
    first = start(api)
    dqops.restart()
    second = start(api)
    assert abs(first // 1_000_000 - time.time()) < 60
    assert first < second < 2**63


def test_key_is_not_unique(dqops: FakeDqops, api: httpx.Client, ticks: Ticks) -> None:
    """A key leads to the last job that was given it; the end of the older job's history takes the key along."""
    old = start(api, "k")
    ticks.seconds += 3600
    new = start(api, "k")
    assert api.get("jobs/k").json()["jobId"]["jobId"] == new != old
    ticks.seconds += 11
    assert (status(api, "k"), status(api, old), status(api, new)) == ("404", "404", "finished")


def test_restart_forgets_every_job(dqops: FakeDqops, api: httpx.Client) -> None:
    """All are 404 afterwards, the live ones have died."""
    number = start(api, "k")
    dqops.restart()
    assert (status(api, number), status(api, "k"), dqops.live()) == ("404", "404", [])
    assert dqops.started[0].status == "lost"


def test_new_job_appears_late(ticks: Ticks) -> None:
    """Until then it is 404, and a cancellation is lost though it is answered with 204."""
    with (
        FakeDqops(appears_after=2, clock=ticks, feed_wait=0) as dqops,
        httpx.Client(base_url=f"{dqops.url}/api/jobs/") as api,
    ):
        number = start(api, "k")
        assert (status(api, number), status(api, "k"), api.delete(f"jobs/{number}").status_code) == ("404", "404", 204)
        assert feed(api, 0)[0] == []
        ticks.seconds += 2
        assert (status(api, number), status(api, "k"), dqops.cancelled) == ("finished", "finished", [])
        assert [change["status"] for change in feed(api, 0)[0]] == ["queued", "running", "finished"]


@pytest.mark.parametrize(
    ("path", "kind", "holder"),
    [
        ("collectstatistics/table", "collect_statistics", "collectStatisticsParameters"),
        ("collectstatistics/withgrouping", "collect_statistics", "collectStatisticsParameters"),
        ("importtables", "import_tables", "importTableParameters"),
        ("collecterrorsamples", "collect_error_samples", "collectErrorSamplesParameters"),
        ("deletestoreddata", "delete_stored_data", "deleteStoredDataParameters"),
        ("synchronize", "synchronize_multiple_folders", "synchronizeMultipleFoldersParameters"),
    ],
)
def test_other_kinds_of_jobs(api: httpx.Client, path: str, kind: str, holder: str) -> None:
    """The history names the kind of job and holds its parameters."""
    job = api.get(f"jobs/{start(api, path=path)}").json()
    assert (job["jobType"], list(job["parameters"])) == (kind, [holder])


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
def test_body_that_is_no_object(dqops: FakeDqops, api: httpx.Client, body: bytes) -> None:
    """It is refused in Spring's words and starts nothing."""
    answer = api.post("runchecks", content=body)
    assert (answer.status_code, answer.json()["error"], dqops.started) == (400, "Bad Request", [])


@pytest.mark.parametrize("call", ["runchecks?wait=perhaps", "runchecks?waitTimeout=x"])
def test_bad_query(dqops: FakeDqops, api: httpx.Client, call: str) -> None:
    assert (api.post(call, json=BODY).status_code, dqops.started) == (400, [])


def test_unknown_path(api: httpx.Client) -> None:
    answer = api.get("nothing")
    assert (answer.status_code, answer.json()["path"]) == (404, "/api/jobs/nothing")


def test_wait_is_on_unless_switched_off() -> None:
    """The answer comes with the end and has the result; a job without one answers with nothing at all."""
    with FakeDqops(pending=0, running=0.05) as dqops, httpx.Client(base_url=f"{dqops.url}/api/jobs/") as api:
        done = api.post("runchecks", json=BODY)
        assert (done.status_code, done.json()["status"], done.json()["result"]["executed_checks"]) == (
            *(201, "finished", 10),
        )
        silent = api.post("synchronize", json={})
        assert (silent.status_code, silent.content) == (201, b"")
        number = done.json()["jobId"]["jobId"]
        assert api.get(f"jobs/{number}/wait").json()["status"] == "finished"
        assert api.get(f"runchecks/{number}/wait").json()["result"] == done.json()["result"]
        assert [api.get(f"{path}/wait").status_code for path in ("jobs/1", f"collecterrorsamples/{number}")] == [
            404
        ] * 2


def test_wait_that_times_out_is_empty(dqops: FakeDqops, api: httpx.Client) -> None:
    """The caller of a POST does not even learn the id of the job that goes on."""
    answer = api.post("runchecks?waitTimeout=0", json=BODY)
    assert (answer.status_code, answer.content) == (201, b"")
    number = dqops.live()[0].job_id
    for path in (f"jobs/{number}/wait", f"runchecks/{number}/wait"):
        answer = api.get(path, params={"waitTimeout": 0})
        assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_wait_for_a_job_that_does_not_finish(dqops: FakeDqops, api: httpx.Client, ticks: Ticks, end: str) -> None:
    """It is an error 500 with a long stack trace, both ways of waiting."""
    dqops.script("s.t", DqopsOutcome(0, 0 if end == "failed" else 60, "failed", error_message="boom"))
    number = start(api)
    if end == "cancelled":
        dqops.jobs[number].cancel()
    for path in (f"jobs/{number}/wait", f"runchecks/{number}/wait"):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["error"]) == (500, "Internal Server Error")
        assert ("boom" in answer.json()["message"]) is (end == "failed")
        assert len(answer.json()["trace"]) > 3000
    if end == "failed":
        assert api.post("runchecks", json=BODY).status_code == 500


def test_restart_ends_the_requests_that_are_held(ticks: Ticks) -> None:
    """Who follows the feed or waits for a job is cut off at once."""
    with FakeDqops(clock=ticks, feed_wait=30) as dqops:
        started = httpx.post(f"{dqops.url}/api/jobs/runchecks?wait=false", json=BODY).json()
        number = started["jobId"]["jobId"]
        restart = threading.Thread(target=lambda: _restart_once_asked(dqops))
        restart.start()
        before = time.monotonic()
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{dqops.url}/api/jobs/jobs/{number}/wait", timeout=20)
        restart.join()
        assert time.monotonic() - before < 10
        assert httpx.get(f"{dqops.url}/api/jobs/jobs/{number}").status_code == 404


def _restart_once_asked(dqops: FakeDqops) -> None:
    while not dqops.calls("GET", "*/wait"):
        time.sleep(0.01)
    dqops.restart()


def test_api_key() -> None:
    """No key leads to the login page, another one is 401 without a word, and only one spelling is right."""
    with FakeDqops(api_key="secret") as dqops:
        url = f"{dqops.url}/api/jobs/jobs"
        nobody = httpx.get(url)
        assert (nobody.status_code, nobody.headers["location"], nobody.content) == (303, "/login", b"")
        assert "html" in httpx.get(url, follow_redirects=True).headers["content-type"]
        for given in ("Bearer other", "secret", "bearer secret", "Bearer  secret"):
            refused = httpx.get(url, headers={"Authorization": given})
            assert (refused.status_code, refused.content) == (401, b"")
        assert httpx.get(url, headers={"Authorization": "Bearer secret"}).status_code == 200


def test_data_domains_are_apart(dqops: FakeDqops, ticks: Ticks) -> None:
    """A job of another domain is not found, not cancelled and not in the feed."""
    ours, theirs = {"Cookie": "DQODataDomain=ours"}, {"Cookie": "DQODataDomain=theirs"}
    with httpx.Client(base_url=f"{dqops.url}/api/jobs/") as api:
        number = start(api, "k", headers=ours)
        found = [api.get(f"jobs/{number}", headers=headers).status_code for headers in (ours, theirs, {})]
        assert found == [200, 404, 404]
        assert api.delete("jobs/k", headers=theirs).status_code == 204
        assert (dqops.cancelled, dqops.started[0].data_domain) == ([], "ours")
        feeds = [api.get("jobchangessince/0", headers=headers).json()["jobChanges"] for headers in (ours, theirs)]
        assert [len(changes) for changes in feeds] == [1, 0]
        assert feeds[0][0]["domainName"] == "ours"


@pytest.mark.parametrize(
    ("options", "connections", "announced"),
    [
        ({}, 2, {5: "close"}),
        ({"announce_close": False}, 2, {}),
        ({"max_keep_alive_requests": 0}, 1, {}),
    ],
)
def test_connection_ends_after_five_requests(
    options: dict[str, Any], connections: int, announced: dict[int, str]
) -> None:
    """A sixth request needs another connection, unless the limit is switched off."""
    peers, said = set(), {}
    with FakeDqops(**options) as dqops, httpx.Client(base_url=dqops.url) as api:
        for number in range(1, 7):
            with api.stream("GET", "/api/jobs/jobs") as answer:
                peers.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
                answer.read()
            said[number] = answer.headers.get("connection", "")
            time.sleep(0.1 if number == 5 else 0)  # the end of a connection travels, too
    assert len(peers) == connections
    assert {number: word for number, word in said.items() if word} == announced


def test_answers_are_compressed_for_who_can(dqops: FakeDqops, api: httpx.Client) -> None:
    assert api.get("jobs").headers["content-encoding"] == "gzip"
    plain = api.get("jobs", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json()["jobs"] == []


def test_prefix_and_connection() -> None:
    """The connection's host is the base URL with the prefix; outside of it there is nothing."""
    with FakeDqops(prefix="a/dqops/", api_key="k", data_domain="d") as dqops:
        value = json.loads(dqops.connections()["AIRFLOW_CONN_DQOPS_DEFAULT"])
        host = f"http://127.0.0.1:{dqops.port}"
        assert value == {
            **{"conn_type": "dqops", "host": f"{host}/a/dqops", "password": "k", "extra": {"data_domain": "d"}}
        }
        headers = {"Authorization": "Bearer k"}
        assert httpx.get(f"{dqops.url}/api/jobs/jobs", headers=headers).status_code == 200
        assert httpx.get(f"{host}/api/jobs/jobs", headers=headers).status_code == 404
        assert httpx.get(f"{dqops.url}/api/jobs/jobs").headers["location"] == "/a/dqops/login"
    with FakeDqops() as dqops:
        assert json.loads(dqops.connections()["AIRFLOW_CONN_DQOPS_DEFAULT"]) == {
            **{"conn_type": "dqops", "host": f"http://127.0.0.1:{dqops.port}"}
        }


@pytest.mark.parametrize("key", ["a/b", "a b%", "é", "a?b#c"])
def test_key_with_odd_characters(api: httpx.Client, key: str) -> None:
    """A key is found by its quoted form; an unquoted slash is a slash."""
    start(api, key)
    assert status(api, quote(key, safe="")) == "queued"
    assert api.get("jobs/a/b").status_code == 404


def test_table_status(dqops: FakeDqops) -> None:
    """A table without results has no current severity; a scripted one has; None is 404."""
    url = f"{dqops.url}/api/connections/c/schemas/s/tables/t/status"
    empty = httpx.get(url, params={"months": 1}).json()
    assert (empty["table_name"], empty["executed_checks"], "current_severity" in empty) == ("t", 0, False)
    dqops.table_status("c", "s", "t", {"current_severity": "error", "executed_checks": 3, "errors": 1})
    scripted = httpx.get(url).json()
    assert (scripted["current_severity"], scripted["executed_checks"], scripted["fatals"]) == ("error", 3, 0)
    dqops.table_status("c", "s", "t", None)
    assert httpx.get(url).status_code == 404


def test_lost_answer_leaves_a_job(dqops: FakeDqops, api: httpx.Client) -> None:
    """The faults of every fake work here, too: the job that nobody was told of is found by its key."""
    dqops.fail(Fault.reset(after=True), on="POST */runchecks")
    with pytest.raises(httpx.TransportError):
        start(api, "k")
    dqops.fail(Fault.truncated(), on="GET */jobs/k")
    with pytest.raises(httpx.TransportError):
        status(api, "k")
    assert (status(api, "k"), len(dqops.started)) == ("queued", 1)
