"""A triggerer is killed again and again while many jobs wait: nothing is lost, doubled or cancelled."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

import pytest

from ork_provider.testing import HttpOutcome, Outcome
from ork_provider.testing.bigquery_jobs import ScriptedWork
from ork_provider.testing.google_connection import PROJECT
from tests.chaos.ledger import GOOD, Life, lives
from tests.chaos.monkey import TRIGGERERS, Monkey, Site
from tests.support.cloud import Cloud

PACE = 18.0
"""Seconds from one kill to the next. The other triggerer takes over after 12, at the settings of the suite."""

FOREVER = 1e6
EACH = 5
"""Jobs of each task."""


@dataclass
class Kill:
    """One kill: when, of what, and how many triggers it had."""

    at: float
    component: str
    triggers: int


@pytest.mark.timeout(1500)
def test_triggerer_kills(site: Site, kills: int, waiting: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each job ends once, by itself, and its task says so; how late is printed."""
    site.cloud.bigquery.script("'waiting-", Outcome(running=FOREVER))
    site.cloud.http_jobs.script('"waiting-', HttpOutcome(running=FOREVER))
    params = {"http": site.cloud.http_jobs.url, "bigquery": site.cloud.bigquery.url, "project": PROJECT}
    run_id = site.airflow.trigger_dag("waiting", conf=params)
    until_all_wait(site, waiting)
    let_end(site.cloud, waiting // EACH, kills * PACE)
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
    while len(own(site)) < waiting or site.postgres.rows(count)[0][0] < waiting // EACH:
        assert time.monotonic() < deadline, f"only {len(own(site))} of {waiting} jobs have started"
        time.sleep(1)


def let_end(cloud: Cloud, tasks: int, seconds: float) -> None:
    """Let the last job of a task end at any time in so many seconds, the others of it before."""
    dice, now = random.Random(tasks), time.monotonic()
    last = [dice.uniform(0, seconds) for _ in range(tasks)]
    for job in [job for job in cloud.http_jobs.created if job.body["tag"].startswith("waiting-")]:
        number, n = map(int, job.body["tag"].split("-")[1:])
        ends = now + (last[number] if n == EACH - 1 else dice.uniform(0, last[number]))
        job.outcome = replace(job.outcome, running=ends - job.created_at - job.outcome.pending)
    for query in [query for query in cloud.bigquery.inserted if query.job_id.startswith("waiting-")]:
        assert isinstance(query.work, ScriptedWork)
        ends = now + dice.uniform(0, last[int(query.job_id.split("-")[1])])
        script = query.work.script
        query.work.script = replace(script, running=ends - query.created_at - script.pending)


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
    ticks = [kill.at for kill in kills] + [kills[-1].at + PACE]
    for kill, until in zip(kills, ticks[1:], strict=True):
        after = sorted(late[number] for number, end in ends.items() if kill.at <= end < until)
        delays = f"{median(after):.1f} s later, {after[-1]:.1f} at most" if after else ""
        lines.append(f"{kill.component} with {kill.triggers} triggers; until the next {len(after)} tasks end {delays}")
    told, doubled = sum(life.told is not None for life in jobs), len(jobs) - len({life.tag for life in jobs})
    lost = sum(life.state != GOOD for life in jobs)
    lines.append(f"{max(late.values()):.1f} s late at most; {lost} lost, {doubled} doubled, {told} cancelled")
    return "\n".join(lines)
