"""The fault matrix: one passing fault on one status call of a job that then succeeds; what is the task told, and when.

Each contender waits for one job per fault, with a key file where it knows one (a 401 is answered with a new token,
which anonymous access does not have). When every job has been asked for, the next status call of each goes wrong once;
the jobs end `LEFT` seconds later. (A DQOps job is asked for singly only once, at the start: there the fault waits from
the start.) Ours are measured again with the fault on the list that tells of the job (DQOps: the feed), each in a scope
of its own with a few neighbours, of which one ends early, so that there is something to tell; the worst of them counts.

"ok" is a success event within an interval (and a request) of the end; "+ 3.1 s" is one that much after the end;
"FAILED" an event or an error that fails the task although the job is fine; "FALSE" a success before the job's end;
"never" no event within `CAP` of the end; "unmet" that no call was made which could have met it; "-" that the service
does not answer so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from _bench.contenders import POLL_INTERVAL, Contender
from _bench.trouble import EARLY, TROUBLES, Trouble, Watch, has_list, in_trouble, wait_and_stop, watches

ASKED = 9.0
"""Seconds until every contender has asked for each of its jobs at least once, after which the faults begin."""

LEFT = 6.0
CAP = 45.0
IN_TIME = POLL_INTERVAL + 1.0
NEIGHBOURS = {"cloud_run": 14}
"""How many jobs share a list that goes wrong: so many that ours list the executions of one Cloud Run job."""

ONCE_ASKED = ("dqops",)
"""Services of which ours ask for a single job only once, at the start; their fault is there from the start."""

SINGLE, LIST = "asked singly", "asked by list"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one fault did: `word` as the table has it, `late` seconds after the job's end, `said` what was wrong."""

    name: str
    peer: bool
    way: str
    trouble: str
    word: str
    late: float | None = None
    said: str = ""


COLUMNS = ("waiting", "fault on", *(trouble.name for trouble in TROUBLES))
TITLE = f"One passing fault on a status call (asked every {POLL_INTERVAL:g} s): what the task is told"


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Return the table: one row for each contender and way to ask."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.name, outcome.way), {})[outcome.trouble] = outcome.word
    return [(*key, *(words.get(trouble.name, "-") for trouble in TROUBLES)) for key, words in found.items()]


def measure(
    folder: Path, chosen: Sequence[Contender] | None = None, *, cap: float = CAP, say: Callable[[str], None] = print
) -> list[Outcome]:
    """Measure all contenders, or the chosen ones; `folder` is empty. Takes a minute, and the cap."""
    given = in_trouble() if chosen is None else chosen
    say(f"faults: {len(given)} triggerers start")
    with watches(given, folder, key=True) as (cloud, found):
        breaks = time.time() + ASKED
        for watch in found:
            _start(watch, breaks + LEFT)
        time.sleep(max(breaks - time.time(), 0))
        for watch in found:
            _break(watch)
        say(f"faults: each has met its fault; at most {LEFT + cap:g} s to go")
        wait_and_stop(cloud, found, breaks + LEFT + cap)
    return [outcome for watch in found for outcome in _outcomes(watch)]


def met_by(contender: Contender, trouble: Trouble, way: str) -> bool:
    """Whether there is such a fault on this way to ask."""
    if contender.name.endswith("gRPC") or contender.name == "google Dataproc":
        return trouble.grpc is not None
    return trouble.on(contender.service) is not None


def _start(watch: Watch, ends_at: float) -> None:
    """Wait for one job per fault on a single call, and for some per fault on a list."""
    if not watch.contender.one_job:  # who lists the executions of one job asks singly as those of many jobs do
        _wait_singly(watch, ends_at)
    if has_list(watch.contender):
        others = NEIGHBOURS.get(watch.contender.service, 3) - 1
        for trouble in TROUBLES:
            jobs = watch.seed(f"list-{trouble.name}", [ends_at - LEFT + 1, *[ends_at] * others])
            watch.add((f"{LIST}:{trouble.name}", job) for job in jobs)


def _wait_singly(watch: Watch, ends_at: float) -> None:
    keyed = zip(TROUBLES, watch.seed("jobs", [ends_at] * len(TROUBLES)), strict=True)
    jobs = {f"{SINGLE}:{trouble.name}": (trouble, job) for trouble, job in keyed}
    if watch.contender.service in ONCE_ASKED:
        for key, (trouble, job) in jobs.items():
            watch.break_job(key, job, trouble)
    watch.add((key, job) for key, (_, job) in jobs.items())


def _break(watch: Watch) -> None:
    known = {trouble.name: trouble for trouble in TROUBLES}
    for key, job in watch.jobs.values():
        way, _, name = key.partition(":")
        if way == SINGLE and key not in watch.broken:
            watch.break_job(key, job, known[name])
        elif way == LIST and key not in watch.broken:
            watch.break_list(key, job, known[name])


def _outcomes(watch: Watch) -> list[Outcome]:
    """Return the outcome of each fault: the worst of the jobs that met it."""
    found: dict[str, list[Outcome]] = {}
    for key, waiting, at, said in watch.ends():
        way, _, name = key.partition(":")
        trouble = next((t for t in TROUBLES if t.name == name), None)
        if trouble is not None and met_by(watch.contender, trouble, way):
            late = None if at is None else at - waiting.ends_at
            contender = watch.contender
            outcome = Outcome(
                name=contender.name,
                peer=contender.peer,
                way=way,
                trouble=name,
                word="unmet" if key in watch.unmet else _word(late, said),
                late=late,
                said=said[:300],
            )
            found.setdefault(key, []).append(outcome)
    return [max(outcomes, key=_badness) for outcomes in found.values()]


def _word(late: float | None, said: str) -> str:
    if late is None:
        return "never"
    if said:
        return "FAILED"
    if late < -EARLY:
        return "FALSE"
    return "ok" if late <= IN_TIME else f"+ {late:.1f} s"


def _badness(outcome: Outcome) -> tuple[int, float]:
    return ("unmet", "ok", "+", "never", "FAILED", "FALSE").index(outcome.word.split(" ")[0]), outcome.late or 0.0
