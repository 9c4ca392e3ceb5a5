"""# 51.4.2 Poll an API without blocking

Many APIs answer a request for work with `202 Accepted` and an address: ask there until the answer is `200`. A worker
that does so sleeps nearly all the time. Here a trigger asks, soon at first and then ever less often: short work is
noticed soon, long work costs few requests.

The trigger is written by hand, to show all of it. `HttpJobOperator` (51.4.1) does the same with a fixed interval, and
backs off when the API has errors; it also takes its job up again after a retry, which this lesson leaves out.

## You will see

1. An API that answers 202, and 200 with the result when it is ready.
2. All requests but the first are the triggerer's: they fall between the two runs of the worker.
3. Exponential backoff: each pause is twice the one before, up to a longest one, with a little chance in it.
4. A second wait that runs out of time: the trigger says so at its deadline, and the task cancels the work and is
   skipped.

## Watch

The two `poll_` tasks, purple for some seconds. The triggerer's lines (3) are in the logs of both tasks;
`poll_until_deadline` ends skipped, and its last lines are of a worker.

## Expect

The run succeeds after about 15 seconds. The deadline is an absolute moment in the trigger's arguments, so it holds
when another triggerer takes over; the pauses begin anew then. `defer(timeout=...)` is set a minute later, as a net
for the case that no triggerer runs. `airflow dags test` does not know that net.

## Needs

The HTTP job service, as connection `http_default`.

## Next

51.4.3 defers several times in one task.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from lesson_51_04 import PollingTrigger, call_api
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

log = logging.getLogger(__name__)


class PollApi(BaseOperator):
    """Ask an API for work, and wait at the address that it answers with.

    `patience`: how long; then the work is cancelled and the task skipped.
    """

    def __init__(self, *, body: dict[str, Any], patience: timedelta, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.body = body
        self.patience = patience

    def execute(self, context: Any) -> None:
        """Send the one request that is the worker's, and defer."""
        work = call_api("POST", "/jobs", self.body).headers["Location"]
        context["ti"].xcom_push("work", work)
        deadline = timezone.utcnow() + self.patience
        self.defer(
            trigger=PollingTrigger(f"{work}/poll", deadline.isoformat()),
            method_name="execute_complete",
            timeout=self.patience + timedelta(minutes=1),
        )

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Return the result, or give up."""
        ti = context["ti"]
        ti.xcom_push("polls", event["polls"])
        if event["status"] == "done":
            return event["result"]["output"]
        work = ti.xcom_pull(task_ids=ti.task_id, key="work")
        status = call_api("DELETE", work).json()["status"]
        log.info("(4) no result after %d polls in %s; %s: %s", len(event["polls"]), self.patience, work, status)
        raise AirflowSkipException(f"{work} took longer than {self.patience}.")


class MeasuredPoll(MeasuresSlot, PollApi):
    """Measures how long workers have it."""


@dag(
    dag_id="51_04_02_polling_api_without_blocking",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Poll twice: once to the result, once to the deadline."""
    done = MeasuredPoll(
        task_id="poll_until_done",
        body={"fake": {"pending": 1, "running": 5, "output": {"rows": 1200}}},
        patience=timedelta(minutes=5),
    )
    late = MeasuredPoll(
        task_id="poll_until_deadline",
        body={"fake": {"running": 600}},
        patience=timedelta(seconds=6),
    )

    @task(trigger_rule="none_failed")
    def report() -> None:
        """Compare the polls with the runs of the workers."""
        context = get_current_context()
        polls = context["ti"].xcom_pull(task_ids="poll_until_done", key="polls")
        result = context["ti"].xcom_pull(task_ids="poll_until_done")
        log.info("(1) the API answered %s, the last time with %s", [code for _, code in polls], result)
        spans = slot_spans(context, "poll_until_done")
        by_workers = [at for at, _ in polls if any(begin <= at <= end for begin, end in spans)]
        if by_workers:
            raise AirflowException(f"{len(by_workers)} polls were made while a worker held the task: {by_workers}")
        whole = spans[-1][1] - spans[0][0]
        log.info("(2) %d polls, none while a worker ran: %.2f s of %.1f s", len(polls), slot_seconds(spans), whole)
        span = polls[-1][0] - polls[0][0]
        log.info("(3) %d requests in %.1f s; every 0.5 s it had been %d", len(polls), span, span / 0.5 + 1)

    [done, late] >> report()


lesson()
