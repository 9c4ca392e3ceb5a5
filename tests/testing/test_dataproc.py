"""The fake Dataproc keeps the rules of the real one: ids, states over time, request ids, lists; it runs local files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from ork_provider.testing import DataprocOutcome, FakeDataproc, FakeDataprocBatch, FakeDataprocJob
from tests.support.discovery import Discovery
from tests.support.ticks import Ticks

JOBS = "/v1/projects/p/regions/r/jobs"
BATCHES = "/v1/projects/p/locations/r/batches"
PYSPARK = {"mainPythonFileUri": "gs://b/main.py"}


@pytest.fixture
def fake(ticks: Ticks) -> Iterator[FakeDataproc]:
    """Serve a Dataproc whose jobs are PENDING for 1 s and RUNNING for 10 s of the test's own clock."""
    with FakeDataproc(pending=1, running=10, clock=ticks, keep_answers=True) as server:
        yield server
        Discovery("dataproc", "v1").check_log([r for r in server.requests if (r.status or 500) < 300])


@pytest.fixture
def http(fake: FakeDataproc) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake.url) as client:
        yield client


def submit(http: httpx.Client, job_id: str | None = "j", request_id: str | None = None, **job: Any) -> httpx.Response:
    reference = {"reference": {"jobId": job_id}} if job_id else {}
    resource = {"placement": {"clusterName": "c"}, "pysparkJob": PYSPARK, **reference, **job}
    return http.post(f"{JOBS}:submit", json={"job": resource, **({"requestId": request_id} if request_id else {})})


def create(http: httpx.Client, batch_id: str | None = "batch", **params: str) -> httpx.Response:
    query = {**({"batchId": batch_id} if batch_id else {}), **params}
    return http.post(BATCHES, params=query, json={"pysparkBatch": PYSPARK})


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["status"], error["message"]


def states_of(http: httpx.Client, path: str, ticks: Ticks, waits: tuple[float, ...]) -> list[str]:
    seen = []
    for wait in waits:
        ticks.seconds += wait
        found = http.get(path).json()
        seen.append(found.get("state") or found["status"]["state"])
    return seen


# -- states ------------------------------------------------------------------------------------------------


