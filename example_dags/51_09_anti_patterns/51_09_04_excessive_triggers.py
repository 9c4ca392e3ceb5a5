"""# 51.9.4 Excessive trigger creation

A trigger is cheap, but it is not free: a row in the database, two starts of a worker, an open log file, a poll loop.
With one trigger for each item, a list that grows grows all of these. One trigger can wait for many jobs just as well.
This lesson waits for eight jobs in both ways.

## You will see

1. Too many triggers: one for each of eight jobs, against one for all eight.
2. What they load the triggerer with: how many run at once, how long it takes until the last one has begun, how often
   they ask, how many files are open.
3. Consolidation: `WaitForJobsOperator` waits for all eight with one trigger; the worker starts of both ways, and what
   the one task knows of each job.
4. Planning: from these numbers, how many triggerers and worker starts ten thousand items would take.

## Watch

In the grid the eight copies of `wait_for_each`, purple together, and the one square of `wait_for_all`. Beside it the
logs of `wait_for_each`, eight of them, and one of `wait_for_all`.

## Expect

The run succeeds. Mapping is right where each item needs retries and a log of its own, up to hundreds. One trigger for
all saves rows, logs and worker starts; requests it saves where jobs share a poll, as those of one BigQuery project
do. Under `airflow dags test` the eight copies wait one after the other, so that never more than one trigger runs at
once, and there are no open files to count.

## Needs

The HTTP job service behind the connection `http_default`.

## Next

51.9.5 is about a triggerer that nobody looks at.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task
from lesson_51_09_many import WaitForOne
from lesson_slots import MeasuresSlot, slot_spans

from ork_provider.http import HttpJob
from ork_provider.operator import WaitForJobsOperator

JOBS = 8
ITEMS = 10_000
SHARE = 50  # jobs of one `WaitForJobsOperator`
log = logging.getLogger(__name__)


class WaitForEach(MeasuresSlot, WaitForOne):
    """Wrong for many: one task, and one trigger, for each job."""


class WaitForAll(MeasuresSlot, WaitForJobsOperator):
    """Right: one task, and one trigger, for all jobs."""


@dag(
    dag_id="51_09_04_excessive_triggers",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "intermediate", "anti-pattern"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait for eight jobs with one trigger, then for eight jobs with eight."""

    @task
    def start_jobs(seconds: float) -> list[dict[str, Any]]:
        """Start eight jobs that run so long; return them as `WaitForJobsOperator` takes them."""
        from airflow.providers.http.hooks.http import HttpHook

        hook = HttpHook("POST", "http_default")
        answers = [hook.run("/jobs", json={"n": n, "fake": {"pending": 0, "running": seconds}}) for n in range(JOBS)]
        return [HttpJob(url=f"{answer.url}/{answer.json()['id']}").to_dict() for answer in answers]

    @task
    def report(done: dict[str, Any], events: list[dict[str, Any]]) -> None:
        """Print the four points; fail if one trigger for each was not the dearer way."""
        context = get_current_context()
        each, one = slot_spans(context, "wait_for_each"), slot_spans(context, "wait_for_all")
        triggers = len(each) - JOBS, len(one) - 1  # a deferral cuts a task in two
        if not triggers[0] > triggers[1]:
            raise ValueError(f"Expected more triggers with one for each job: {triggers}")
        early = "" if triggers[1] else ": all had ended when it asked first"
        log.info("(1) triggers for %d jobs: %d with one for each, %d with one for all%s", JOBS, *triggers, early)
        began = [event["began"] for event in events]
        files = [number for event in events for number in event["open_files"]]
        log.info(
            "(2) at once: %d; between the first and the last begin: %.1f s; requests: %d; open files: %s",
            max(event["beside"] for event in events),
            max(began) - min(began),
            sum(event["polls"] for event in events),
            f"{min(files)} to {max(files)}" if files else "no triggerer here: `dags test`",
        )
        states = Counter(job["state"] for job in done["jobs"])
        log.info(
            "(3) worker starts: %d for each, %d for all; the one task knows of %s", len(each), len(one), dict(states)
        )
        capacity = min(events[0]["capacity"], events[0]["files_allowed"])
        for share in (1, SHARE):
            rows = math.ceil(ITEMS / share)
            plan = "(4) %d items, %d for each trigger: %d triggers, %d triggerers of capacity %d, %d worker starts"
            log.info(plan, ITEMS, share, rows, math.ceil(rows / capacity), capacity, 2 * rows)

    at_once = start_jobs.override(task_id="start_jobs_for_all")(7)
    for_all = WaitForAll(task_id="wait_for_all", jobs=at_once, poll_interval=1)
    one_by_one = start_jobs.override(task_id="start_jobs_for_each")(7)
    for_each = WaitForEach.partial(task_id="wait_for_each").expand(job=one_by_one)
    for_all >> one_by_one
    report(for_all.output, for_each.output)


lesson()
