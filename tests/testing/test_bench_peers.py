"""The benchmark's peers reach the same fakes; what it says of isolation and faults follows from what was seen."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from ork_provider.testing import DataprocOutcome, ExecutionOutcome, FakeCloudRun, FakeDataproc, FakeHttpJobs
from ork_provider.testing.google_connection import PROJECT, REGION

DEV = Path(__file__).resolve().parent.parent.parent / "dev"
PLACE = f"projects/{PROJECT}/locations/{REGION}"


@pytest.fixture(autouse=True)
def _dev(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("duckdb", "psutil", "rich"):
        pytest.importorskip(name, reason="dev's own requirement")
    monkeypatch.syspath_prepend(str(DEV))


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Any]:
    from _bench import grpc_front

    tally = SimpleNamespace(asked={})
    with FakeCloudRun() as cloud_run, FakeDataproc() as dataproc, FakeHttpJobs() as http:
        given: Any = SimpleNamespace(cloud_run=cloud_run, dataproc=dataproc, http=http, latency=0.0, tally=tally)
        given.front = grpc_front.start(given, tmp_path)
        yield given
        given.front.stop()


@pytest.fixture
def call(fakes: Any) -> Iterator[Any]:
    """Call a method of the gRPC server with a request; returns the answer as its bytes."""
    import grpc  # type: ignore[import-untyped]

    credentials = grpc.ssl_channel_credentials(Path(fakes.front.ca_file).read_bytes())
    with grpc.secure_channel(f"localhost:{fakes.front.port}", credentials) as channel:
        yield lambda method, request: channel.unary_unary(method)(request.SerializeToString(), timeout=10)


def operation_of(call: Any, execution_id: str) -> Any:
    from google.longrunning.operations_pb2 import GetOperationRequest, Operation

    request = GetOperationRequest(name=f"{PLACE}/operations/{execution_id}")
    return Operation.FromString(call("/google.longrunning.Operations/GetOperation", request))


def job_of(call: Any, job_id: str) -> Any:
    from google.cloud.dataproc_v1 import GetJobRequest, Job

    request = GetJobRequest.pb(GetJobRequest(project_id=PROJECT, region=REGION, job_id=job_id))
    return Job.deserialize(call("/google.cloud.dataproc.v1.JobController/GetJob", request))


def test_operations(fakes: Any, call: Any) -> None:
    """An execution's operation says over gRPC what the fake says over HTTP: it runs, succeeded or failed."""
    from google.cloud.run_v2 import Execution

    fakes.cloud_run.seed("runs", ExecutionOutcome(running=60))
    fakes.cloud_run.seed("good", ExecutionOutcome(pending=0, running=0))
    fakes.cloud_run.seed("bad", ExecutionOutcome(pending=0, running=0, failed=1, message="Out of memory."))
    runs, good, bad = (operation_of(call, name) for name in ("runs", "good", "bad"))
    assert (runs.done, good.done, bad.done) == (False, True, True)
    assert Execution.deserialize(good.response.value).succeeded_count == 1
    assert (bad.error.code, bad.error.message) == (2, "Out of memory.")
    shown = httpx.get(f"{fakes.cloud_run.url}/v2/{PLACE}/operations/good").json()
    assert (shown["done"], shown["name"]) == (True, good.name)


def test_jobs(fakes: Any, call: Any) -> None:
    """A Dataproc job has the same state over gRPC; every call and its connection is counted."""
    fakes.dataproc.seed_job("runs", DataprocOutcome(pending=0, setup=0, running=60))
    fakes.dataproc.seed_job("done", DataprocOutcome(pending=0, setup=0, running=0))
    assert [job_of(call, name).status.state.name for name in ("runs", "done")] == ["RUNNING", "DONE"]
    assert (fakes.front.requests["get"], fakes.front.connections, set(fakes.tally.asked)) == (2, 1, {"runs", "done"})


def test_unknown_jobs_and_faults(fakes: Any, call: Any) -> None:
    """What does not exist is NOT_FOUND; a scripted status meets as many calls as it is to, and no other job's."""
    import grpc

    fakes.dataproc.seed_job("job", DataprocOutcome(running=60))
    fakes.dataproc.seed_job("other", DataprocOutcome(running=60))
    fault = fakes.front.break_job("job", "UNAVAILABLE", 1)
    job_of(call, "other")
    refused = ((job_of, "job", "UNAVAILABLE"), (job_of, "no", "NOT_FOUND"), (operation_of, "no", "NOT_FOUND"))
    for ask, name, code in refused:
        with pytest.raises(grpc.RpcError) as caught:
            ask(call, name)
        assert caught.value.code().name == code
    assert (job_of(call, "job").reference.job_id, fault.applied) == ("job", 1)


