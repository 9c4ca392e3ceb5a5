"""The tables of ./dev/bench waiting, and the JSON file with all that was measured.

Where a peer waits for the same service, its figures show in brackets how many times they are those of ours.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from _bench import faults, isolation
from _bench.contenders import POLL_INTERVAL
from _bench.waiting import Restart, Result

PACKAGES = (
    "airflow-provider-ork",
    "apache-airflow",
    "apache-airflow-providers-google",
    "apache-airflow-providers-http",
    "apache-airflow-providers-standard",
    "aiohttp",
)

LATE = 0.010
"""Seconds over its 50 ms by which the fake cloud's median answer may come before a run is marked."""

OTHERS = 0.5
"""Cores that other processes may take before a run is marked."""

COLUMNS = (
    "waiting",
    "noticed after s: p50",
    "p95",
    "worst",
    "requests/s",
    "new conn./s",
    "sockets",
    "CPU cores",
    "kB each",
    "lag p99 ms",
    "log lines",
)

RESTART_COLUMNS = ("starting", "all run after s", "all asked for after s", "CPU s", "tokens", "keys read", "remarks")

EXPLAINED = f"""\
Interval: {POLL_INTERVAL:g} s for all; ours ask for lists every 2 s unless said. The fake cloud answers after 50 ms.
Noticed after: from a job's end to the trigger's event, of the jobs that end in the window. In brackets: times ours.
Requests, connections, CPU (of the runner's process), lag (of its event loop): of the window. Log lines: of a finished
trigger's own, in its life; Airflow adds three. kB each: what the process grew by, divided by N."""


@dataclass
class Report:
    """All that one run of the benchmark has found; `problems` and `skipped` say what it has not."""

    command: str = ""
    live: list[Result] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    isolation: list[isolation.Isolation] = field(default_factory=list)
    faults: list[faults.Outcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, with the machine and the versions."""
        return {"machine": machine(), "versions": versions(), **asdict(self)}

    def write(self, path: Path) -> None:
        """Write the JSON file."""
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    def print(self, console: Console) -> None:
        """Print the tables."""
        for n in sorted({result.n for result in self.live}):
            rows = live_rows([result for result in self.live if result.n == n])
            console.print(_table(_title(n, self.live), COLUMNS, rows))
            for result in self.live:
                if result.n == n and (told := remarks(result)):
                    console.print(f"  {result.name}: {'; '.join(told)}")
        if self.live:
            console.print(EXPLAINED + "\n", style="dim")
        if self.restarts:
            title = f"A triggerer starts {self.restarts[0].n:,} triggers at once, with a key file"
            console.print(_table(title, RESTART_COLUMNS, restart_rows(self.restarts)))
        if self.isolation:
            console.print(_table(isolation.TITLE, isolation.COLUMNS, [found.row() for found in self.isolation]))
        if self.faults:
            console.print(_table(faults.TITLE, faults.COLUMNS, faults.rows(self.faults)))
        for text in [*self.problems, *self.skipped]:
            console.print(text, style="bold")
        console.print(
            f"{machine()}; {', '.join(f'{name} {v}' for name, v in versions().items())}; {self.seconds:.0f} s"
        )


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        words = column in ("remarks", "trouble", "fault on") or number == 0
        table.add_column(column, justify="left" if words else "right", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    return table


def _title(n: int, results: Sequence[Result]) -> str:
    ended = next(result.ended for result in results if result.n == n)
    return f"{n:,} triggers wait; {ended:.1f} of their jobs end in a second, and ours ask once more for each of these"


def live_rows(results: Sequence[Result]) -> list[list[str]]:
    """Return the rows of one N: by service, ours first."""
    services = list(dict.fromkeys(result.service for result in results))
    ordered = sorted(results, key=lambda result: (services.index(result.service), result.peer))
    return [_live_row(result, _ours(result, results)) for result in ordered]


def _ours(peer: Result, results: Sequence[Result]) -> Result | None:
    """Return the first of ours that waits for the same service; None for ours themselves."""
    if not peer.peer:
        return None
    return next((result for result in results if result.service == peer.service and not result.peer), None)


def _live_row(result: Result, ours: Result | None) -> list[str]:
    def cell(name: str, spelling: str) -> str:
        value = getattr(result, name)
        text = format(value, spelling)
        base = getattr(ours, name) if ours else 0.0
        return f"{text} ({_times(value / base)})" if base > 0 else text

    more = ">" if result.censored else ""
    most_are_late = ">" if result.censored * 2 > result.samples else ""
    return [
        result.name,
        most_are_late + cell("p50", ".2f"),
        (">" if result.censored * 20 > result.samples else "") + cell("p95", ".2f"),
        f"{more}{result.worst:.2f}",
        cell("asks", ".1f"),
        cell("connections", ".1f"),
        cell("sockets", ".0f"),
        cell("cpu", ".3f"),
        cell("memory", ".1f"),
        f"{result.lag_p99 * 1000:.0f}",
        f"{result.lines:.0f}",
    ]


def _times(ratio: float) -> str:
    return f"x{ratio:.0f}" if ratio >= 9.5 else f"x{ratio:.1f}"


def remarks(result: Result) -> list[str]:
    """Say what a reader must know of a row before he believes it."""
    others = result.busy - result.cpu - result.cloud_cpu
    told = {
        f"{result.censored} of {result.samples} not noticed in time": result.censored,
        f"{result.failed} failed": result.failed,
        f"{result.early} too early": result.early,
        "not all ran when the window opened": result.started is None,
        f"the fake cloud answered {1000 * (result.cloud_late or 0):.0f} ms late": (result.cloud_late or 0) > LATE,
        f"other processes took {others:.1f} cores": others > OTHERS,
    }
    return [text for text, holds in told.items() if holds]


def restart_rows(found: Sequence[Restart]) -> list[list[str]]:
    """Return the rows of the restarts: by service, ours first."""
    services = list(dict.fromkeys(restart.service for restart in found))
    ordered = sorted(found, key=lambda restart: (services.index(restart.service), restart.peer))
    ours = {restart.service: restart.cpu for restart in reversed(found) if not restart.peer}
    return [_restart_row(restart, ours.get(restart.service, 0.0) if restart.peer else 0.0) for restart in ordered]


def _restart_row(found: Restart, base: float) -> list[str]:
    more = "" if found.covered else ">"
    times = f" ({more}{_times(found.cpu / base)})" if base else ""
    return [
        found.name,
        f"{found.started:.1f}",
        f"{more}{found.seconds:.1f}",
        f"{more}{found.cpu:.1f}{times}",
        str(found.tokens),
        str(found.parses),
        "" if found.covered else f"only {found.asked} of {found.n} asked for",
    ]


def machine() -> str:
    """Say what it ran on."""
    memory = psutil.virtual_memory().total / 2**30
    hardware = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB"
    return f"{hardware}, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """Return the versions of all that was measured."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
