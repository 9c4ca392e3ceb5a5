"""The fake cloud of a measurement: every fake in a process of its own, each answer 50 ms late.

`Cloud` is the handle that the benchmark holds. It talks to the process in lines of JSON: each names a function, which
is called there with the `Fakes` and some arguments, and gets back what the function returns.

What is counted, and how: requests when they arrive, by service and kind; connections when aiohttp's server is given one
by the kernel; CPU as the process's own clock has it. The benchmark asks for `/late` now and then, each time over a new
connection, and times the answer: a fake that is overloaded answers late, and the figures of such a run say more about
the fake than about who waits. Neither these requests nor their connections are counted.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from _bench.contenders import Addresses, Service, Waiting
from ork_provider.testing import DataprocOutcome, DqopsOutcome, ExecutionOutcome, HttpOutcome, Outcome
from ork_provider.testing.bigquery import FakeBigQuery
from ork_provider.testing.cloud_run import FakeCloudRun
from ork_provider.testing.dataproc import FakeDataproc
from ork_provider.testing.dqops import FakeDqops
from ork_provider.testing.http_jobs import FakeHttpJob, FakeHttpJobs
from ork_provider.testing.server import FakeServer, RecordedRequest

DEV = Path(__file__).resolve().parent.parent
LATENCY = 0.05
LATE = "/late"
UNCOUNTED = (LATE, "/probe")
LONG = 36_000.0
"""Seconds that a job runs which is not to end."""

_LISTS = re.compile(r"/(jobs|executions|batches)/?$")
_FORGET = 20_000
"""Requests after which a fake's log is emptied: it would grow to gigabytes."""


class Tally:
    """Counts the requests and connections of the fakes; `asked` holds the paths of jobs that were asked for singly."""

    def __init__(self) -> None:
        self.requests: dict[str, Counter[str]] = {}
        self.connections = 0
        self.asked: dict[str, float] = {}
        self.listed: list[float] = []

    def note(self, service: str, request: RecordedRequest) -> None:
        """Count a request that has just arrived."""
        if request.path in UNCOUNTED:
            self.connections -= request.path == LATE
            return
        kind = kind_of(request)
        self.requests.setdefault(service, Counter())[kind] += 1
        if kind == "get":
            self.asked.setdefault(request.path, time.time())
        elif kind in ("list", "feed"):
            self.listed.append(time.time())


def kind_of(request: RecordedRequest) -> str:
    """Return get (one job), list, feed, token, or the method of another request."""
    if request.path.endswith("/token"):
        return "token"
    if "/jobchangessince/" in request.path:
        return "feed"
    if request.method != "GET":
        return request.method
    return "list" if _LISTS.search(request.path) else "get"


class Front(Protocol):
    """What `_bench.grpc_front.start(fakes, folder)` returns: a gRPC server before the same fakes."""

    port: int
    ca_file: str
    connections: int
    requests: Counter[str]

    def stop(self) -> None:
        """Stop serving."""


class _HttpJobs(FakeHttpJobs):
    """The fake that finds one of ten thousand jobs without looking at all of them."""

    known: dict[str, FakeHttpJob]

    @property
    def jobs(self) -> dict[str, FakeHttpJob]:
        return self.known


