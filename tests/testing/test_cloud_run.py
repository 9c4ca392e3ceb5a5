"""The fake Cloud Run: the life of executions, their tasks, overrides, lists, cancels, operations and local commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from ork_provider.testing import ExecutionOutcome, FakeBigQuery, FakeCloudRun, FakeExecution
from ork_provider.testing.google_connection import google_connections
from tests.support.discovery import Discovery
from tests.support.ticks import Ticks

DISCOVERY = Discovery("run", "v2")
PARENT = "projects/p/locations/r"


@pytest.fixture
def cloud_run(ticks: Ticks) -> Iterator[FakeCloudRun]:
    """Serve a Cloud Run whose executions are PENDING for 1 s and RUNNING for 10 s of the test's own clock."""
    with FakeCloudRun(pending=1, running=10, clock=ticks, keep_answers=True) as server:
        yield server
        DISCOVERY.check_log(server.requests)


@pytest.fixture
def api(cloud_run: FakeCloudRun) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{cloud_run.url}/v2/{PARENT}") as client:
        yield client


def run(api: httpx.Client, job: str = "nightly", **overrides: Any) -> str:
    """Run a job; return the path of its execution."""
    answer = api.post(f"/jobs/{job}:run", json={"overrides": overrides} if overrides else {})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["metadata"]["name"]).removeprefix(PARENT)


def completed(execution: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in execution["conditions"] if c["type"] == "Completed")


def test_life(cloud_run: FakeCloudRun, api: httpx.Client, ticks: Ticks) -> None:
    """PENDING has no startTime, RUNNING no completionTime; numbers that are 0 are left out."""
    path = run(api)
    pending = api.get(path).json()
    assert "startTime" not in pending
    assert (pending["taskCount"], pending["reconciling"]) == (1, True)
    assert not {"succeededCount", "runningCount", "failedCount"} & set(pending)
    ticks.seconds += 5
    running = api.get(path).json()
    assert (running["runningCount"], "completionTime" in running) == (1, False)
    assert completed(running)["state"] == "CONDITION_RECONCILING"
    ticks.seconds += 10
    done = api.get(path).json()
    assert (done["succeededCount"], completed(done)["state"]) == (1, "CONDITION_SUCCEEDED")
    assert done["createTime"] < done["startTime"] < done["completionTime"]
    assert cloud_run.started[0].state == "SUCCEEDED"
    assert cloud_run.live() == []


def test_tasks_end_one_after_the_other(cloud_run: FakeCloudRun, api: httpx.Client, ticks: Ticks) -> None:
    """Those that fail come first, those that the service gives up last; retries are told from halfway on."""
    cloud_run.script("night", ExecutionOutcome(0, 10, tasks=5, failed=1, retried=2, cancelled=1, message="Bad."))
    path = run(api)
    seen = []
    for _ in range(6):
        now = api.get(path).json()
        names = ("runningCount", "succeededCount", "failedCount", "cancelledCount", "retriedCount")
        seen.append(tuple(now.get(name, 0) for name in names))
        ticks.seconds += 2
    assert seen == [
        (5, 0, 0, 0, 0),
        (4, 0, 1, 0, 0),
        (3, 1, 1, 0, 0),
        (2, 2, 1, 0, 2),
        (1, 3, 1, 0, 2),
        (0, 3, 1, 1, 2),
    ]
    end = completed(api.get(path).json())
    assert (end["message"], end["executionReason"]) == ("Bad.", "NON_ZERO_EXIT_CODE")
    assert cloud_run.started[0].state == "FAILED"


def test_cancel(cloud_run: FakeCloudRun, api: httpx.Client, ticks: Ticks) -> None:
    """What has not ended is cancelled, after a while if the script says so; a second cancel is refused."""
    cloud_run.script("nightly", ExecutionOutcome(0, 10, tasks=2, cancelling=3))
    path = run(api)
    ticks.seconds += 6
    assert "done" not in api.post(f"{path}:cancel", json={}).json()
    assert completed(api.get(path).json())["executionReason"] == "CANCELLING"
    assert api.post(f"{path}:cancel", json={}).json()["error"]["status"] == "FAILED_PRECONDITION"
    ticks.seconds += 3
    end = api.get(path).json()
    assert (end["succeededCount"], end["cancelledCount"]) == (1, 1)
    assert (completed(end)["state"], completed(end)["executionReason"]) == ("CONDITION_FAILED", "CANCELLED")
    assert [execution.state for execution in cloud_run.cancelled] == ["CANCELLED"]
    refused = api.post(f"{path}:cancel", json={})
    assert (refused.status_code, refused.json()["error"]["status"]) == (400, "FAILED_PRECONDITION")


