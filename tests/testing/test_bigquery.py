"""The fake BigQuery keeps the rules of the real one: ids, locations, states over time, lists, fields."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import httpx
import pytest

from ork_provider.testing import FakeBigQuery, Outcome
from ork_provider.testing.bigquery_wire import infer_schema, wire_rows
from tests.support.discovery import Discovery
from tests.support.ticks import Ticks

DISCOVERY = Discovery("bigquery", "v2")


def insert(http: httpx.Client, job_id: str | None = None, sql: str = "SELECT 1", **reference: str) -> httpx.Response:
    names = {"projectId": "p", "jobId": job_id, **reference}
    body: dict[str, Any] = {"configuration": {"query": {"query": sql, "useLegacySql": False}}}
    return http.post("/jobs", json=body | {"jobReference": {k: v for k, v in names.items() if v}})


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["errors"][0]["reason"], error["message"]


def test_states_follow_the_clock(fake: FakeBigQuery, http: httpx.Client, ticks: Ticks) -> None:
    """PENDING for 1 s, RUNNING for 10 s, then DONE with times that add up."""
    insert(http, "j")
    seen = []
    for wait in (0, 0.9, 0.2, 9.8, 0.2):
        ticks.seconds += wait
        seen.append(http.get("/jobs/j").json()["status"]["state"])
    assert seen == ["PENDING", "PENDING", "RUNNING", "RUNNING", "DONE"]
    stats = http.get("/jobs/j").json()["statistics"]
    created, started, ended = (int(stats[n]) for n in ("creationTime", "startTime", "endTime"))
    assert (started - created, ended - started) == (1000, 10000)
    assert (stats["totalSlotMs"], stats["query"]["totalBytesBilled"]) == ("10000", "10485760")
    assert abs(created / 1000 - dt.datetime.now().timestamp()) < 60
    assert [job.state for job in fake.inserted] == ["DONE"]
    DISCOVERY.check_log(fake.requests)


def test_live_and_generated_ids(fake: FakeBigQuery, http: httpx.Client, ticks: Ticks) -> None:
    ids = {insert(http).json()["jobReference"]["jobId"] for _ in range(3)}
    assert len(ids) == 3
    assert {job.job_id for job in fake.live()} == ids == set(fake.jobs)
    ticks.seconds += 11
    assert fake.live() == []


def test_duplicate_id(fake: FakeBigQuery, http: httpx.Client) -> None:
    """The same id in the same location is a 409 in Google's words; elsewhere it is another job."""
    assert insert(http, "j", location="EU").status_code == 200
    assert error_of(insert(http, "j", location="EU")) == (409, "duplicate", "Already Exists: Job p:EU.j")
    assert insert(http, "j", location="US").status_code == 200
    assert len(fake.inserted) == 2


@pytest.mark.parametrize("job_id", ["a b", "a/b", "ä", "x" * 1025])
def test_bad_job_id(fake: FakeBigQuery, http: httpx.Client, job_id: str) -> None:
    status, reason, message = error_of(insert(http, job_id))
    assert (status, reason) == (400, "invalid")
    assert f'Invalid job ID "{job_id}"' in message
    assert not fake.jobs


def test_longest_job_id(http: httpx.Client) -> None:
    assert insert(http, "x" * 1024).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "Required parameter is missing: configuration"),
        ({"configuration": {"labels": {}}}, "Required parameter is missing: configuration"),
        ({"configuration": {"query": {"query": " "}}}, "Required parameter is missing: query"),
        ({"configuration": {"query": {"query": "x"}, "labels": {"Key": "v"}}}, 'Label key "Key"'),
        ({"configuration": {"query": {"query": "x"}, "labels": {"k": "V v"}}}, 'Label value "V v"'),
        ({"configuration": {"query": {"query": "x"}}, "jobReference": {"projectId": "q"}}, "is not p"),
    ],
)
def test_bad_insert(fake: FakeBigQuery, http: httpx.Client, body: dict[str, Any], said: str) -> None:
    """What the service refuses is refused with 400 and leaves no job."""
    status, _, message = error_of(http.post("/jobs", json=body))
    assert (status, said in message) == (400, True)
    assert not fake.inserted


