"""Detection latency, requests, CPU, memory and the rest: N triggers wait, some of their jobs end, and all is counted.

`live`: N triggers are handed to a running triggerer. When they have settled a window of time opens, in which some of
the jobs end, at random moments and in random order; the others go on. So N stays what it is, and what is measured is
the waiting, not the start. Latency is the time of the trigger's event in the runner minus the job's scheduled end, on
one machine's clock. A job that has not been reported so many seconds after the window (the cap) counts with the
seconds until then and is said: its true latency is higher.

Before, a few triggers of the same kind have run to their end, so that memory and CPU do not hold what the modules and
the first connection cost once. Memory for each trigger is the growth of the runner's resident memory from then until
the window opens, divided by N. CPU, requests, connections and lag are those of the window.

`restart`: N triggers are handed at once to a triggerer that has just started, over a connection with a key file.
Counted until every job has been asked for, singly or by a list that was asked after all triggers had started: the
runner's CPU-seconds (modules that are imported on the way included), tokens, and keys read from their PEM text.
"""

from __future__ import annotations

import http.client
import random
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from _bench.cloud import LATE, LATENCY, Cloud
from _bench.contenders import Contender
from _bench.runner import Record, Triggerer, Usage

FIRST = 4
"""Triggers that run to their end before anything is measured."""

ASKS_NOBODY = "none"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a live run takes, in seconds.

    :param settle: from handing the triggers in until the window opens; None: by their number
    :param window: in which jobs end
    :param cap: after the window, at most, until the run is over
    :param ending: how many jobs end; None: by the number of triggers
    """

    settle: float | None = None
    window: float = 30.0
    cap: float = 90.0
    ending: int | None = None

    def settle_for(self, n: int) -> float:
        """Return when the window opens: the slowest peer needs 10 s to start 1000 triggers."""
        return self.settle if self.settle is not None else 8.0 + min(n / 80, 32.0)

    def ending_of(self, n: int) -> int:
        """Return how many jobs end in the window: 50, of thousands 100."""
        return min(self.ending or (100 if n >= 1000 else 50), n)

    def seconds(self, n: int) -> float:
        """Return how long a run takes in which nobody is late."""
        return 12 + self.settle_for(n) + self.window + 5


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one live run has shown; figures of the window unless said.

    `p50`, `p95`, `worst`: seconds; `censored`: jobs not reported in time; `failed`: events and failures that are no
    success; `early`: events of jobs that had not ended. `requests`: per second by kind. `ended`: jobs that ended, per
    second. `cpu`: cores of the runner. `memory`: kB for each trigger. `sockets`, `threads`: most seen. `connections`:
    opened per second. `lag_p99`, `lag_max`: seconds. `lines`: of a finished trigger's log, without Airflow's own
    three. `started`: seconds until all triggers ran, None if they did not before the window. `cloud_cpu`: cores of the
    fake cloud, `cloud_late`: how much later than wanted its median answer came, in seconds. `busy`: cores of the
    machine that worked, for whomever.
    """

    name: str
    peer: bool
    service: str
    n: int
    samples: int
    p50: float
    p95: float
    worst: float
    censored: int
    failed: int
    early: int
    requests: dict[str, float]
    ended: float
    cpu: float
    memory: float
    sockets: int
    threads: int
    connections: float
    lag_p99: float
    lag_max: float
    lines: float
    started: float | None
    cloud_cpu: float
    cloud_late: float | None
    busy: float
    latencies: list[float] = field(repr=False)

    @property
    def asks(self) -> float:
        """Requests per second of any kind."""
        return sum(self.requests.values())


class Late(threading.Thread):
    """Asks a fake for nothing twice a second, and times the answers."""

    def __init__(self, url: str) -> None:
        super().__init__(name="late", daemon=True)
        self._host = urlsplit(url).netloc
        self._over = threading.Event()
        self.seconds: list[float] = []

    def run(self) -> None:
        """Ask until `end`."""
        while not self._over.wait(0.5):
            connection = http.client.HTTPConnection(self._host, timeout=30)
            began = time.monotonic()
            try:
                connection.request("GET", LATE)
                connection.getresponse().read()
            except OSError:
                continue
            finally:
                connection.close()
            self.seconds.append(time.monotonic() - began)

    def end(self) -> float | None:
        """Stop; return how much later than wanted the median answer came, in seconds; None if none came."""
        self._over.set()
        self.join(31)
        return max(statistics.median(self.seconds) - LATENCY, 0.0) if self.seconds else None


def run(contender: Contender, n: int, folder: Path, plan: Plan | None = None) -> Result:
    """Measure N waiting triggers of one contender, with a cloud and a triggerer of their own in an empty folder."""
    plan = plan or Plan()
    per_loop = 50 if n <= 1000 else n // 20
    folder.mkdir(parents=True, exist_ok=True)
    with Cloud(folder, grpc=contender.grpc) as cloud, triggerer_of(contender, cloud, folder, per_loop) as triggerer:
        return Live(contender, n, plan, cloud, triggerer).run()