def test_cancel_before_the_start(cloud_run: FakeCloudRun, api: httpx.Client) -> None:
    """An execution that was cancelled while it was PENDING never started; only its condition says that it ended."""
    path = run(api, taskCount=3)
    api.post(f"{path}:cancel", json={})
    end = api.get(path).json()
    assert (end["cancelledCount"], "startTime" in end, "completionTime" in end) == (3, False, False)
    assert (completed(end)["state"], completed(end)["executionReason"]) == ("CONDITION_FAILED", "CANCELLED")


def test_list_is_newest_first_and_in_pages(cloud_run: FakeCloudRun, api: httpx.Client) -> None:
    """A page token leads on to older executions of the same job; other jobs are not listed."""
    paths = [run(api) for _ in range(5)]
    run(api, "hourly")
    token, seen = "", []
    while True:
        page = api.get("/jobs/nightly/executions", params={"pageSize": 2, "pageToken": token}).json()
        seen += [execution["name"].removeprefix(PARENT) for execution in page["executions"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert seen == paths[::-1]
    assert api.get("/jobs/weekly/executions").json() == {}


def test_execution_that_is_listed_late(cloud_run: FakeCloudRun, api: httpx.Client, ticks: Ticks) -> None:
    """A script may keep an execution out of the list for a while; it can be asked for meanwhile."""
    cloud_run.script("nightly", ExecutionOutcome(appears_after=3))
    path = run(api)
    assert api.get("/jobs/nightly/executions").json() == {}
    assert api.get(path).status_code == 200
    ticks.seconds += 3
    assert len(api.get("/jobs/nightly/executions").json()["executions"]) == 1


def test_fields_mask(api: httpx.Client) -> None:
    """A mask cuts the answer to its fields."""
    path = run(api)
    assert set(api.get(path, params={"fields": "name,conditions(type)"}).json()) == {"name", "conditions"}


def test_overrides(cloud_run: FakeCloudRun, api: httpx.Client) -> None:
    """Arguments replace, variables are merged by name, the task count and the timeout are the request's."""
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    run(api, taskCount=3, timeout="60s", containerOverrides=[{"args": ["x"], "env": env}])
    (execution,) = cloud_run.started
    (container,) = execution.template["containers"]
    assert (execution.task_count, execution.template["timeout"]) == (3, "60s")
    assert (container["args"], execution.env) == (["x"], {"A": "2"})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"tasks": 3}, 'Unknown name "tasks"'),
        ({"taskCount": -1}, "task_count"),
        ({"containerOverrides": [{"env": []}]}, "more than one container"),
        ({"containerOverrides": [{"name": "sidecar"}]}, "no container 'sidecar'"),
    ],
)
def test_overrides_that_are_refused(cloud_run: FakeCloudRun, overrides: dict[str, Any], said: str) -> None:
    """Unknown fields, and containers that are not named or not there, are refused; nothing starts."""
    cloud_run.create_job("nightly", ["main", "proxy"])
    url = f"{cloud_run.url}/v2/{PARENT}/jobs/nightly:run"
    answer = httpx.post(url, json={"overrides": overrides})
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (400, True)
    assert not cloud_run.started
    cloud_run.clear_log()  # what is wrong on purpose is not held against Google's description


def test_jobs(cloud_run: FakeCloudRun, api: httpx.Client) -> None:
    """A job tells its containers and its newest execution; the list has those that were made or run."""
    cloud_run.create_job("hourly", ["main", "proxy"])
    path = run(api)
    job = api.get("/jobs/nightly").json()
    assert (job["executionCount"], job["latestCreatedExecution"]["name"]) == (1, path.rpartition("/")[2])
    listed = api.get("/jobs").json()["jobs"]
    assert [item["name"].rpartition("/")[2] for item in listed] == ["hourly", "nightly"]
    assert [c["name"] for c in listed[0]["template"]["template"]["containers"]] == ["main", "proxy"]


def test_job_that_is_not_there() -> None:
    """With `jobs` given no other job exists."""
    with FakeCloudRun(jobs={"nightly": ["main"]}) as server:
        asked = ("jobs/hourly", "jobs/hourly/executions", "jobs/nightly/executions/x")
        for method, path in (*(("GET", path) for path in asked), ("POST", "jobs/hourly:run")):
            answer = httpx.request(method, f"{server.url}/v2/{PARENT}/{path}")
            assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_delete(cloud_run: FakeCloudRun, api: httpx.Client) -> None:
    """A deleted execution is gone."""
    path = run(api)
    assert api.delete(path).status_code == 200
    assert api.get(path).status_code == 404
    assert cloud_run.executions == {}