class Fakes:
    """The fakes, in their process.

    :param grpc: start `_bench.grpc_front` as well
    """

    def __init__(self, folder: Path, latency: float, *, grpc: bool) -> None:
        self.folder = folder
        self.latency = latency
        self.tally = Tally()
        self.bigquery = FakeBigQuery(latency=self._late("bigquery"))
        self.cloud_run = FakeCloudRun(latency=self._late("cloud_run"))
        self.dataproc = FakeDataproc(latency=self._late("dataproc"))
        self.dqops = FakeDqops(latency=self._late("dqops"))
        self.http = _HttpJobs(latency=self._late("http"))
        self.http.known = {}
        self.seeded = 0
        self._grpc = grpc
        self.front: Front | None = None

    @property
    def servers(self) -> dict[str, FakeServer]:
        """The HTTP servers by service."""
        names = ("bigquery", "cloud_run", "dataproc", "dqops", "http")
        return {name: getattr(self, name) for name in names}

    def _late(self, service: str) -> Callable[[RecordedRequest], float]:
        """Return what a fake asks for the delay of an answer; it counts the request on the way."""
        counted = 0

        def latency(request: RecordedRequest) -> float:
            nonlocal counted
            counted += 1
            if counted % _FORGET == 0:
                self.servers[service].clear_log()
            self.tally.note(service, request)
            return self.latency

        return latency

    def start(self, stack: ExitStack) -> Addresses:
        """Serve; return where."""
        count_connections(self.tally)
        for server in self.servers.values():
            stack.enter_context(server)
        if self._grpc:
            self.front = importlib.import_module("_bench.grpc_front").start(self, self.folder)
            stack.callback(self.front.stop)
        return Addresses(
            bigquery=self.bigquery.url,
            cloud_run=self.cloud_run.url,
            dataproc=self.dataproc.url,
            dqops=self.dqops.url,
            http=self.http.url,
            key_file=str(write_key(self.folder / "key.json", f"{self.bigquery.url}/token")),
            grpc_port=self.front.port if self.front else 0,
            ca_file=self.front.ca_file if self.front else "",
        )


def count_connections(tally: Tally) -> None:
    """Count every connection that an HTTP server of this process accepts."""
    from aiohttp.web_server import Server

    made = Server.connection_made

    def counted(self: Any, handler: Any, transport: Any) -> None:
        tally.connections += 1
        made(self, handler, transport)

    setattr(Server, "connection_made", counted)  # noqa: B010 - a method, which mypy forbids to assign