def triggerer_of(
    contender: Contender, cloud: Cloud, folder: Path, per_loop: int = 50, *, key: bool = False
) -> Triggerer:
    """Return a triggerer for one contender; it is started by `with`."""
    environ = contender.restart if key and contender.restart else contender.environ
    prepare = [contender.prepare] if contender.prepare else []
    return Triggerer(
        folder / "triggerer", cloud.addresses, environ(cloud.addresses), prepare=prepare, per_loop=per_loop
    )


@dataclass(frozen=True, kw_only=True)
class Window:
    """What was seen of the window: the cloud's figures at both ends, the runner when it opened and at most.

    `busy` is how many seconds the machine's cores worked.
    """

    first: dict[str, Any]
    last: dict[str, Any]
    opened: Usage
    most: Usage
    late: float | None
    busy: float

    @property
    def seconds(self) -> float:
        """How long it really was."""
        return float(self.last["at"] - self.first["at"])

    def rate(self, name: str) -> float:
        """Return by how much a figure of the cloud has grown, per second."""
        return float(self.last[name] - self.first[name]) / self.seconds

    def requests(self) -> dict[str, float]:
        """Return the requests per second by kind."""
        first, last = self.first["requests"], self.last["requests"]
        grown = {kind: last[kind] - first.get(kind, 0) for kind in sorted(last)}
        return {kind: count / self.seconds for kind, count in grown.items() if count}


class Live:
    """One live run."""

    def __init__(self, contender: Contender, n: int, plan: Plan, cloud: Cloud, triggerer: Triggerer) -> None:
        self.contender = contender
        self.n = n
        self.plan = plan
        self.cloud = cloud
        self.triggerer = triggerer
        self.ids = range(0)
        self.due: dict[int, float] = {}
        self.started: float | None = None

    def run(self) -> Result:
        """Hand the triggers in, watch them, and count."""
        self._warm_up()
        before = self.triggerer.usage().memory
        opens = time.time() + self.plan.settle_for(self.n)
        self._start(opens)
        window = self._watch(opens + self.plan.window)
        reported = FIRST + len(self.due)
        self.triggerer.wait_for(lambda: self.triggerer.board["reported"] >= reported, self.plan.cap)
        over, record = time.time(), self.triggerer.stop()
        return self._result(record, window, (window.opened.memory - before) / self.n, over)

    def _warm_up(self) -> None:
        self.hand_in([time.time() + 2] * FIRST)
        if not self.triggerer.wait_for(lambda: self.triggerer.board["reported"] >= FIRST, 60):
            raise RuntimeError(f"{self.contender.name} did not report {FIRST} jobs that ended a minute ago")
        time.sleep(1.5)  # for the exchange of state, after which the runner has forgotten them

    def _start(self, opens: float) -> None:
        """Start N triggers, and wait for the window to open."""
        began = time.time()
        ends = _random_ends(self.n, self.plan.ending_of(self.n), opens, self.plan.window)
        self.ids = self.hand_in(ends)
        self.due = {number: at for number, at in zip(self.ids, ends, strict=True) if at is not None}
        if self.triggerer.wait_for(lambda: self.triggerer.board["running"] >= self.n, opens - time.time()):
            self.started = time.time() - began
        self._sleep_until(opens)

    def hand_in(self, ends: Sequence[float | None]) -> range:
        """Start a job and a trigger for each of these ends; return the triggers' ids."""
        jobs = self.cloud.seed(self.contender.service, ends, one_job=self.contender.one_job)
        return self.triggerer.add([self.contender.trigger(job, self.cloud.addresses) for job in jobs])

    def _sleep_until(self, moment: float) -> None:
        self.triggerer.wait_for(lambda: time.time() >= moment, max(moment - time.time(), 0) + 5)

    def _watch(self, until: float) -> Window:
        """Watch the window until it closes."""
        opened, first, worked = self.triggerer.usage(), self.cloud.figures(), _worked()
        late = None
        if self.contender.service != ASKS_NOBODY:
            late = Late(getattr(self.cloud.addresses, self.contender.service))
            late.start()
        most = opened
        while time.time() < until:
            self._sleep_until(min(time.time() + 3, until))
            most = most.or_more(self.triggerer.usage())
        last, busy = self.cloud.figures(), _worked() - worked
        return Window(first=first, last=last, opened=opened, most=most, late=late.end() if late else None, busy=busy)

    def _result(self, record: Record, window: Window, memory: float, over: float) -> Result:
        since, until = window.first["at"], window.last["at"]
        latencies = sorted(record.events.get(number, (over, None))[0] - at for number, at in self.due.items())
        lags = sorted(record.lags(since, until))
        return Result(
            name=self.contender.name,
            peer=self.contender.peer,
            service=self.contender.service,
            n=self.n,
            samples=len(self.due),
            p50=percentile(latencies, 50),
            p95=percentile(latencies, 95),
            worst=percentile(latencies, 100),
            censored=sum(number not in record.events for number in self.due),
            failed=_failed(record, self.ids),
            early=_early(record, self.ids, self.due),
            requests=window.requests(),
            ended=len(self.due) / window.seconds,
            cpu=(record.cpu_until(until) - record.cpu_until(since)) / window.seconds,
            memory=memory / 1024,
            sockets=window.most.sockets,
            threads=window.most.threads,
            connections=window.rate("connections"),
            lag_p99=percentile(lags, 99),
            lag_max=percentile(lags, 100),
            lines=statistics.mean(self.triggerer.own_log_lines(self.due)),
            started=self.started,
            cloud_cpu=window.rate("cpu"),
            cloud_late=window.late,
            busy=window.busy / window.seconds,
            latencies=[round(value, 3) for value in latencies],
        )


