"""# 51.4.1 Monitor a long job in another system

A query, an export, a training run: another system does the work, and the task only wants to know when it is done. The
worker starts the job and leaves; the trigger holds the job's id and asks; a worker comes back for the result.

`HttpJobOperator` is this pattern for any HTTP API; `BigQueryJobOperator` and the others of this provider are made
alike.

## You will see

1. A worker starts a job with one request, and is gone in less than a second.
2. The deferral: what Airflow stores for the trigger is the job's id (here its URL) and how to ask for it, a few
   hundred bytes.
3. The trigger asks once a second without blocking: a second coroutine on its event loop goes on beside it.
4. The job ends, a worker resumes the task and fetches the result; between its two runs no worker was held.

## Watch

The task `monitor` turns purple. Its log has lines of both processes: `Deferring` and (2) are of the worker, `running`
and (3) of the triggerer, `completed` of the triggerer as well, the result of the worker again. `report` has (1) and
(4).

## Expect

The run succeeds after about 12 seconds. Under `airflow dags test` the process of (3) is that of the worker.

## Needs

The HTTP job service, as connection `http_default`.

## Next

51.4.2 polls an API with a trigger of its own, which asks less and less often.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger
from lesson_51_04 import WatchedJobTrigger, call_api
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

from ork_provider.http import HttpJobOperator

log = logging.getLogger(__name__)


class MonitoredJob(MeasuresSlot, HttpJobOperator):
    """The provider's operator; what is added only measures and shows."""

    trigger_class = WatchedJobTrigger

    def defer(self, *, trigger: BaseTrigger, **kwargs: Any) -> None:
        """Show what Airflow is going to store."""
        classpath, stored = trigger.serialize()
        size = len(json.dumps(stored))
        log.info("(2) deferring to %s with %s; %d bytes in all", classpath, stored["jobs"][0]["url"], size)
        super().defer(trigger=trigger, **kwargs)


@dag(
    dag_id="51_04_01_long_running_job_monitoring",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Start a job and wait for it."""
    monitor = MonitoredJob(
        task_id="monitor",
        endpoint="/jobs",
        data={"export": "orders", "fake": {"pending": 1, "running": 7, "output": {"rows": 1200}}},
        status_url="/jobs/{job_id}",
        result_url="/jobs/{job_id}/result",
        cancel_url="/jobs/{job_id}",  # on a kill, and at the deadline
        idempotency_header="Idempotency-Key",  # a lost answer does not start a second job
        poll_interval=1,
        on_existing="new",  # only here: a retry shall wait anew; by default it takes up the job of the try before
        timeout=timedelta(minutes=10),
    )

    @task
    def report(job: dict[str, Any]) -> None:
        """Print what the two runs of a worker have done."""
        context = get_current_context()
        spans = slot_spans(context, "monitor")
        if len(spans) != 2:
            raise AirflowException(f"monitor was to run twice, before and after its wait; it ran {len(spans)} times.")
        (began, left), (back, ended) = spans
        submitted = context["ti"].xcom_pull(task_ids="monitor", key="ork_job")["url"]
        status = call_api("GET", submitted).json()["status"]
        log.info("(1) a worker submitted %s and left after %.2f s; its status now: %s", submitted, left - began, status)
        log.info("(4) a worker was back after %.1f s and fetched %s", back - left, job["result"])
        log.info("(4) worker time: %.2f s of %.1f s", slot_seconds(spans), ended - began)

    report(monitor.output)


lesson()