def write_key(path: Path, token_uri: str) -> Path:
    """Write the key file of a service account whose tokens come from a fake."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "ork-sandbox",
        "private_key_id": "bench",
        "private_key": key.decode(),
        "client_email": "bench@ork-sandbox.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(account))
    return path


# -- what the benchmark asks of the process --------------------------------------------------------------------


def seed(fakes: Fakes, service: Service, ends: Sequence[float | None], one_job: bool) -> list[dict[str, Any]]:
    """Store a job that runs now for each of `ends`: when it ends in seconds since 1970, None: not for hours."""
    jobs = []
    for number, ends_at in enumerate(ends):
        fakes.seeded += 1
        seconds = LONG if ends_at is None else max(ends_at - time.time(), 0.0)
        names = _SEEDERS[service](fakes, seconds, one_job)
        jobs.append({"number": number, "ends_at": time.time() + seconds if ends_at is None else ends_at, **names})
    return jobs


def _seed_bigquery(fakes: Fakes, seconds: float, one_job: bool) -> dict[str, str]:
    return {"job_id": fakes.bigquery.seed(f"bench_{fakes.seeded}", Outcome(pending=0, running=seconds)).job_id}


def _seed_cloud_run(fakes: Fakes, seconds: float, one_job: bool) -> dict[str, str]:
    job = "nightly" if one_job else f"nightly-{fakes.seeded}"
    outcome = ExecutionOutcome(pending=0, running=seconds)
    execution = fakes.cloud_run.seed(f"{job}-{fakes.seeded}", outcome, job=job)
    return {"job_name": job, "job_id": execution.execution_id}


def _seed_dataproc(fakes: Fakes, seconds: float, one_job: bool) -> dict[str, str]:
    outcome = DataprocOutcome(pending=0, setup=0, running=seconds)
    return {"job_id": fakes.dataproc.seed_job(f"bench_{fakes.seeded}", outcome).job_id}


def _seed_dqops(fakes: Fakes, seconds: float, one_job: bool) -> dict[str, str]:
    return {"job_id": str(fakes.dqops.seed(DqopsOutcome(pending=0, running=seconds)).job_id)}


def _seed_http(fakes: Fakes, seconds: float, one_job: bool) -> dict[str, str]:
    outcome = HttpOutcome(pending=0, running=seconds)
    job = FakeHttpJob(f"job-{fakes.seeded}", None, outcome, fakes.http.clock(), fakes.http.clock)
    fakes.http.created.append(job)
    fakes.http.known[job.job_id] = job
    return {"job_id": job.job_id, "url": f"{fakes.http.url}/jobs/{job.job_id}"}


def _seed_none(fakes: Fakes, seconds: float, one_job: bool) -> dict[str, str]:
    return {"job_id": str(fakes.seeded)}


_SEEDERS: dict[str, Callable[[Fakes, float, bool], dict[str, str]]] = {
    "bigquery": _seed_bigquery,
    "cloud_run": _seed_cloud_run,
    "dataproc": _seed_dataproc,
    "dqops": _seed_dqops,
    "http": _seed_http,
    "none": _seed_none,
}


def figures(fakes: Fakes) -> dict[str, Any]:
    """Return what was counted so far.

    `requests` by kind, of all services together; `connections`; `asked`: how many jobs were asked for singly;
    `last_asked` and `listed`: when the last of them was first asked for, and when each list or feed was, in seconds
    since 1970; `cpu`: seconds of this process.
    """
    requests: Counter[str] = Counter()
    for found in fakes.tally.requests.values():
        requests.update(found)
    connections = fakes.tally.connections
    if fakes.front:
        requests.update(fakes.front.requests)
        connections += fakes.front.connections
    return {
        "requests": dict(requests),
        "connections": connections,
        "asked": len(fakes.tally.asked),
        "last_asked": max(fakes.tally.asked.values(), default=0.0),
        "listed": list(fakes.tally.listed),
        "cpu": time.process_time(),
        "at": time.time(),
    }


# -- the handle --------------------------------------------------------------------------------------------------


class Cloud:
    """The process with the fakes; `with Cloud(folder) as cloud` starts and ends it.

    :param folder: for the key file, and whatever else a client needs
    :param grpc: start the gRPC server as well
    """

    addresses: Addresses

    def __init__(self, folder: Path, *, grpc: bool = False, latency: float = LATENCY) -> None:
        self._options = {"folder": str(folder), "grpc": grpc, "latency": latency}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Cloud:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "_bench.cloud", json.dumps(self._options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(DEV)},
            text=True,
        )
        self.addresses = Addresses(**self._answer())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process and self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process
        return self._process.pid

    def call(self, function: str, *arguments: Any) -> Any:
        """Call `module:function` in the process with the `Fakes` and the arguments; all values are JSON.

        :raises RuntimeError: when the function raises, with its traceback
        """
        assert self._process
        assert self._process.stdin
        print(json.dumps([function, *arguments]), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The process of the fake cloud has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"The fake cloud: {answer['error']}")
        return answer["value"]

    def seed(self, service: Service, ends: Sequence[float | None], *, one_job: bool = False) -> list[Waiting]:
        """Store running jobs; see the function of this name."""
        return [Waiting(**job) for job in self.call("_bench.cloud:seed", service, list(ends), one_job)]

    def figures(self) -> dict[str, Any]:
        """Return what was counted so far; see the function of this name."""
        found: dict[str, Any] = self.call("_bench.cloud:figures")
        return found


def serve(options: dict[str, Any]) -> None:
    """Be the process: start the fakes and do as the lines of the standard input say, until it ends."""
    out = sys.stdout
    sys.stdout = sys.stderr  # whatever prints does not disturb the answers
    fakes = Fakes(Path(options["folder"]), options["latency"], grpc=options["grpc"])
    with ExitStack() as stack:
        print(json.dumps({"value": vars(fakes.start(stack))}), file=out, flush=True)
        for line in sys.stdin:
            print(json.dumps(_done(fakes, *json.loads(line))), file=out, flush=True)


def _done(fakes: Fakes, path: str, *arguments: Any) -> dict[str, Any]:
    module, _, name = path.partition(":")
    try:
        return {"value": getattr(importlib.import_module(module), name)(fakes, *arguments)}
    except Exception:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    importlib.import_module("_bench.cloud").serve(json.loads(sys.argv[1]))
