"""What `isolation` and `faults` share: jobs with their own scope, faults for one job or one list, many triggerers.

A scope is what one list call can tell of: a BigQuery project, a Dataproc project and region, a Cloud Run job, a DQOps
server. Each scripted list gets a scope of its own, so that one fault meets those who are to meet it and nobody else.
A fault of an HTTP answer has a gRPC status of the same meaning, where there is one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _bench.cloud import Cloud
from _bench.contenders import Contender, Service, Trigger, Waiting, contenders
from _bench.runner import Record, Triggerer
from ork_provider.testing import DataprocOutcome, DqopsOutcome, ExecutionOutcome, HttpOutcome, Outcome
from ork_provider.testing.dqops import FakeDqops
from ork_provider.testing.faults import Fault
from ork_provider.testing.http_jobs import FakeHttpJob
from ork_provider.testing.server import FaultRule

if TYPE_CHECKING:
    from _bench.cloud import Fakes
    from _bench.grpc_front import GrpcFault, GrpcFront

EARLY = 0.05
"""Seconds by which an event may come before the end of its job, as clocks go."""

AT_ONCE = 4
"""Processes that start at the same time: each takes CPU-seconds."""

WARM_UP = 120.0
"""Seconds that a first job may take to be reported: everyone imports what he needs, all at once."""

GOOGLE = ("bigquery", "cloud_run", "dataproc")


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One kind of fault.

    :param http: the fault of an HTTP answer; :param google: the one of Google's services, where it is another one
    :param grpc: name of the gRPC status of the same meaning; None: there is none
    """

    name: str
    http: Fault | None
    google: Fault | None = None
    grpc: str | None = None

    def on(self, service: str) -> Fault | None:
        """Return the fault of a service's answers; None: the service does not answer so."""
        return self.google or self.http if service in GOOGLE else self.http


HANG = Trouble(name="hang", http=Fault.hang(3600), grpc="HANG")

_PAGE = "<html><body>Bad gateway</body></html>"

TROUBLES = [
    Trouble(name="503", http=Fault.status(503), google=Fault.google(503, "backendError"), grpc="UNAVAILABLE"),
    Trouble(name="500", http=Fault.status(500), google=Fault.google(500, "internalError"), grpc="INTERNAL"),
    Trouble(name="502", http=Fault.status(502, _PAGE)),
    Trouble(name="504", http=Fault.status(504), google=Fault.google(504, "backendError"), grpc="DEADLINE_EXCEEDED"),
    Trouble(name="408", http=Fault.status(408)),
    Trouble(name="429", http=Fault.retry_after(429, 1), grpc="RESOURCE_EXHAUSTED"),
    Trouble(name="reset", http=Fault.reset(), grpc="UNAVAILABLE"),
    Trouble(name="401", http=Fault.status(401), google=Fault.google(401, "authError"), grpc="UNAUTHENTICATED"),
    Trouble(name="403", http=None, google=Fault.google(403, "backendError"), grpc="PERMISSION_DENIED"),
    Trouble(name="404", http=Fault.status(404), google=Fault.google(404, "notFound"), grpc="NOT_FOUND"),
    Trouble(name="HTML", http=Fault.malformed(), grpc="UNKNOWN"),
]
"""Each passes by itself. 502 and 408 come from a proxy on the way: a page, and no body at all. 429 has Retry-After: 1,
403 Google's reason backendError; HTML is a page with status 200, which a gRPC client takes for UNKNOWN; a connection
that is reset is UNAVAILABLE to it. What a proxy says has no gRPC status of its own."""

KNOWN = {trouble.name: trouble for trouble in [HANG, *TROUBLES]}


# -- in the cloud's process --------------------------------------------------------------------------------------


def seed(fakes: Fakes, service: Service, scope: str, ends: Sequence[float], one_job: bool) -> list[dict[str, Any]]:
    """Store a running job for each of `ends` (seconds since 1970) in a scope of this name; return `Waiting`s."""
    found = []
    for number, ends_at in enumerate(ends):
        job_id, seconds = f"{scope}-{service.replace('_', '-')}-{number}", max(ends_at - time.time(), 0.0)
        named = _SEEDERS[service](fakes, scope, job_id, seconds, one_job)
        found.append({"number": number, "ends_at": ends_at, "job_id": job_id, "project": scope, **named})
    return found


def _seed_bigquery(fakes: Fakes, scope: str, job_id: str, seconds: float, _: bool) -> dict[str, str]:
    fakes.bigquery.seed(job_id, Outcome(pending=0, running=seconds), project=scope)
    return {}


def _seed_cloud_run(fakes: Fakes, scope: str, job_id: str, seconds: float, one_job: bool) -> dict[str, str]:
    job_name = "nightly" if one_job else f"job-{job_id}"
    job_id = f"{job_id}-{len(fakes.cloud_run.started)}"  # both of our contenders use the service
    fakes.cloud_run.seed(job_id, ExecutionOutcome(pending=0, running=seconds), project=scope, job=job_name)
    return {"job_id": job_id, "job_name": job_name}