def test_job_follows_the_clock(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """PENDING, SETUP_DONE, RUNNING with growing progress, DONE; the history holds the times."""
    fake.script("main.py", DataprocOutcome(pending=1, running=10, setup=0.5))
    submit(http)
    progress = []
    seen = []
    for wait in (0, 0.6, 0.5, 4.9, 5.0):
        ticks.seconds += wait
        job = http.get(f"{JOBS}/j").json()
        seen.append(job["status"]["state"])
        progress += [app["progress"] for app in job.get("yarnApplications", [])]
    assert seen == ["PENDING", "SETUP_DONE", "RUNNING", "RUNNING", "DONE"]
    assert progress == [0.01, 0.5, 1.0]
    assert [s["state"] for s in job["statusHistory"]] == ["PENDING", "SETUP_DONE", "RUNNING"]
    assert job["done"] is True
    assert job["driverOutputResourceUri"].endswith("/driveroutput")
    assert (fake.live(), fake.started[0].state) == ([], "DONE")


def test_failed_attempts(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """A restartable job shows ATTEMPT_FAILURE between two times of RUNNING."""
    fake.script("main.py", DataprocOutcome(pending=0, running=3, failed_attempts=1))
    submit(http)
    states = states_of(http, f"{JOBS}/j", ticks, (0.5, 1, 1, 1))
    assert states == ["RUNNING", "ATTEMPT_FAILURE", "RUNNING", "DONE"]


def test_batch_follows_the_clock(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """A batch has three states; its operation is done when it is, and its usage is known then."""
    operation = create(http).json()
    assert operation["metadata"]["batch"] == "projects/p/locations/r/batches/batch"
    assert states_of(http, f"{BATCHES}/batch", ticks, (0, 1, 10)) == ["PENDING", "RUNNING", "SUCCEEDED"]
    done = http.get(f"/v1/{operation['name']}").json()
    assert (done["done"], done["response"]["state"]) == (True, "SUCCEEDED")
    assert done["response"]["runtimeInfo"]["approximateUsage"]["milliDcuSeconds"] == "80000"
    assert [s["state"] for s in done["response"]["stateHistory"]] == ["PENDING", "RUNNING"]


def test_error(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """A script's error is what the service says; a part of the job or a callable chooses the script."""
    fake.script(lambda resource: "pysparkBatch" in resource, DataprocOutcome(0, 1, error="of the batch"))
    fake.script('"clusterName": "c"', DataprocOutcome(0, 1, error="of the job"))
    submit(http)
    operation = create(http).json()["name"]
    ticks.seconds += 1
    assert http.get(f"{JOBS}/j").json()["status"]["details"] == "of the job"
    assert http.get(f"{BATCHES}/batch").json()["stateMessage"] == "of the batch"
    assert http.get(f"/v1/{operation}").json()["error"] == {"code": 10, "message": "of the batch"}


# -- cancel and delete -------------------------------------------------------------------------------------


def test_cancel_of_a_job(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """A cancel takes its time, and is refused in any state but PENDING and RUNNING."""
    fake.script("main.py", DataprocOutcome(pending=1, running=10, setup=0.5, cancelling=2))
    submit(http)
    ticks.seconds += 0.6
    refused = (400, "FAILED_PRECONDITION", "Cannot cancel jobId 'j' in projectId 'p' in state: 'SETUP_DONE'")
    assert error_of(http.post(f"{JOBS}/j:cancel", json={}))[:2] == refused[:2]
    assert refused[2] in error_of(http.post(f"{JOBS}/j:cancel", json={}))[2]
    ticks.seconds += 1
    assert http.post(f"{JOBS}/j:cancel", json={}).json()["status"]["state"] == "CANCEL_PENDING"
    assert states_of(http, f"{JOBS}/j", ticks, (1.1, 1)) == ["CANCEL_STARTED", "CANCELLED"]
    assert error_of(http.post(f"{JOBS}/j:cancel", json={}))[1] == "FAILED_PRECONDITION"
    assert [job.name for job in fake.cancelled] == ["j"]
    assert http.get(f"{JOBS}/j").json()["yarnApplications"][0]["state"] == "KILLED"


def test_cancel_of_a_batch(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """A batch is cancelled by its operation."""
    fake.script("main.py", DataprocOutcome(pending=1, running=10, cancelling=2))
    operation = create(http).json()["name"]
    assert http.post(f"/v1/{operation}:cancel").json() == {}
    assert states_of(http, f"{BATCHES}/batch", ticks, (0, 2)) == ["CANCELLING", "CANCELLED"]
    assert http.get(f"/v1/{operation}").json()["error"]["code"] == 1
    assert error_of(http.post(f"/v1/{operation}:cancel"))[1] == "FAILED_PRECONDITION"
    assert error_of(http.post(f"/v1/{operation}x:cancel"))[1] == "NOT_FOUND"


def test_cancel_at_the_end_comes_too_late(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """A job that ends by itself while it is being cancelled ends as it would have."""
    fake.script("main.py", DataprocOutcome(pending=0, running=3, cancelling=5))
    submit(http)
    ticks.seconds += 1
    http.post(f"{JOBS}/j:cancel", json={})
    assert states_of(http, f"{JOBS}/j", ticks, (0, 2)) == ["CANCEL_PENDING", "DONE"]


def test_delete(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """Only what has ended can be deleted; then it is unknown."""
    submit(http)
    create(http)
    for path in (f"{JOBS}/j", f"{BATCHES}/batch"):
        assert error_of(http.delete(path))[1] == "FAILED_PRECONDITION"
    ticks.seconds += 11
    for path in (f"{JOBS}/j", f"{BATCHES}/batch"):
        assert http.delete(path).json() == {}
        assert error_of(http.get(path))[:2] == (404, "NOT_FOUND")


# -- ids ---------------------------------------------------------------------------------------------------


def test_request_id(fake: FakeDataproc, http: httpx.Client) -> None:
    """The same request id is answered with the first job; the same job id without it is a 409."""
    first = submit(http, request_id="r1").json()
    assert submit(http, request_id="r1").json()["jobUuid"] == first["jobUuid"]
    assert error_of(submit(http, request_id="r2"))[:2] == (409, "ALREADY_EXISTS")
    assert error_of(submit(http))[2] == "Already exists: Job projects/p/regions/r/jobs/j"
    operation = create(http, requestId="r1").json()["name"]
    assert create(http, requestId="r1").json()["name"] == operation
    assert error_of(create(http, requestId="r2"))[:2] == (409, "ALREADY_EXISTS")
    assert (len(fake.started), len(fake.started_batches)) == (1, 1)


def test_generated_ids(fake: FakeDataproc, http: httpx.Client) -> None:
    """Without an id the service makes one."""
    assert len({submit(http, None).json()["reference"]["jobId"] for _ in range(2)}) == 2
    create(http, None)
    assert len(fake.jobs) == 2
    assert [type(item) for item in fake.live()] == [FakeDataprocJob, FakeDataprocJob, FakeDataprocBatch]
    assert (len(fake.live_jobs()), len(fake.live_batches())) == (2, 1)


@pytest.mark.parametrize(
    "send",
    [
        lambda http: submit(http, "a b"),
        lambda http: submit(http, "x" * 101),
        lambda http: submit(http, request_id="x" * 41),
        lambda http: submit(http, placement={}),
        lambda http: submit(http, sparkJob={}),
        lambda http: submit(http, pyspark_job={}),
        lambda http: submit(http, labels={"Team": "x"}),
        lambda http: submit(http, labels={"team": "9"}),
        lambda http: submit(http, labels={"team": 9}),
        lambda http: submit(http, labels=["team"]),
        lambda http: submit(http, reference={"projectId": "other"}),
        lambda http: create(http, "abc"),
        lambda http: create(http, "Batch"),
        lambda http: create(http, "a_b-c"),
        lambda http: create(http, "x" * 64),
        lambda http: create(http, requestId="a.b"),
        lambda http: http.post(BATCHES, json={}),
        lambda http: http.post(BATCHES, json=[]),
        lambda http: http.post(f"{JOBS}:submit", json={}),
    ],
)
def test_bad_request(fake: FakeDataproc, http: httpx.Client, send: Callable[[httpx.Client], httpx.Response]) -> None:
    """What the API does not allow is refused, and starts nothing."""
    assert error_of(send(http))[:2] == (400, "INVALID_ARGUMENT")
    assert not fake.live()


def test_longest_ids(http: httpx.Client) -> None:
    """The longest ids of the API are taken."""
    assert submit(http, "x" * 100, "x" * 40).status_code == 200
    assert create(http, "x" * 63, requestId="x" * 40).status_code == 200


# -- lists -------------------------------------------------------------------------------------------------


def ids(answer: httpx.Response) -> list[str]:
    return [job["reference"]["jobId"] for job in answer.json().get("jobs", [])]


def test_list_of_jobs(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """Jobs are listed by state, cluster and label, the newest first, in pages."""
    submit(http, "old")
    ticks.seconds += 20
    submit(http, "other", placement={"clusterName": "d"})
    submit(http, "new", labels={"team": "blue"})
    http.post(f"{JOBS.replace('/r/', '/q/')}:submit", json={"job": {"placement": {"clusterName": "c"}, "hiveJob": {}}})
    listed = {
        "": ["new", "other", "old"],
        "jobStateMatcher=ACTIVE": ["new", "other"],
        "jobStateMatcher=NON_ACTIVE": ["old"],
        "clusterName=d": ["other"],
        "filter=status.state = ACTIVE AND labels.team = blue": ["new"],
        "filter=labels.[team] = *": ["new"],
        "filter=status.state = NON_ACTIVE&jobStateMatcher=ACTIVE": ["old"],
        'filter=insertTime < "2000-01-01T00:00:00Z"': [],
    }
    for query, expected in listed.items():
        assert ids(http.get(f"{JOBS}?{query}")) == expected, query
    page = http.get(JOBS, params={"pageSize": 2})
    assert ids(page) == ["new", "other"]
    assert ids(http.get(JOBS, params={"pageToken": page.json()["nextPageToken"]})) == ["old"]
    assert error_of(http.get(JOBS, params={"filter": "what?"}))[0] == 400
    assert error_of(http.get(JOBS, params={"pageToken": "x"}))[0] == 400


def test_list_of_batches(fake: FakeDataproc, http: httpx.Client, ticks: Ticks) -> None:
    """Batches are listed by state and id."""
    create(http, "first")
    ticks.seconds += 20
    create(http, "second")

    def listed(**params: Any) -> list[str]:
        return [b["name"].rpartition("/")[2] for b in http.get(BATCHES, params=params).json().get("batches", [])]

    assert listed() == ["first", "second"]
    assert listed(orderBy="create_time desc") == ["second", "first"]
    assert listed(filter="state = SUCCEEDED") == ["first"]
    assert listed(filter="state = RUNNING OR state = PENDING") == ["second"]
    assert listed(filter="batch_id = first AND state = PENDING") == []


def test_partial_answers(http: httpx.Client) -> None:
    """`fields` cuts an answer."""
    submit(http)
    assert set(http.get(f"{JOBS}/j", params={"fields": "status/state,jobUuid"}).json()) == {"status", "jobUuid"}


def test_tokens() -> None:
    """With require_auth a request needs a token."""
    with FakeDataproc(require_auth=True) as fake, httpx.Client(base_url=fake.url) as http:
        assert http.get(JOBS).status_code == 401
        token = http.post("/token", data={"grant_type": "x"}).json()["access_token"]
        assert http.get(JOBS, headers={"Authorization": f"Bearer {token}"}).json() == {}


# -- local files -------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
print("args", sys.argv[1:], os.environ.get("TABLE"))
if "wait" in sys.argv:
    time.sleep(60)
sys.exit("no rows" if "fail" in sys.argv else 0)
"""


@pytest.fixture
def local() -> Iterator[FakeDataproc]:
    with FakeDataproc(run_files=True) as server:
        yield server


def run_file(http: httpx.Client, folder: Path, *args: str) -> str:
    """Submit a job that runs a program, wait for its end unless it waits itself, and return its path."""
    (folder / "main file.py").write_text(PROGRAM)
    program = {"mainPythonFileUri": (folder / "main file.py").as_uri(), "args": args}
    name = "-".join(args) or "plain"
    submit(http, name, pysparkJob={**program, "properties": {"spark.yarn.appMasterEnv.TABLE": "sales"}})
    return f"{JOBS}/{name}"


def output_of(uri: str) -> str:
    return Path(unquote(urlsplit(uri).path)).read_text()


def ended(http: httpx.Client, path: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found: dict[str, Any] = http.get(path).json()
        if found.get("state", found.get("status", {}).get("state")) not in ("PENDING", "RUNNING"):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{path} has not ended")


def test_local_file_is_run(local: FakeDataproc, tmp_path: Path) -> None:
    """A PySpark job of a local file runs it, with arguments and environment; its output can be read."""
    with httpx.Client(base_url=local.url) as http:
        job = ended(http, run_file(http, tmp_path, "a", "b"))
        assert (job["status"]["state"], [s["state"] for s in job["statusHistory"]][-1]) == ("DONE", "RUNNING")
        assert output_of(job["driverOutputResourceUri"]) == "args ['a', 'b'] sales\n"
        assert (job["yarnApplications"][0]["name"], job["yarnApplications"][0]["progress"]) == ("main file.py", 1.0)


def test_exit_code_of_a_local_file(local: FakeDataproc, tmp_path: Path) -> None:
    """An exit code other than 0 is a failure, with the last line of the output."""
    with httpx.Client(base_url=local.url) as http:
        job = ended(http, run_file(http, tmp_path, "fail"))
        assert job["status"]["state"] == "ERROR"
        assert job["status"]["details"] == "Job failed with message [no rows], exit code 1"
        missing = ended(http, run_file(http, tmp_path / "..", "fail"))
    assert missing["status"]["state"] == "ERROR"


def test_cancel_of_a_local_file(local: FakeDataproc, tmp_path: Path) -> None:
    """A cancel ends the process."""
    with httpx.Client(base_url=local.url) as http:
        path = run_file(http, tmp_path, "wait")
        assert http.post(f"{path}:cancel", json={}).status_code == 200
        deadline = time.monotonic() + 10
        while local.live() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert http.get(path).json()["status"]["state"] == "CANCELLED"
        process = local.started[0].work.process
        assert (process.poll(), process.returncode) == (True, -15)


def test_local_file_of_a_batch(local: FakeDataproc, tmp_path: Path) -> None:
    """A batch runs a local file too; its environment comes from its runtime properties."""
    (tmp_path / "main.py").write_text(PROGRAM)
    body = {
        "pysparkBatch": {"mainPythonFileUri": (tmp_path / "main.py").as_uri()},
        "runtimeConfig": {"properties": {"spark.dataproc.driverEnv.TABLE": "items"}},
    }
    with httpx.Client(base_url=local.url) as http:
        http.post(BATCHES, params={"batchId": "file"}, json=body)
        batch = ended(http, f"{BATCHES}/file")
        assert (batch["state"], output_of(batch["runtimeInfo"]["outputUri"])) == ("SUCCEEDED", "args [] items\n")


def test_files_are_only_run_if_asked_for(tmp_path: Path) -> None:
    """Without run_files, and for other URIs with it, time passes and nothing runs."""
    with FakeDataproc(pending=0, running=0) as fake, httpx.Client(base_url=fake.url) as http:
        job = ended(http, run_file(http, tmp_path, "fail"))
    assert job["status"]["state"] == "DONE"
    with FakeDataproc(pending=0, running=0, run_files=True) as fake, httpx.Client(base_url=fake.url) as http:
        submit(http)
        assert ended(http, f"{JOBS}/j")["driverOutputResourceUri"].startswith("gs://")


def test_processes_end_with_the_fake(tmp_path: Path) -> None:
    """What still runs when the fake is left is ended, and its log removed."""
    with FakeDataproc(run_files=True) as fake, httpx.Client(base_url=fake.url) as http:
        run_file(http, tmp_path, "wait")
        process = fake.started[0].work.process
        assert not process.poll()
    assert process.poll()
    assert not process.log_path.exists()
    assert fake.started[0].state == "ERROR"
