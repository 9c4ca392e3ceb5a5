"""A triggerer is killed again and again while many jobs wait: nothing is lost, doubled or cancelled."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest

from ork_provider.testing import HttpOutcome, Outcome
from ork_provider.testing.google_connection import PROJECT
from tests.chaos.ledger import GOOD, LIVE, Life, lives
from tests.chaos.monkey import TRIGGERERS, Monkey, Site

PACE = 7.0
"""Seconds from one kill to the next: a triggerer takes about as long to start."""

STARTS = 3.0
"""Jobs that are started in a second, five by each task: how long the first ones must run for all to wait together."""

AFTER = 25.0
"""Seconds after a kill in which the end of a job may be noticed later for it."""


@dataclass
class Kill:
    """One kill: when, of what, and how many triggers it had."""

    at: float
    component: str
    triggers: int


@pytest.mark.timeout(1500)
def test_triggerer_kills(site: Site, kills: int, waiting: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each job ends once, by itself, and its task says so; how late is printed."""
    dice = random.Random(kills)
    begins = 30 + waiting / STARTS
    for i in range(waiting):
        seconds = begins + dice.uniform(0, kills * PACE)
        tag = f"waiting-{i // 5}-{i % 5}"
        site.cloud.bigquery.script(f"'{tag}'", Outcome(running=seconds))
        site.cloud.http_jobs.script(f'"{tag}"', HttpOutcome(running=seconds))
    params = {"http": site.cloud.http_jobs.url, "bigquery": site.cloud.bigquery.url, "project": PROJECT}
    run_id = site.airflow.trigger_dag("waiting", conf=params)
    until_all_wait(site, waiting)
    done = list(strike(Monkey(0, site, run_id), kills))
    assert site.airflow.wait("waiting", run_id, timeout=300) == "success"
    jobs = own(site)
    with capsys.disabled():
        print(report(site, run_id, done, jobs))
    assert len(jobs) == len({life.tag for life in jobs}) == waiting
    assert {life.state for life in jobs} == {GOOD}
    assert not [life.tag for life in jobs if life.told is not None]


def own(site: Site) -> list[Life]:
    """Return the jobs of this test."""
    return [life for life in lives(site.cloud) if life.tag.startswith("waiting-")]


def until_all_wait(site: Site, waiting: int, seconds: float = 600) -> None:
    """Wait until every task has started its jobs, and is deferred."""
    deadline = time.monotonic() + seconds
    count = "SELECT count(*) FROM task_instance WHERE dag_id = 'waiting' AND state = 'deferred'"
    while len(own(site)) < waiting or site.postgres.rows(count)[0][0] < waiting // 5:
        assert time.monotonic() < deadline, f"only {len(own(site))} of {waiting} jobs have started"
        assert all(life.state == LIVE for life in own(site)), "jobs end before all wait: STARTS is too large"
        time.sleep(1)


def strike(monkey: Monkey, kills: int) -> Iterator[Kill]:
    """Kill the triggerer that has more triggers, start it again at once, and so on."""
    for _ in range(kills):
        began = time.monotonic()
        counts = {component: 0 for component in TRIGGERERS if monkey.site.airflow.runs(component)}
        owners = monkey.components()
        for number, triggers in monkey.postgres.rows(
            "SELECT triggerer_id, count(*) FROM trigger GROUP BY triggerer_id"
        ):
            if owners.get(number) in counts:
                counts[owners[number]] = triggers
        component = max(counts, key=lambda name: counts[name])
        monkey.site.airflow.kill(component, signal.SIGKILL)
        yield Kill(time.monotonic(), component, counts[component])
        monkey.site.airflow.launch(component)
        time.sleep(max(0.0, PACE - (time.monotonic() - began)))


def report(site: Site, run_id: str, kills: list[Kill], jobs: list[Life]) -> str:
    """Say how late the ends of tasks were noticed that fell into the time after each kill."""
    shift = time.time() - time.monotonic()
    ends: dict[int, float] = {}
    for life in jobs:
        number = int(life.tag.split("-")[1])
        ends[number] = max(ends.get(number, 0.0), life.ended)
    noticed = {
        instance["map_index"]: datetime.fromisoformat(instance["end_date"].replace("Z", "+00:00")).timestamp() - shift
        for instance in site.airflow.task_instances("waiting", run_id)
    }
    late = {number: noticed[number] - end for number, end in ends.items()}
    lines = [f"\n{len(kills)} SIGKILLs of a triggerer while {len(jobs)} jobs of {len(ends)} tasks wait"]
    for i, kill in enumerate(kills, 1):
        after = [late[number] for number, end in ends.items() if 0 <= end - kill.at < AFTER]
        what = (
            f"{len(after)} tasks end within {AFTER:g} s after it, noticed {max(after, default=0.0):.1f} s later at most"
        )
        lines.append(f"kill {i}: {kill.component} with {kill.triggers} triggers; {what}")
    told, doubled = sum(life.told is not None for life in jobs), len(jobs) - len({life.tag for life in jobs})
    lost = sum(life.state != GOOD for life in jobs)
    lines.append(f"noticed {max(late.values()):.1f} s late at most; {lost} lost, {doubled} doubled, {told} cancelled")
    return "\n".join(lines)