def _seed_dataproc(fakes: Fakes, scope: str, job_id: str, seconds: float, _: bool) -> dict[str, str]:
    fakes.dataproc.seed_job(job_id, DataprocOutcome(pending=0, setup=0, running=seconds), project=scope)
    return {}


def _seed_dqops(fakes: Fakes, scope: str, _: str, seconds: float, __: bool) -> dict[str, str]:
    server = dqops_of(fakes, scope)
    job = server.seed(DqopsOutcome(pending=0, running=seconds))
    return {"job_id": str(job.job_id), "url": server.url}


def _seed_http(fakes: Fakes, scope: str, job_id: str, seconds: float, _: bool) -> dict[str, str]:
    job = FakeHttpJob(job_id, None, HttpOutcome(pending=0, running=seconds), fakes.http.clock(), fakes.http.clock)
    fakes.http.created.append(job)
    fakes.http.known[job_id] = job
    return {"url": f"{fakes.http.url}/jobs/{job_id}"}


_SEEDERS: dict[Service, Callable[[Fakes, str, str, float, bool], dict[str, str]]] = {
    "bigquery": _seed_bigquery,
    "cloud_run": _seed_cloud_run,
    "dataproc": _seed_dataproc,
    "dqops": _seed_dqops,
    "http": _seed_http,
}

_SERVERS: dict[str, FakeDqops] = {}


def dqops_of(fakes: Fakes, scope: str) -> FakeDqops:
    """Return the DQOps server of a scope; it lives as long as the process."""
    if scope not in _SERVERS:
        _SERVERS[scope] = FakeDqops(latency=fakes.latency).start()
    return _SERVERS[scope]


def break_job(fakes: Fakes, service: Service, job: dict[str, Any], trouble: str, times: int) -> int:
    """Let the next `times` status calls of one job (a `Waiting`; -1: all) go wrong, over HTTP and over gRPC.

    Return the number under which `met` counts.
    """
    rules: list[FaultRule | GrpcFault] = []
    front: GrpcFront | Any = fakes.front
    job_id = job["job_id"]
    if front and (code := KNOWN[trouble].grpc):
        rules.append(front.break_job(job_id, code, times))
    if fault := KNOWN[trouble].on(service):
        server = dqops_of(fakes, job["project"]) if service == "dqops" else fakes.servers[service]
        path = re.compile(rf"^GET .*/{re.escape(job_id)}(/when-done)?/?$")
        rules.append(server.fail(fault, on=path, times=times))
    _RULES.append(rules)
    return len(_RULES) - 1


def break_list(fakes: Fakes, service: Service, scope: str, trouble: str, times: int) -> int:
    """Let the next `times` lists of a scope (-1: all) go wrong; DQOps: its feed. Return as `break_job` does."""
    fault = KNOWN[trouble].on(service)
    server = dqops_of(fakes, scope) if service == "dqops" else fakes.servers[service]
    path = re.compile(_LISTS[service].format(scope=re.escape(scope)))
    _RULES.append([server.fail(fault, on=path, times=times)] if fault else [])
    return len(_RULES) - 1


def met(fakes: Fakes) -> list[int]:
    """Return how many calls met each fault, in the order in which they were scripted."""
    return [sum(rule.applied for rule in rules) for rules in _RULES]


_RULES: list[list[FaultRule | GrpcFault]] = []

_LISTS: dict[Service, str] = {
    "bigquery": "^GET .*/projects/{scope}/jobs/?$",
    "cloud_run": "^GET .*/projects/{scope}/.*/executions/?$",
    "dataproc": "^GET .*/projects/{scope}/regions/[^/]+/jobs/?$",
    "dqops": "^GET .*/jobchangessince/",
}


# -- in the benchmark --------------------------------------------------------------------------------------------


def has_list(contender: Contender) -> bool:
    """Whether a contender asks for many jobs at once: ours do where the service lets them."""
    return not contender.peer and (contender.one_job or contender.service in ("bigquery", "dataproc", "dqops"))


def in_trouble() -> list[Contender]:
    """Return whom trouble can meet: all but those who are a floor, and one contender of ours for each way to ask."""
    return [c for c in contenders() if c.fair and not c.name.endswith(", 1 s")]


def trigger_of(contender: Contender, waiting: Waiting, cloud: Cloud) -> Trigger:
    """Make the trigger of a job; a DQOps job names its server, because there is one for each scope."""
    path, kwargs = contender.trigger(waiting, cloud.addresses)
    if contender.service == "dqops":
        kwargs = {**kwargs, "jobs": [{**job, "base_url": waiting.url} for job in kwargs["jobs"]]}
    return path, kwargs


