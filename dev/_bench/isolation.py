"""Isolation: what a job in trouble does to its neighbours.

Each contender waits for 20 jobs over one connection. The status call of one of them is never answered, that of another
answers 503 for ever; both have ended, so that whoever lists asks for them, too. The other 18 end at known times: how
late is each noticed? Ours are measured once more for each way to ask for many jobs at once: with healthy jobs whose
list (DQOps: feed) hangs, or answers 503 for ever, from some moment on.

All contenders wait side by side, each in a triggerer of its own, in one cloud. A job that is not reported `CAP` seconds
after the last one has ended counts as unreported. Trouble that no call has met is said to be unnoticed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from _bench.cloud import Cloud
from _bench.contenders import POLL_INTERVAL, Contender
from _bench.trouble import EARLY, HANG, KNOWN, Watch, has_list, in_trouble, wait_and_stop, watches

HEALTHY = 18
LISTED = {"cloud_run": 30}
"""Healthy jobs in a scope whose list is in trouble (others: 10); so many that ours list the executions of a job."""

BROKEN = KNOWN["503"]
FIRST_END, LAST_END = 6.0, 18.0
CAP = 60.0

ONE_JOB = "1 job hangs, 1 answers 503"
SCENES = {"hang": "its list hangs", "503": "its list answers 503"}


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """How late the healthy jobs of a contender were noticed, in seconds.

    `reported` of `healthy` were reported at all, `wrong` of them not as a success or before they ended. `median` and
    `worst` count an unreported job with the time until the measurement ended: `censored`.
    """

    name: str
    peer: bool
    trouble: str
    healthy: int
    reported: int
    wrong: int
    median: float
    worst: float

    @property
    def censored(self) -> bool:
        """Whether some job was not reported in time."""
        return self.reported < self.healthy

    def row(self) -> tuple[str, ...]:
        """Return the cells of a table."""
        at_least = "> " if self.censored else ""
        median = f"{at_least if self.reported * 2 < self.healthy else ''}{self.median:.1f}"
        frozen = f"{self.healthy - self.reported}" if self.censored else ""
        return self.name, self.trouble, median, f"{at_least}{self.worst:.1f}", frozen, f"{self.wrong or ''}"


COLUMNS = ("waiting", "trouble", "healthy jobs noticed after s: median", "worst", "not at all", "wrongly")
TITLE = f"Isolation: {HEALTHY} healthy jobs beside two in trouble; asked every {POLL_INTERVAL:g} s, our lists every 2 s"


def measure(
    folder: Path, chosen: Sequence[Contender] | None = None, *, cap: float = CAP, say: Callable[[str], None] = print
) -> list[Isolation]:
    """Measure all contenders, or the chosen ones; `folder` is empty. Takes two minutes, and the cap."""
    given = in_trouble() if chosen is None else chosen
    say(f"isolation: {len(given)} triggerers start")
    with watches(given, folder, key=False) as (cloud, found):
        last_end = time.time() + LAST_END
        for watch in found:
            _start(watch)
        say(f"isolation: healthy jobs end within {LAST_END:g} s; at most {LAST_END + cap:g} s to go")
        time.sleep(2)
        for watch in found:
            if has_list(watch.contender):
                _break_lists(watch)
        over = wait_and_stop_healthy(cloud, found, last_end + cap)
        say("isolation: measured")
    return [result for watch in found for result in _results(watch, over)]


def _start(watch: Watch) -> None:
    now = time.time()
    hung, broken, *healthy = watch.seed("jobs", [now + 1, now + 1, *_ends(now, HEALTHY)])
    watch.break_job("hung", hung, HANG, times=-1)
    watch.break_job("broken", broken, BROKEN, times=-1)
    keyed = [("in trouble", hung), ("in trouble", broken), *((ONE_JOB, job) for job in healthy)]
    random.Random(1).shuffle(keyed)
    watch.add(keyed)
    if has_list(watch.contender):
        for name, words in SCENES.items():
            watch.add(
                (words, job) for job in watch.seed(f"list-{name}", _ends(now, LISTED.get(watch.contender.service, 10)))
            )


def _ends(now: float, count: int) -> list[float]:
    return [now + FIRST_END + (LAST_END - FIRST_END) * number / (count - 1) for number in range(count)]


def _break_lists(watch: Watch) -> None:
    """Break the lists, once the triggers have had a first answer."""
    a_job_of = dict(watch.jobs.values())
    for name, words in SCENES.items():
        watch.break_list(words, a_job_of[words], KNOWN[name], times=-1)


def wait_and_stop_healthy(cloud: Cloud, found: Sequence[Watch], until: float) -> float:
    """Wait for the events of the healthy jobs, as the two in trouble may never have one; return when that was over."""
    for watch in found:
        board, healthy = watch.triggerer.board, sum(key != "in trouble" for key, _ in watch.jobs.values())
        watch.triggerer.wait_for(lambda b=board, h=healthy: b["reported"] >= h, max(until - time.time(), 0))  # type: ignore[misc]
    over = time.time()
    wait_and_stop(cloud, found, over)
    return over


def _results(watch: Watch, over: float) -> list[Isolation]:
    groups: dict[str, list[tuple[float | None, str, float]]] = {}
    for key, waiting, at, wrong in watch.ends():
        if key not in ("warm", "in trouble"):
            groups.setdefault(key, []).append((at, wrong, waiting.ends_at))
    unmet = {ONE_JOB} if {"hung", "broken"} <= watch.unmet else watch.unmet
    return [
        _result(watch.contender, f"{trouble}{', unnoticed' if trouble in unmet else ''}", jobs, over)
        for trouble, jobs in groups.items()
    ]


def _result(
    contender: Contender, trouble: str, jobs: Sequence[tuple[float | None, str, float]], over: float
) -> Isolation:
    late = sorted((at or over) - ends_at for at, _, ends_at in jobs)
    return Isolation(
        name=contender.name,
        peer=contender.peer,
        trouble=trouble,
        healthy=len(jobs),
        reported=sum(at is not None for at, _, _ in jobs),
        wrong=sum(at is not None and (bool(wrong) or at < ends_at - EARLY) for at, wrong, ends_at in jobs),
        median=late[len(late) // 2],
        worst=late[-1],
    )
