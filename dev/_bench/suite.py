"""./dev/bench waiting: all measurements of waiting, one after the other, as many as fit into the time given.

The order is that of their weight: 1000 triggers, the restart, isolation and faults, 10,000 triggers, 100 triggers. What
no longer fits is left out, and said. 100 triggers take next to no CPU: three contenders are then measured side by side.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from _bench import faults, isolation, plot, waiting
from _bench.contenders import Contender, contenders
from _bench.report import Report
from _bench.trouble import in_trouble
from _bench.waiting import Plan, Result

FULL = {100: Plan(settle=7, window=20, cap=60), 1000: Plan(settle=12, window=25), 10_000: Plan(settle=40, window=30)}
QUICK = {100: Plan(settle=6, window=12, cap=45)}
RESTARTED = 1000
RESTART_CAP = 60.0
FEW = 100
SIDE_BY_SIDE = 3
"""Contenders that are measured at a time with so few triggers."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure.

    :param out: folder for waiting.json and waiting.svg
    :param only: words; a contender counts if one of them is in its name or its service. Empty: all
    :param sizes: numbers of triggers; empty: those of each contender
    :param minutes: no measurement starts that would end later
    :param plans: how long a run takes, by number of triggers
    :param extras: measure the restart, isolation and faults as well
    """

    out: Path
    only: Sequence[str] = ()
    sizes: Sequence[int] = ()
    minutes: float = 30.0
    plans: dict[int, Plan] = field(default_factory=lambda: FULL)
    extras: bool = True

    def chosen(self) -> list[Contender]:
        """Return the contenders that were asked for."""
        words = [word.lower().replace("_", " ") for word in self.only]
        return [c for c in contenders() if not words or any(word in _words(c) for word in words)]

    def sizes_of(self, contender: Contender) -> Sequence[int]:
        """Return the numbers of triggers to measure a contender with."""
        return self.sizes or [n for n in contender.sizes if n in self.plans]

    def plan(self, n: int) -> Plan:
        """Return how long a run with so many triggers takes."""
        return self.plans.get(n) or Plan()


def _words(contender: Contender) -> str:
    return f"{contender.name} {contender.service}".lower().replace("_", " ")


class Suite:
    """One run of the benchmark."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.say = say
        self.report = Report(command=shlex.join(["./dev/bench", *sys.argv[1:]]))
        self.began = time.monotonic()

    def run(self) -> Report:
        """Measure all, and write the files as far as they are known after each measurement."""
        chosen = self.settings.chosen()
        with tempfile.TemporaryDirectory(prefix="ork-bench-", ignore_cleanup_errors=True) as scratch:
            self.scratch = Path(scratch)
            sizes = {n for contender in chosen for n in self.settings.sizes_of(contender)}
            large = sorted(sizes - {RESTARTED}, reverse=True)
            for n in sorted(sizes & {RESTARTED}):
                self._live(n, chosen)
            if self.settings.extras:
                self._extras(chosen)
            for n in large:
                self._live(n, chosen)
        return self.report

    def _live(self, n: int, chosen: Sequence[Contender]) -> None:
        among = [contender for contender in chosen if n in self.settings.sizes_of(contender)]
        plan = self.settings.plan(n)
        size = SIDE_BY_SIDE if n <= FEW else 1
        for group in (among[start : start + size] for start in range(0, len(among), size)):
            names = "; ".join(contender.name for contender in group)
            self._try(f"{n:,} triggers, {names}", plan.seconds(n), partial(self._measure, group, n, plan))

    def _measure(self, group: Sequence[Contender], n: int, plan: Plan) -> None:
        with ThreadPoolExecutor(len(group)) as pool:
            running = [pool.submit(waiting.run, c, n, self._folder(), plan) for c in group]
        for done in running:
            result = done.result()
            self.report.live.append(result)
            self.say(f"    {result.name}: p50 {result.p50:.2f} s, p95 {result.p95:.2f} s, {_brief(result)}")

    def _extras(self, chosen: Sequence[Contender]) -> None:
        for contender in chosen:
            if contender.restart:
                seconds = 20 + RESTART_CAP * contender.peer
                self._try(f"restart, {contender.name}", seconds, partial(self._restart, contender))
        self._try("isolation", 120.0, partial(self._isolation, chosen))
        self._try("faults", 120.0, partial(self._faults, chosen))

    def _restart(self, contender: Contender) -> None:
        found = waiting.restart(contender, RESTARTED, self._folder(), RESTART_CAP)
        self.report.restarts.append(found)
        self.say(f"    {found.cpu:.1f} CPU-seconds, {found.tokens} tokens, {found.parses} keys read")

    def _isolation(self, chosen: Sequence[Contender]) -> None:
        asked = [contender for contender in in_trouble() if contender in chosen]
        self.report.isolation = isolation.measure(self._folder(), asked, say=self.say)

    def _faults(self, chosen: Sequence[Contender]) -> None:
        asked = [contender for contender in in_trouble() if contender in chosen]
        self.report.faults = faults.measure(self._folder(), asked, say=self.say)

    def _folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.scratch))

    def _try(self, what: str, seconds: float, measure: Callable[[], None]) -> None:
        """Measure something if there is time, and write down what has been found so far."""
        spent = time.monotonic() - self.began
        if spent + seconds > self.settings.minutes * 60:
            self.report.skipped.append(f"Left out for lack of time: {what}")
            return
        self.say(f"{spent / 60:5.1f} min  {what}")
        try:
            measure()
        except Exception as exc:
            self.report.problems.append(f"Not measured: {what} ({type(exc).__name__}: {exc})")
            self.say(traceback.format_exc())
        self.report.seconds = time.monotonic() - self.began
        self.write()

    def write(self) -> None:
        """Write both files."""
        self.settings.out.mkdir(parents=True, exist_ok=True)
        self.report.write(self.settings.out / "waiting.json")
        plot.plot(self.report.live, self.settings.out / "waiting.svg")


def _brief(result: Result) -> str:
    return f"{result.asks:.1f} requests/s, {result.cpu:.3f} cores, {result.memory:.1f} kB each"


def measure(settings: Settings) -> int:
    """Run the benchmark; print the tables. The exit code is 1 if something could not be measured."""
    suite = Suite(settings, lambda text: print(text, file=sys.stderr, flush=True))
    report = suite.run()
    report.print(Console(width=170))
    print(f"Written: {settings.out / 'waiting.json'}, {settings.out / 'waiting.svg'}")
    return 1 if report.problems else 0