@pytest.mark.parametrize(
    ("at", "asked", "found"),
    [
        ("US", None, True),
        ("EU", None, True),
        ("EU", "eu", True),
        ("EU", "US", False),
        ("europe-west1", None, False),
        ("europe-west1", "europe-west1", True),
        ("europe-west1", "EU", False),
    ],
)
@pytest.mark.parametrize("call", ["GET /jobs/j", "POST /jobs/j/cancel", "GET /queries/j"])
def test_location_rules(http: httpx.Client, at: str, asked: str | None, found: bool, call: str) -> None:
    """Without a location only the multi-regions are searched; a wrong one finds nothing."""
    insert(http, "j", location=at)
    method, path = call.split()
    answer = http.request(method, path, params={"timeoutMs": 0} | ({"location": asked} if asked else {}))
    assert answer.status_code == (200 if found else 404)
    if not found:
        assert error_of(answer)[1:] == ("notFound", f"Not found: Job p:{asked}.j" if asked else "Not found: Job p:j")


def test_cancel(fake: FakeBigQuery, http: httpx.Client, ticks: Ticks) -> None:
    """A running job ends as stopped; a job that is done stays as it is."""
    insert(http, "a")
    insert(http, "b")
    ticks.seconds += 5
    answer = http.post("/jobs/a/cancel").json()
    assert answer["kind"] == "bigquery#jobCancelResponse"
    assert answer["job"]["status"]["errorResult"]["reason"] == "stopped"
    ticks.seconds += 20
    done = http.post("/jobs/b/cancel").json()["job"]["status"]
    assert done == {"state": "DONE"}
    assert [job.job_id for job in fake.cancelled] == ["a"]
    assert fake.jobs["a"].cancelled_at == 1005.0
    DISCOVERY.check_log(fake.requests)


def test_slow_cancel(fake: FakeBigQuery, http: httpx.Client, ticks: Ticks) -> None:
    """A job may run on for a while after jobs.cancel."""
    fake.script("SELECT", Outcome(0, 60, cancelling=3))
    insert(http, "a")
    http.post("/jobs/a/cancel")
    ticks.seconds += 2.9
    assert [job.job_id for job in fake.live()] == ["a"]
    ticks.seconds += 0.2
    assert http.get("/jobs/a").json()["status"]["errorResult"]["reason"] == "stopped"


def test_list(fake: FakeBigQuery, http: httpx.Client, ticks: Ticks) -> None:
    """Newest first, by state, in pages that stay right while jobs end."""
    for number in range(5):
        insert(http, f"j{number}")
        ticks.seconds += 3
    ticks.seconds -= 3  # now the jobs are 12, 9, 6, 3 and 0 seconds old

    def listed(**query: Any) -> tuple[list[str], str | None]:
        answer = http.get("/jobs", params=query).json()
        return [job["jobReference"]["jobId"] for job in answer.get("jobs", [])], answer.get("nextPageToken")

    assert listed() == (["j4", "j3", "j2", "j1", "j0"], None)
    assert listed(stateFilter=["running", "pending"])[0] == ["j4", "j3", "j2", "j1"]
    assert listed(stateFilter="pending")[0] == ["j4"]
    assert listed(stateFilter="done")[0] == ["j0"]
    page, token = listed(stateFilter=["running", "pending"], maxResults=2)
    assert page == ["j4", "j3"]
    ticks.seconds += 3  # j1 ends between two pages
    assert listed(stateFilter=["running", "pending"], maxResults=2, pageToken=token) == (["j2"], None)
    second = fake.epoch_ms(1003.0)
    assert listed(minCreationTime=second, maxCreationTime=second)[0] == ["j1"]
    assert listed(parentJobId="j1")[0] == []
    DISCOVERY.check_log(fake.requests)


def test_list_projection(fake: FakeBigQuery, http: httpx.Client) -> None:
    insert(http, "j")
    assert "configuration" not in http.get("/jobs").json()["jobs"][0]
    full = http.get("/jobs", params={"projection": "full"}).json()["jobs"][0]
    assert full["configuration"]["query"]["query"] == "SELECT 1"
    DISCOVERY.check_log(fake.requests)


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        ("jobs/id", {"jobs": [{"id": "p:US.j"}]}),
        (
            "kind,jobs(id,status/state)",
            {"kind": "bigquery#jobList", "jobs": [{"id": "p:US.j", "status": {"state": "PENDING"}}]},
        ),
        (
            "jobs/jobReference(jobId,location),nextPageToken",
            {"jobs": [{"jobReference": {"jobId": "j", "location": "US"}}]},
        ),
        ("jobs/status(*)", {"jobs": [{"status": {"state": "PENDING"}}]}),
    ],
)
def test_fields_mask(http: httpx.Client, mask: str, kept: dict[str, Any]) -> None:
    """`fields` cuts an answer to what it names."""
    insert(http, "j")
    assert http.get("/jobs", params={"fields": mask}).json() == kept