def test_when_done(fakes: Any) -> None:
    """The URL for sensors answers 404 until the job has ended, then the job."""
    url = httpx.post(f"{fakes.http.url}/jobs", json={"fake": {"pending": 0, "running": 0.2}}).json()["links"]["self"]
    assert httpx.get(f"{fakes.http.url}{url}/when-done").status_code == 404
    time.sleep(0.25)
    assert httpx.get(f"{fakes.http.url}{url}/when-done").json()["status"] == "completed"


@pytest.mark.filterwarnings("ignore")
def test_triggers_of_the_peers() -> None:
    """Each peer's trigger can be made of the kwargs that it is given, as a triggerer makes it."""
    from _bench.contenders import Addresses, Waiting
    from _bench.peers import PEERS
    from airflow.sdk._shared.module_loading import import_string

    job = Waiting(number=0, ends_at=time.time(), job_id="job", job_name="nightly")
    addresses = Addresses(bigquery="b", cloud_run="c", dataproc="d", dqops="q", http="h", key_file="k", ca_file="ca")
    for peer in PEERS:
        path, kwargs = peer.trigger(job, addresses)
        assert import_string(path)(**kwargs).serialize() == (path, kwargs), peer.name
        environ = {**peer.environ(addresses), **(peer.restart(addresses) if peer.restart else {})}
        assert all(json.loads(value) for name, value in environ.items() if name.startswith("AIRFLOW_CONN_"))


def test_words() -> None:
    """The matrix says ok, how late, FAILED, FALSE or never; of several jobs the worst counts."""
    from _bench import faults
    from _bench.trouble import wrong_with

    cases = [(0.5, ""), (-0.01, ""), (9.04, ""), (3.0, "boom"), (-2.0, "boom"), (-2.0, ""), (None, "")]
    words = [faults._word(late, said) for late, said in cases]
    assert words == ["ok", "ok", "+ 9.0 s", "FAILED", "FAILED", "FALSE", "never"]
    good = [True, {"status": "success"}, {"status": "Success"}, {"job_state": "DONE"}]
    bad = [False, None, {}, {"status": "failed"}, {"status": "Fail"}, {"job_state": "ERROR"}, "success"]
    assert [bool(wrong_with(payload)) for payload in good + bad] == [False] * 4 + [True] * 7


def test_rows() -> None:
    """A table has a row for each contender and way to ask, and a dash where there is no such fault."""
    from _bench import faults
    from _bench.isolation import Isolation

    given = [
        faults.Outcome(name="ours", peer=False, way=faults.SINGLE, trouble="503", word="ok", late=0.1),
        faults.Outcome(name="ours", peer=False, way=faults.LIST, trouble="HTML", word="never"),
    ]
    rows = faults.rows(given)
    assert [row[:2] for row in rows] == [("ours", faults.SINGLE), ("ours", faults.LIST)]
    assert (rows[0][2], rows[0][-1], rows[1][-1]) == ("ok", "-", "never")
    assert all(len(row) == len(faults.COLUMNS) for row in rows)
    frozen = Isolation(name="peer", peer=True, trouble="x", healthy=18, reported=2, wrong=0, median=61.23, worst=72.0)
    assert frozen.row() == ("peer", "x", "> 61.2", "> 72.0", "16", "")


@pytest.mark.timeout(240)
def test_faults_in_the_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fault meets a call of ours, asked singly and by list, and no job's end is lost."""
    from _bench import faults

    monkeypatch.setattr(faults, "ASKED", 2.0)
    monkeypatch.setattr(faults, "LEFT", 3.0)
    outcomes = faults.measure(tmp_path, ours("BigQuery"), cap=20.0, say=lambda words: None)
    assert len(outcomes) == 2 * 11
    assert [outcome for outcome in outcomes if outcome.word.split(" ")[0] not in ("ok", "+")] == []


@pytest.mark.timeout(240)
def test_isolation_in_the_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The healthy jobs of ours are all reported as what they are, beside two jobs in trouble."""
    from _bench import isolation

    monkeypatch.setattr(isolation, "FIRST_END", 2.5)
    monkeypatch.setattr(isolation, "LAST_END", 3.5)
    results = isolation.measure(tmp_path, ours("HTTP"), cap=20.0, say=lambda words: None)
    assert [(r.trouble, r.healthy, r.reported, r.wrong) for r in results] == [(isolation.ONE_JOB, 18, 18, 0)]


def ours(name: str) -> list[Any]:
    from _bench.contenders import OURS

    return [contender for contender in OURS if contender.name == f"ork {name}"]