@dataclass
class Watch:
    """The jobs that one contender waits for, by a key of the caller's, and in the end what its runner noted.

    `unmet`: the keys of faults that no call has met, because none was made.
    """

    number: int
    contender: Contender
    triggerer: Triggerer
    cloud: Cloud
    jobs: dict[int, tuple[str, Waiting]] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    unmet: set[str] = field(default_factory=set)
    record: Record | None = None

    def add(self, keyed: Iterable[tuple[str, Waiting]]) -> None:
        """Start to wait for jobs."""
        given = list(keyed)
        ids = self.triggerer.add([trigger_of(self.contender, waiting, self.cloud) for _, waiting in given])
        self.jobs.update(zip(ids, given, strict=True))

    def seed(self, scope: str, ends: Sequence[float]) -> list[Waiting]:
        """Store running jobs in a scope of this contender's own."""
        name = f"bench-{self.number}-{scope.lower()}"  # a good name of a project, too
        service, one_job = self.contender.service, self.contender.one_job
        return [Waiting(**job) for job in self.cloud.call("_bench.trouble:seed", service, name, list(ends), one_job)]

    def break_job(self, key: str, job: Waiting, trouble: Trouble, times: int = 1) -> None:
        """Let the next status calls of a job go wrong; `key` is for `unmet`."""
        service = self.contender.service
        self.broken[key] = self.cloud.call("_bench.trouble:break_job", service, vars(job), trouble.name, times)

    def break_list(self, key: str, job: Waiting, trouble: Trouble, times: int = 1) -> None:
        """Let the next lists of a job's scope go wrong; `key` is for `unmet`."""
        service = self.contender.service
        self.broken[key] = self.cloud.call("_bench.trouble:break_list", service, job.project, trouble.name, times)

    def over(self) -> bool:
        """Whether every trigger has sent its event or has failed."""
        board = self.triggerer.board
        return board["reported"] + board["failed"] >= len(self.jobs)

    def ends(self) -> Iterator[tuple[str, Waiting, float | None, str]]:
        """Yield key, job, when its end was reported, and what was reported: "", or what is wrong with it.

        Nothing was reported in time: None.
        """
        assert self.record
        for number, (key, waiting) in self.jobs.items():
            if number in self.record.events:
                at, payload = self.record.events[number]
                yield key, waiting, at, wrong_with(payload)
            elif number in self.record.failures:
                at, error = self.record.failures[number]
                yield key, waiting, at, error
            else:
                yield key, waiting, None, ""


def wrong_with(payload: Any) -> str:
    """Return "" for an event that says success, in any contender's words; otherwise what it says."""
    if payload is True:
        return ""
    state = payload.get("status", payload.get("job_state")) if isinstance(payload, dict) else None
    return "" if state in ("success", "Success", "DONE") else str(payload)


@contextmanager
def watches(chosen: Sequence[Contender], folder: Path, *, key: bool) -> Iterator[tuple[Cloud, list[Watch]]]:
    """Run a triggerer for each contender side by side, all in the same cloud, warm: each has reported one job.

    `key`: with the key file where a contender knows one.
    """
    with ExitStack() as stack:
        cloud = stack.enter_context(Cloud(folder, grpc=any(c.grpc for c in chosen)))
        found = [Watch(n, c, _triggerer(c, cloud, folder / str(n), key), cloud) for n, c in enumerate(chosen)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for triggerer in pool.map(lambda watch: watch.triggerer.__enter__(), found):
                stack.push(triggerer)
        for watch in found:
            watch.add([("warm", job) for job in watch.seed("warm", [time.time() + 1])])
        for watch in found:
            if not watch.triggerer.wait_for(watch.over, WARM_UP):
                raise RuntimeError(f"{watch.contender.name} has not reported a job that ended {WARM_UP:g} s ago")
        yield cloud, found


def _triggerer(contender: Contender, cloud: Cloud, folder: Path, key: bool) -> Triggerer:
    environ = contender.restart if key and contender.restart else contender.environ
    prepare = [contender.prepare] if contender.prepare else []
    return Triggerer(folder, cloud.addresses, environ(cloud.addresses), prepare=prepare, per_loop=1000)


def wait_and_stop(cloud: Cloud, found: Sequence[Watch], until: float) -> None:
    """Wait for everyone's last event, until some time at most; then read what the runners noted."""
    for watch in found:
        watch.triggerer.wait_for(watch.over, max(until - time.time(), 0))
    calls = cloud.call("_bench.trouble:met")
    for watch in found:
        watch.unmet = {key for key, number in watch.broken.items() if not calls[number]}
    with ThreadPoolExecutor(len(found)) as pool:
        for watch, record in zip(found, pool.map(lambda watch: watch.triggerer.stop(), found), strict=True):
            watch.record = record
