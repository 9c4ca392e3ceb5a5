"""# 51.4.3 Work in batches, and wait between them

A task processes a batch, hands it to another system, waits until that has taken it, and goes on with the next one. It
may defer as often as it likes: each time a worker runs the method that `defer()` has named, in a new process.

What must be known after a wait is therefore not in `self`. Here it is in the task state store (new in Airflow 3.3),
which survives deferrals and retries: a second try goes on with the batch at which the first one has stopped.
`defer(kwargs=...)` survives deferrals only, and not under `airflow dags test`; an XCom is cleared at a retry.

## You will see

1. The work: each batch is cleaned and summed up in a worker.
2. The wait: the batch is sent as a job, and the task defers to `HttpJobTrigger` until the job is done.
3. The resumption: another process reads from the store how far the task has come, and goes on.
4. The cycles: one task, three waits, four short runs of a worker, and every row is in the sum once.

## Watch

`load` in the grid: it changes between purple and light green three times. In its log the lines of workers and
triggerer take turns. The task instance's page shows the store: `loaded` grows.

## Expect

The run succeeds after about 20 seconds. Under `airflow dags test` all of (3) is one process.

## Needs

The HTTP job service, as connection `http_default`.

## Next

51.4.4 lets many copies of a task wait at the same time.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from airflow.sdk import BaseOperator, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException
from lesson_51_04 import call_api
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

from ork_provider.http import HttpJob, HttpJobTrigger

ORDERS = [{"order": n, "amount": n * 7 % 100} for n in range(90)]
BATCH = 30
SMALL = 10  # orders below this amount do not count

log = logging.getLogger(__name__)


class LoadInBatches(BaseOperator):
    """Send the orders in batches to a service that takes some seconds for each."""

    def execute(self, context: Any) -> Any:
        """Begin, or go on where an earlier try has stopped."""
        return self._next_batch(context)

    def _next_batch(self, context: Any) -> Any:
        """Process and send a batch, and defer; return all of them when there is none left."""
        store = context["task_state_store"]
        loaded = store.get("loaded") or []
        if len(loaded) * BATCH >= len(ORDERS):
            return loaded
        sent = store.get("sent") or self._process_and_send(len(loaded))
        store.set("sent", sent)  # a retry waits for this job, and sends nothing twice
        job = HttpJob(url=sent["job"], cancel_url=sent["job"])
        log.info("(2) deferral %d, until %s has taken the batch", len(loaded) + 1, job.url)
        self.defer(trigger=HttpJobTrigger(jobs=[job.to_dict()], poll_interval=1), method_name="take_up")

    def _process_and_send(self, number: int) -> dict[str, Any]:
        batch = ORDERS[number * BATCH : (number + 1) * BATCH]
        good = [order["amount"] for order in batch if order["amount"] >= SMALL]
        log.info("(1) batch %d: %d of %d orders count, %d in all", number + 1, len(good), len(batch), sum(good))
        body = {"total": sum(good), "fake": {"pending": 0, "running": 4}}
        return {"rows": len(batch), "total": sum(good), "job": call_api("POST", "/jobs", body).headers["Location"]}

    def take_up(self, context: Any, event: dict[str, Any]) -> Any:
        """Note what has been loaded, and begin the next cycle."""
        store = context["task_state_store"]
        sent = store.get("sent")
        store.delete("sent")
        if event["status"] != "success":
            raise AirflowException(event["message"])  # a retry sends this batch again
        loaded = [*(store.get("loaded") or []), {**sent, "process": os.getpid()}]
        store.set("loaded", loaded)
        log.info("(3) %s Process %d goes on; batches loaded: %d", event["message"], os.getpid(), len(loaded))
        return self._next_batch(context)


class MeasuredLoad(MeasuresSlot, LoadInBatches):
    """Measures how long workers have it."""


@dag(
    dag_id="51_04_03_batch_processing_deferrable",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Load orders in batches."""

    @task
    def report(loaded: list[dict[str, Any]]) -> None:
        """Check that nothing was lost or loaded twice, and count the runs."""
        total = sum(batch["total"] for batch in loaded)
        expected = sum(order["amount"] for order in ORDERS if order["amount"] >= SMALL)
        if total != expected:
            raise AirflowException(f"The batches come to {total}, the orders to {expected}.")
        spans = slot_spans(get_current_context(), "load")
        waits = [round(later[0] - earlier[1], 1) for earlier, later in pairwise(spans)]
        log.info("(3) processes that took the task up: %s", [batch["process"] for batch in loaded])
        log.info("(4) %d waits of %s s between %d runs of a worker; total %d", len(waits), waits, len(spans), total)
        log.info("(4) worker time: %.2f s of %.1f s", slot_seconds(spans), spans[-1][1] - spans[0][0])

    load = MeasuredLoad(task_id="load")
    report(load.output)


lesson()
