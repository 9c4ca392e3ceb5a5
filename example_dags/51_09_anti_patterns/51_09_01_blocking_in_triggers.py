"""# 51.9.1 Blocking calls in triggers

All triggers of a triggerer share one thread. A trigger that waits without `await` keeps that thread, and every other
trigger, of every DAG, waits with it: their polls come late, their events come late, and after 30 seconds without a
turn the triggerer stops its heartbeat, and all its triggers move elsewhere. This lesson makes the three usual
mistakes, half a second each, and beside each of them its cure. In the same loop lives a neighbour, a coroutine that
wants its turn every 20 ms, and it measures how late it gets it.

## You will see

1. `time.sleep()` against `asyncio.sleep()`: for how long the neighbour was kept waiting.
2. A synchronous HTTP call against an asynchronous one. The service takes connections and never answers, so that both
   calls give up after half a second.
3. A query with a synchronous driver against the same query in a thread (`asyncio.to_thread`). The database is locked
   by somebody else. With `asyncpg` or `aiosqlite` no thread is needed.
4. What is left for the others: how many turns the neighbour got during the same waits.

## Watch

The logs of `wrong` and `right` have lines of the triggerer. The triggerer's own log names nobody, but it complains,
at the level INFO, six times: `Triggerer's async thread was blocked for 0.55 seconds, exceeding the configured warning
threshold of 0.20 seconds. This is likely caused by a badly-written trigger.` The metric is
`triggers.blocked_main_thread`. `ruff check --select ASYNC` finds the first two mistakes before they run.

## Expect

The run succeeds, in about 15 seconds. Under `airflow dags test` the trigger has a loop of its own: the numbers are
the same, but nobody complains, and no other trigger suffers. That is why this mistake is found so late. What is left
of the lag of the right HTTP call is the making of its client, which sets up TLS: make one client for all calls.

## Next

51.9.2 is about what a trigger may carry.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task
from lesson_51_09 import BLOCK, TURN, AsyncCalls, BlockingCalls, RunTrigger

log = logging.getLogger(__name__)


@dag(
    dag_id="51_09_01_blocking_in_triggers",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "intermediate", "anti-pattern"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Block the event loop, then do not."""

    @task
    def report(wrong: dict[str, Any], right: dict[str, Any]) -> None:
        """Print the four points; fail if the wrong way was not the worse one."""
        for call in ("sleep", "http", "database"):
            if not wrong[call]["lag"] > right[call]["lag"]:
                raise ValueError(
                    f"{call}: the blocking form did not hold the loop longer: {wrong[call]}, {right[call]}"
                )
        lags = "the loop stood still for %.3f s with the blocking call, for %.3f s with the other"
        log.info("(1) sleep of %.1f s: " + lags, BLOCK, wrong["sleep"]["lag"], right["sleep"]["lag"])
        log.info("(2) HTTP call of %.1f s: " + lags, BLOCK, wrong["http"]["lag"], right["http"]["lag"])
        log.info("(3) query of %.1f s: " + lags, BLOCK, wrong["database"]["lag"], right["database"]["lag"])
        turns = [sum(seen[call]["turns"] for call in ("sleep", "http", "database")) for seen in (wrong, right)]
        log.info(
            "(4) turns of a neighbour that wants one every %s s: %d beside the wrong, %d beside the right", TURN, *turns
        )

    wrong = RunTrigger(task_id="wrong", trigger=BlockingCalls)
    right = RunTrigger(task_id="right", trigger=AsyncCalls)
    wrong >> right
    report(wrong.output, right.output)


lesson()