def _worked() -> float:
    """Return the CPU-seconds of all processes of this machine."""
    times = psutil.cpu_times()
    return float(times.user + times.system)


def _random_ends(n: int, ending: int, opens: float, window: float) -> list[float | None]:
    """Return when each job ends; the same for every contender with as many jobs, up to the time of day."""
    chance = random.Random(n)
    ends: list[float | None] = [None] * n
    for number in chance.sample(range(n), ending):
        ends[number] = opens + chance.uniform(0, window)
    return ends


def percentile(ordered: list[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values do not exceed; 0 of nothing."""
    if not ordered:
        return 0.0
    return ordered[max(-(-len(ordered) * int(percent) // 100) - 1, 0)]


def _failed(record: Record, ids: range) -> int:
    words = ("error", "failed", "failure", "timeout")
    payloads = [payload for number, (_, payload) in record.events.items() if number in ids]
    bad = sum(isinstance(payload, dict) and payload.get("status") in words for payload in payloads)
    return bad + sum(number in ids for number in record.failures)


def _early(record: Record, ids: range, due: dict[int, float]) -> int:
    found = {number: at for number, (at, _) in record.events.items() if number in ids}
    return sum(number not in due or at < due[number] - 0.01 for number, at in found.items())


# -- restart -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Restart:
    """What the start of N triggers with a key file costs; `seconds` and `cpu` until every job has been asked for.

    `started`: seconds until all triggers ran. `asked` jobs were asked for singly, of N; `covered` says whether all had
    been asked for or listed before the cap.
    """

    name: str
    peer: bool
    service: str
    n: int
    started: float
    seconds: float
    cpu: float
    tokens: int
    parses: int
    asked: int
    covered: bool


def restart(contender: Contender, n: int, folder: Path, cap: float = 120.0) -> Restart:
    """Measure the start of N triggers of one contender with a key file, all at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        Cloud(folder, grpc=contender.grpc) as cloud,
        triggerer_of(contender, cloud, folder, n, key=True) as triggerer,
    ):
        time.sleep(2)
        jobs = cloud.seed(contender.service, [None] * n, one_job=contender.one_job)
        triggers = [contender.trigger(job, cloud.addresses) for job in jobs]
        began = time.time()
        triggerer.add(triggers)
        until = began + cap
        triggerer.wait_for(lambda: triggerer.board["running"] >= n, cap)
        all_run = time.time()
        covered, asked_at = _wait_for_cover(cloud, triggerer, n, all_run, until)
        time.sleep(0.3)
        figures, record = cloud.figures(), triggerer.stop()
        return Restart(
            name=contender.name,
            peer=contender.peer,
            service=contender.service,
            n=n,
            started=all_run - began,
            seconds=asked_at - began,
            cpu=record.cpu_until(asked_at + 0.1) - record.cpu_until(began),
            tokens=figures["requests"].get("token", 0),
            parses=record.parses,
            asked=figures["asked"],
            covered=covered,
        )


def _wait_for_cover(cloud: Cloud, triggerer: Triggerer, n: int, all_run: float, until: float) -> tuple[bool, float]:
    """Wait until every job has been asked for; return whether, and when."""
    while time.time() < until:
        figures: dict[str, Any] = cloud.figures()
        if figures["asked"] >= n:
            return True, figures["last_asked"] + LATENCY
        if listed := [at for at in figures["listed"] if at > all_run]:
            return True, min(listed) + 2 * LATENCY
        time.sleep(0.1)
        triggerer.wait_for(lambda: True, 0)
    return False, time.time()
