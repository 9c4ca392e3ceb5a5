"""# 51.4.4 Deferrable tasks and `.expand()`

`.expand()` makes a copy of a task for each input. When the copies defer, all of them wait at the same time, however
few worker slots there are: each has its own row in the `trigger` table, and one event loop watches them all.

## You will see

1. Six copies of one task, each of which starts a job of its own and defers.
2. Each copy's own trigger, with an id and a job of its own.
3. All of them wait at once in one process, while workers run a few copies at a time.
4. What the waits had cost in blocked workers, and what they cost here; and the same for a thousand of them.

## Watch

The mapped task `export` in the grid: six purple squares. The log of each copy names its trigger (2) and says how many
waited beside it (3). `report` has the sums.

## Expect

The run succeeds after about 20 seconds. Under `airflow dags test` the copies run and wait one after the other, and
triggers have no id: (3) says then that one waited at a time. A copy whose job is done when it first asks, as on a
very busy machine, need not defer: (1) counts those that did.

An operator that begins in its trigger (`start_from_trigger=True`) must not be expanded: in Airflow 3.3 every copy's
trigger is given the arguments of the unmapped task.

Copies that only wait for jobs need not be copies: `WaitForJobsOperator(jobs=start.expand(...))` waits for all of them
with one task and one trigger.

## Needs

The HTTP job service, as connection `http_default`.

## Next

51.4.5 converts a sensor that blocks into one that defers.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowException
from lesson_51_04 import CountedJobTrigger, seconds_until
from lesson_slots import KEY, MeasuresSlot, Span, most_at_once, slot_seconds, slot_spans

from ork_provider.http import HttpJobOperator

TABLES = [f"table_{n}" for n in range(6)]
WAIT = 12  # seconds

log = logging.getLogger(__name__)


class Export(MeasuresSlot, HttpJobOperator):
    """Start the export of a table, which takes until `moment`; so the copies wait at the same time."""

    template_fields = (*HttpJobOperator.template_fields, "moment")
    trigger_class = CountedJobTrigger

    def __init__(self, *, moment: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.moment = moment

    def execute(self, context: Any) -> Any:
        """Tell the stand-in of the job service how long this job takes."""
        self.data = {**self.data, "fake": {"pending": 0, "running": max(2.5, seconds_until(self.moment))}}
        return super().execute(context)


@dag(
    dag_id="51_04_04_deferrable_with_mapping",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "advanced", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Export six tables at once."""

    @task
    def choose_moment() -> str:
        """Choose when the exports shall end."""
        return str((timezone.utcnow() + timedelta(seconds=WAIT)).isoformat())

    @task
    def report() -> None:
        """Print the sums over all copies."""
        context = get_current_context()
        ti = context["ti"]
        copies: list[list[Span]] = list(ti.xcom_pull(task_ids="export", key=KEY))
        once = [spans for spans in copies if len(spans) == 2]
        log.info("(1) %d copies, of which %d have deferred once", len(copies), len(once))
        if not once:
            raise AirflowException(f"No copy has deferred; when workers had them: {copies}")
        jobs = {job["url"] for job in ti.xcom_pull(task_ids="export", key="ork_job")}
        log.info("(2) %d copies have waited for %d different jobs", len(copies), len(jobs))
        waits = [(left, back) for (_, left), (back, _) in once]
        spans = slot_spans(context, "export")
        log.info("(3) waiting at once: %d; workers busy at once: %d", most_at_once(waits), most_at_once(spans))
        waited, held = slot_seconds(waits), slot_seconds(spans)
        log.info("(4) worker seconds: %.1f held, %.1f of waiting saved", held, waited)
        per_copy = held / len(copies)
        log.info(
            "(4) at %.2f s per copy, 1000 waits of one hour take %.0f worker minutes; blocking: 1000 slots, %d minutes",
            per_copy,
            1000 * per_copy / 60,
            1000 * 60,
        )

    export = Export.partial(
        task_id="export",
        endpoint="/jobs",
        status_url="/jobs/{job_id}",
        cancel_url="/jobs/{job_id}",
        poll_interval=0.5,
        moment=choose_moment(),
        on_existing="new",  # only here: a retry shall wait anew; by default it takes up the job of the try before
    ).expand(data=[{"table": table} for table in TABLES])
    export >> report()


lesson()
