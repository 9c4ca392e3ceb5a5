"""Two hundred jobs of every kind under fire: nothing is lost, doubled or orphaned, whatever dies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import httpx
import pytest

from tests.chaos.ledger import LIVE, Books, Life, lives
from tests.chaos.monkey import Monkey, Site
from tests.chaos.plan import Work, decide
from tests.support.cloud import Cloud

HERE = Path(__file__).parent
CROWD = 40
"""Jobs of tasks that live before anything is broken; those that others have started come on top."""

RAGE = 170.0
"""Seconds in which everything is broken; the last tasks start their jobs meanwhile."""

PEACE = 300.0
"""Seconds in which all must end once nothing is broken any more."""


@pytest.mark.timeout(900)
def test_chaos(seed: int, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Every task ends with its job's true outcome; no job is doubled, left, cancelled for nothing, or told too late."""
    monkey = Monkey(seed, site, site.airflow.trigger_dag("chaos"))
    until_crowded(site.cloud)
    monkey.began = time.monotonic()
    monkey.rage(RAGE)
    states = until_all_ended(monkey, site.works)
    states |= try_again(monkey, [work for work in site.works if work.tag in monkey.asked.unowned])
    books = Books(site.works, lives(site.cloud), states, monkey.asked, monkey.troubles, site.cloud)
    violations = books.violations()
    with capsys.disabled():
        print(summary(monkey, books, violations))
    assert not violations, "\n".join([*violations, *(f"{at:6.1f} s  {what}" for at, what in monkey.log)])


def until_crowded(cloud: Cloud, seconds: float = 60) -> None:
    """Wait until many jobs live at the same time, but not for ever."""
    deadline = time.monotonic() + seconds
    while sum(life.state == LIVE and not life.tag.startswith("seeded") for life in lives(cloud)) < CROWD:
        if time.monotonic() > deadline:  # a slow machine; the summary says how many lived at a time
            return
        time.sleep(1)


def try_again(monkey: Monkey, works: list[Work]) -> dict[str, str]:
    """Clear the tasks that were killed while no process had them; their next tries find what was left running."""
    if not works:
        return {}
    for work in works:
        decide(monkey.cloud, work.tag, 2.0, good=True)
    # While the scheduler ends a run, a clear of one of its tasks is lost: the task has no state, the run has ended.
    monkey.airflow.wait("chaos", monkey.run_id)
    monkey.airflow.clear("chaos", monkey.run_id, [(work.task_id, work.number) for work in works])
    return until_all_ended(monkey, works)


def until_all_ended(monkey: Monkey, works: list[Work]) -> dict[str, str]:
    """Wait until each of these tasks has ended; return the states by tag."""
    deadline = time.monotonic() + PEACE
    while True:
        monkey.tend()
        try:
            found = monkey.airflow.task_instances("chaos", monkey.run_id)
        except httpx.HTTPError:
            found = []
        known = {(i["task_id"], i["map_index"]): str(i["state"]) for i in found}
        states = {work.tag: known.get((work.task_id, work.number), "missing") for work in works}
        running = [tag for tag, state in states.items() if state not in ("success", "failed")]
        if not running or time.monotonic() > deadline:
            return states
        time.sleep(1)


def summary(monkey: Monkey, books: Books, violations: list[str]) -> str:
    """Say what was done and what was checked."""
    ends = Counter(life.state for life in books.lives)
    late = books.late()
    calm = [life for life in late if books.lateness(life) == books.raw_lateness(life)]
    kinds = Counter(work.kind for work in books.works)
    lines = [
        f"\nseed {monkey.seed}: {len(books.works)} tasks ({_count(kinds)}), {len(books.lives)} jobs ({_count(ends)}), "
        f"at most {most_at_once(books.lives)} at a time",
        f"broken: {_count(monkey.done)}",
        f"touched: {len(monkey.asked.killed)} killed, {len(monkey.asked.cleared)} cleared by a user, "
        f"{len(monkey.asked.unowned)} killed while no process had them (their next tries have ended what ran), "
        f"{len(monkey.asked.struck)} lost their worker, {len(monkey.asked.stopped)} were told to stop",
        *(f"checked: {name}: {times}" for name, times in books.checked.items()),
        f"told to stop after the deadline: {most(books.lateness, late)} at most, {most(books.raw_lateness, late)} with "
        f"the time in which nobody could; {len(calm)} of {len(late)} in calm, {most(books.lateness, calm)} at most",
        f"{len(violations)} violations",
        *violations,
    ]
    return "\n".join(lines)


def most(lateness: Callable[[Life], float], late: list[Life]) -> str:
    """Return the greatest lateness."""
    return f"{max((0.0, *map(lateness, late))):.1f} s"


def most_at_once(jobs: list[Life]) -> int:
    """Return how many jobs lived at the same time."""
    moves = sorted([(job.began, 1) for job in jobs] + [(job.ended, -1) for job in jobs])
    return max(accumulate(step for _, step in moves), default=0)


def _count(counter: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counter.items()))