def test_operations(cloud_run: FakeCloudRun, api: httpx.Client, ticks: Ticks) -> None:
    """The operation of a run is done with its execution: with the execution, or with the error of one that failed."""
    cloud_run.script("bad", ExecutionOutcome(0, 10, failed=1, message="Bad."))
    names = [api.post(f"/jobs/{job}:run", json={}).json()["name"].removeprefix(PARENT) for job in ("good", "bad")]
    assert "done" not in api.post(f"{names[0]}:wait", json={"timeout": "0.05s"}).json()
    ticks.seconds += 20
    good, bad = (api.get(name).json() for name in names)
    assert good["response"]["succeededCount"] == 1
    assert bad["error"]["message"] == "Bad."
    assert api.get("/operations/other").status_code == 404


def test_tokens(ticks: Ticks) -> None:
    """With `require_auth` a request needs a token of the fake's own."""
    with FakeCloudRun(require_auth=True, clock=ticks) as server:
        url = f"{server.url}/v2/{PARENT}/jobs/nightly:run"
        assert httpx.post(url, json={}).status_code == 401
        token = httpx.post(f"{server.url}/token", data={"grant_type": "x"}).json()["access_token"]
        assert httpx.post(url, json={}, headers={"Authorization": f"Bearer {token}"}).status_code == 200
        server.revoke_tokens()
        assert httpx.post(url, json={}, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_one_connection_for_all_of_google() -> None:
    """The fakes of Google's services are reached over one connection."""
    with FakeBigQuery() as bigquery, FakeCloudRun() as server:
        (value,) = google_connections(bigquery, server).values()
        assert f'"api_endpoints":{{"bigquery":"{bigquery.url}","run":"{server.url}"}}' in value


# Local commands ---------------------------------------------------------------------------------------


def served(code: str, **server: Any) -> FakeCloudRun:
    """Return a Cloud Run whose job `nightly` runs Python code."""
    return FakeCloudRun(commands={"nightly": [sys.executable, "-c", code]}, **server)


def started(server: FakeCloudRun, **overrides: Any) -> FakeExecution:
    url = f"{server.url}/v2/{PARENT}/jobs/nightly:run"
    assert httpx.post(url, json={"overrides": overrides}).status_code == 200
    return server.started[-1]


def wait_for(execution: FakeExecution) -> None:
    until = time.monotonic() + 20
    while not execution.done and time.monotonic() < until:
        time.sleep(0.02)


def log_of(execution: FakeExecution) -> Path:
    uri = execution.work.log_uri
    assert uri is not None
    return Path(unquote(urlsplit(uri).path))


def test_command_gets_the_environment_and_arguments_of_a_task() -> None:
    """Each task runs the command with Cloud Run's own variables, the overrides' and their arguments."""
    said = "e['CLOUD_RUN_TASK_INDEX'], e['CLOUD_RUN_TASK_COUNT'], e['DAY'], *sys.argv[1:]"
    # One write for a line: the tasks share the log, and print() makes several where output is unbuffered.
    code = f"import os, sys; e = os.environ; sys.stdout.write(' '.join([{said}]) + '\\n')"
    with served(code) as server:
        overrides = [{"args": ["a", "b c"], "env": [{"name": "DAY", "value": "monday"}]}]
        execution = started(server, taskCount=2, containerOverrides=overrides)
        wait_for(execution)
        assert execution.state == "SUCCEEDED"
        log = log_of(execution)
        assert sorted(log.read_text().splitlines()) == ["0 2 monday a b c", "1 2 monday a b c"]
    assert not log.exists()


def test_exit_codes_decide() -> None:
    """A task whose command ends with another code than 0 has failed; the message says which and with what."""
    code = "import os, sys; sys.exit(3 * (os.environ['CLOUD_RUN_TASK_INDEX'] == '1'))"
    with served(code) as server:
        execution = started(server, taskCount=3)
        wait_for(execution)
    assert (execution.state, execution.counts.succeeded, execution.counts.failed) == ("FAILED", 2, 1)
    assert f"Task {execution.execution_id}-task1 failed" in execution.work.message
    assert "exit code 3" in execution.work.message


def test_timeout_of_a_task() -> None:
    """A task that takes longer than the timeout is ended, and has failed."""
    with served("import time; time.sleep(60)") as server:
        execution = started(server, timeout="0.2s")
        wait_for(execution)
    assert execution.state == "FAILED"
    assert "timeout was reached" in execution.work.message


def test_cancel_of_local_tasks() -> None:
    """A cancel ends the processes, also one that then says that all was well, and starts no further ones."""
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('on', flush=True); time.sleep(60)"
    )
    with served(code) as server:
        execution = started(server, taskCount=20)
        while not (log_of(execution).exists() and log_of(execution).read_text()):
            time.sleep(0.02)
        execution.cancel()
        wait_for(execution)
    assert execution.state == "CANCELLED"
    assert execution.counts.cancelled == 20


def test_stop_ends_local_tasks() -> None:
    """A server that is stopped leaves no process behind."""
    with served("import time; time.sleep(60)") as server:
        execution = started(server, taskCount=2)
        while execution.counts.running < 2:
            time.sleep(0.01)
    assert execution.counts.cancelled == 2