@pytest.mark.parametrize("mask", ["jobs(id", "a/", ")", "a)b"])
def test_bad_fields_mask(http: httpx.Client, mask: str) -> None:
    assert error_of(http.get("/jobs", params={"fields": mask}))[:2] == (400, "invalidParameter")


def test_get_with_fields(http: httpx.Client) -> None:
    insert(http, "j")
    assert http.get("/jobs/j", params={"fields": "status/state,id"}).json() == {
        "status": {"state": "PENDING"},
        "id": "p:US.j",
    }


def test_scripted_outcomes(fake: FakeBigQuery, http: httpx.Client, ticks: Ticks) -> None:
    """Scripts match the SQL or the configuration; the last one wins; statistics are merged."""
    error = {"reason": "accessDenied", "message": "Access Denied: Table p:d.t", "location": "t"}
    fake.script("d.t", Outcome(0, 1, error=error))
    fake.script(lambda c: c.get("labels") == {"slow": "1"}, Outcome(0, 100))
    fake.script("cached", Outcome(0, 1, statistics={"query": {"cacheHit": True, "totalBytesBilled": "0"}}))
    insert(http, "failed", "SELECT * FROM d.t")
    insert(http, "cached", "SELECT cached")
    http.post("/jobs", json={"configuration": {"labels": {"slow": "1"}, "query": {"query": "d.t"}}})
    ticks.seconds += 2
    assert http.get("/jobs/failed").json()["status"] == {"state": "DONE", "errorResult": error, "errors": [error]}
    stats = http.get("/jobs/cached").json()["statistics"]["query"]
    assert (stats["cacheHit"], stats["totalBytesBilled"], stats["totalBytesProcessed"]) == (True, "0", "10485760")
    assert len(fake.live()) == 1
    assert error_of(http.get("/queries/failed")) == (403, "accessDenied", "Access Denied: Table p:d.t")
    DISCOVERY.check_log(fake.requests)


def test_dml_statistics(fake: FakeBigQuery, http: httpx.Client, ticks: Ticks) -> None:
    insert(http, "j", "-- note\nDELETE FROM d.t WHERE true")
    ticks.seconds += 20
    stats = http.get("/jobs/j").json()["statistics"]["query"]
    assert (stats["statementType"], stats["numDmlAffectedRows"], stats["dmlStats"]) == (
        "DELETE",
        "1",
        {"deletedRowCount": "1"},
    )
    assert http.get("/queries/j").json()["numDmlAffectedRows"] == "1"
    DISCOVERY.check_log(fake.requests)


def test_results_in_pages(fake: FakeBigQuery, http: httpx.Client, ticks: Ticks) -> None:
    """Results say jobComplete=false while the job runs, then give typed rows page by page."""
    fake.script("SELECT", Outcome(0, 5, rows=[{"n": n} for n in range(5)]))
    insert(http, "j")
    assert http.get("/queries/j", params={"timeoutMs": 0}).json()["jobComplete"] is False
    ticks.seconds += 6
    rows: list[str] = []
    token: dict[str, str] = {}
    for _ in range(3):
        page = http.get("/queries/j", params={"maxResults": 2, **token}).json()
        rows += [row["f"][0]["v"] for row in page["rows"]]
        token = {"pageToken": page.get("pageToken", "")}
    assert rows == ["0", "1", "2", "3", "4"]
    assert token == {"pageToken": ""}
    assert page["schema"] == {"fields": [{"name": "n", "type": "INTEGER", "mode": "NULLABLE"}]}
    assert "rows" not in http.get("/queries/j", params={"maxResults": 0}).json()
    assert http.get("/queries/j", params={"startIndex": 3}).json()["rows"][0] == {"f": [{"v": "3"}]}
    DISCOVERY.check_log(fake.requests)


