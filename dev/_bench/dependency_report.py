"""The table of ./dev/bench dependency, and the JSON file with all that was measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from _bench.report import machine, versions

DELAY = 5.0
"""Seconds between two looks, of all."""

MOST_REQUESTS, MOST_SECONDS = 25, DELAY + 1
"""What ours may ask for in a tick, and the p95 of what they may need to notice an end."""

BEAT, GIVEN_UP = 5.0, 30.0
"""Seconds between two heartbeats of the job, and after which its triggers are given to another one."""

OTHERS = 0.5
"""Cores that other processes may take before a row is marked."""

COLUMNS = (
    "waiting",
    "requests/s",
    "most in a tick",
    f"in any {DELAY:g} s",
    "noticed after s: p50",
    "p95",
    "worst",
    "in the database p95",
    "runner, cores",
    "supervisor, cores",
    "heartbeat s",
    "all run after s",
    "load",
)

EXPLAINED = f"""\
Each looks every {DELAY:g} s, which is a tick. Requests to the supervisor, cores: of a time in which nothing ends.
Most: then and while runs end. Noticed after: from a run's end in the database to the trigger's event.
In the database: until that was written. Load: before and after. Heartbeat: the longest time between two of the
triggerer's job, {BEAT:g} s when all is well; while the triggers start, and from then on."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one measurement has shown; see the module for what the figures mean.

    `requests`: per second by kind, of the quiet time, as are `cpu` (cores of the runner) and `supervisor_cpu`.
    `per_second`: all of them in each second from then on; `before`: by kind, until then. `started`: seconds until all
    triggers ran; None: after `Plan.start` only `running` of them did. `censored`: waits not reported in time;
    `failed`: events that are no success; `early`: those whose run had not ended. `heartbeat`: longest time between two
    from the quiet time on, in seconds; `start_heartbeat`: before. `lag`: p99 of the runner's event loop, in seconds.
    `load`: the machine's one-minute load average, when the triggerer was started and when the last run had ended;
    `others`: cores taken by other processes.
    """

    name: str
    peer: bool
    n: int
    samples: int
    requests: dict[str, float]
    per_tick: int
    any_tick: int
    p50: float
    p95: float
    worst: float
    written_p95: float
    censored: int
    failed: int
    early: int
    cpu: float
    supervisor_cpu: float
    start_heartbeat: float
    heartbeat: float
    started: float | None
    running: int
    lag: float
    load: tuple[float, float]
    others: float
    before: dict[str, int]
    per_second: list[int] = field(repr=False)
    latencies: list[float] = field(repr=False)

    @property
    def asks(self) -> float:
        """Requests per second."""
        return sum(self.requests.values())

    @property
    def brief(self) -> str:
        """What matters most."""
        return f"p50 {self.p50:.2f} s, p95 {self.p95:.2f} s, {self.asks:.1f} requests/s, at most {self.per_tick} a tick"

    @property
    def kept(self) -> bool:
        """Whether it keeps within what ours have to."""
        return self.per_tick <= MOST_REQUESTS and self.p95 <= MOST_SECONDS


@dataclass
class Report:
    """All that was measured; `problems` and `skipped` say what was not."""

    command: str = ""
    results: list[Result] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def write(self, path: Path) -> None:
        """Write the JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {"machine": machine(), "versions": versions(), **asdict(self)}
        path.write_text(json.dumps(found, indent=1) + "\n")

    def print(self, console: Console) -> None:
        """Print the table of each number of waits, and what a reader must know of it."""
        for n in sorted({result.n for result in self.results}, reverse=True):
            results = [result for result in self.results if result.n == n]
            console.print(_table(f"{n:,} tasks wait for 20 DAG runs, which end one after the other", results))
            for result in results:
                if told := remarks(result):
                    console.print(f"  {result.name}: {'; '.join(told)}")
        if self.results:
            console.print(EXPLAINED + "\n", style="dim")
        for result in self.results:
            if not result.peer:
                said = "kept" if result.kept else "not kept"
                goal = f"at most {MOST_REQUESTS} requests in a tick, p95 at most {MOST_SECONDS:g} s"
                console.print(f"{result.name}, {result.n:,}: {goal}: {said}")
        for text in [*self.problems, *self.skipped]:
            console.print(text, style="bold")
        console.print(
            f"{machine()}; {', '.join(f'{name} {v}' for name, v in versions().items())}; {self.seconds:.0f} s"
        )


def _table(title: str, results: Sequence[Result]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == COLUMNS[0] else "right", no_wrap=column == COLUMNS[0])
    for result in results:
        table.add_row(*row(result))
    return table


def row(result: Result) -> list[str]:
    """Return the cells of one row; a figure that waits not reported in time have cut off is a lower bound."""

    def bound(figure: float, share: float) -> str:
        return f"{'>' if result.censored > result.samples * share else ''}{figure:.2f}"

    return [
        result.name,
        f"{result.asks:.1f}",
        str(result.per_tick),
        str(result.any_tick),
        bound(result.p50, 0.5),
        bound(result.p95, 0.05),
        bound(result.worst, 0),
        bound(result.written_p95, 0.05),
        f"{result.cpu:.3f}",
        f"{result.supervisor_cpu:.3f}",
        f"{result.start_heartbeat:.1f}, {result.heartbeat:.1f}",
        f"{result.started:.0f}" if result.started is not None else "-",
        f"{result.load[0]:.1f}, {result.load[1]:.1f}",
    ]


def remarks(result: Result) -> list[str]:
    """Say what a reader must know of a row before he believes it."""
    longest = max(result.start_heartbeat, result.heartbeat)
    pushes = result.requests.get("SetXCom", 0.0)
    told = {
        f"{result.censored} of {result.samples} not noticed in time": result.censored,
        f"{result.failed} failed": result.failed,
        f"{result.early} too early": result.early,
        f"only {result.running} ran when the quiet time began": result.running < result.n,
        f"no heartbeat for {longest:.0f} s: others would have taken the triggers": longest > GIVEN_UP,
        f"{pushes:.1f} of its requests/s push progress": pushes,
        f"other processes took {result.others:.1f} cores": result.others > OTHERS,
    }
    return [text for text, holds in told.items() if holds]


def most_within(seconds: float, times: Sequence[float]) -> int:
    """Return the most of these times, which are in order, that lie within so many seconds."""
    most = first = 0
    for number, at in enumerate(times):
        while at - times[first] >= seconds:
            first += 1
        most = max(most, number - first + 1)
    return most


def longest_gap(times: Sequence[float], until: float) -> float:
    """Return the longest time between two of these times, or from the last before the end until then."""
    times = [at for at in times if at < until]
    return max((later - at for at, later in zip(times, [*times, until][1:], strict=True)), default=0.0)


def is_bad(payload: Any) -> bool:
    """Whether an event does not say that all is well."""
    return isinstance(payload, dict) and payload.get("status") != "success"


def each_second(times: Sequence[float], since: float) -> list[int]:
    """Return how many of these times lie in each second from a moment on."""
    counts = Counter(int(at - since) for at in times if at >= since)
    return [counts[second] for second in range(max(counts, default=-1) + 1)]