def test_wire_shape() -> None:
    """Each type in the form that the API documents; schemas derived from Python values."""
    utc = dt.timezone.utc
    row = {
        "b": True,
        "i": 2**60,
        "x": 0.1,
        "inf": float("inf"),
        "n": Decimal("1.50"),
        "s": "é",
        "y": b"ab",
        "d": dt.date(2012, 1, 2),
        "t": dt.datetime(2014, 8, 19, 12, 41, 35, 220000, utc),
        "l": dt.datetime(2020, 1, 1, 10, 0),
        "r": [1, 2],
        "o": {"k": [None, "v"]},
        "none": None,
    }
    schema = infer_schema([row])
    types = " ".join(field["type"] for field in schema)
    assert types == "BOOLEAN INTEGER FLOAT FLOAT NUMERIC STRING BYTES DATE TIMESTAMP DATETIME INTEGER RECORD STRING"
    assert [field["name"] for field in schema if field["mode"] == "REPEATED"] == ["r"]
    values = [cell["v"] for cell in wire_rows([row], schema)[0]["f"]]
    assert values == [
        "true",
        str(2**60),
        "0.1",
        "Infinity",
        "1.5",
        "é",
        "YWI=",
        "2012-01-02",
        "1.40845209522E9",
        "2020-01-01T10:00:00",
        [{"v": "1"}, {"v": "2"}],
        {"f": [{"v": [{"v": None}, {"v": "v"}]}]},
        None,
    ]
    assert wire_rows([row], schema, int64_timestamps=True)[0]["f"][8] == {"v": "1408452095220000"}


def test_dry_run(fake: FakeBigQuery, http: httpx.Client) -> None:
    """A dry run answers a finished job with bytes and stores nothing; a bad query is a 400."""
    body = {"configuration": {"dryRun": True, "query": {"query": "SELECT 1"}}}
    job = http.post("/jobs", json=body).json()
    assert (job["status"], job["statistics"]["totalBytesProcessed"]) == ({"state": "DONE"}, "10485760")
    assert not fake.jobs
    fake.script("SELECT", Outcome(error={"reason": "invalidQuery", "message": "Syntax error"}))
    assert error_of(http.post("/jobs", json=body)) == (400, "invalidQuery", "Syntax error")
    DISCOVERY.check_log(fake.requests)


def test_delete(fake: FakeBigQuery, http: httpx.Client) -> None:
    insert(http, "j")
    assert http.delete("/jobs/j/delete").status_code == 204
    assert http.get("/jobs/j").status_code == 404
    DISCOVERY.check_log(fake.requests)


def test_short_paths(fake: FakeBigQuery) -> None:
    """Clients that are pointed at the host alone leave /bigquery/v2 away."""
    with httpx.Client(base_url=f"{fake.url}/projects/p") as http:
        assert insert(http, "j").status_code == 200


def test_tokens(ticks: Ticks) -> None:
    """With require_auth only tokens issued here open the door, until they expire or are revoked."""
    with (
        FakeBigQuery(require_auth=True, token_seconds=100, clock=ticks) as fake,
        httpx.Client(base_url=fake.url) as http,
    ):

        def status(token: str) -> int:
            return http.get("/projects/p/jobs", headers={"Authorization": f"Bearer {token}"}).status_code

        def issued() -> str:
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.e30.c"}
            answer = http.post("/token", data=form).json()
            assert answer["expires_in"] == 100
            return str(answer["access_token"])

        assert error_of(http.get("/projects/p/jobs"))[:2] == (401, "authError")
        first = issued()
        assert [status(first), status("other")] == [200, 401]
        ticks.seconds += 100
        assert status(first) == 401
        second = issued()
        assert status(second) == 200
        fake.revoke_tokens()
        assert [status(second), status(issued())] == [401, 200]
        assert len(fake.calls("POST", "/token")) == 3


def test_service_account_key_works(ticks: Ticks) -> None:
    """google-auth gets a token here from a key file whose token_uri points here."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.auth.transport.requests import Request
    from google.oauth2.service_account import Credentials

    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with FakeBigQuery(require_auth=True) as fake, httpx.Client(base_url=f"{fake.url}/projects/p") as http:
        info = {"client_email": "me@p.iam", "private_key": pem.decode(), "token_uri": f"{fake.url}/token"}
        credentials = Credentials.from_service_account_info(info, scopes=["scope"])
        credentials.refresh(Request())
        http.headers["Authorization"] = f"Bearer {credentials.token}"
        assert insert(http, "j").json()["user_email"] == "me@p.iam"
        fake._tokens.issued["other"] = ("you@p.iam", float("inf"))
        http.headers["Authorization"] = "Bearer other"
        assert "jobs" not in http.get("/jobs").json()
        assert len(http.get("/jobs", params={"allUsers": "true"}).json()["jobs"]) == 1
