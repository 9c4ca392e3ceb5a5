"""# 51.3.5 Trigger run() async method

All triggers of a triggerer share one thread. `run()` is a coroutine among many: at each `await` the others get their
turn, and whoever does not await stops them all.

## You will see

1. `run()` is an async generator (`AsyncIterator[TriggerEvent]`), and runs as one asyncio task, which has the name of
   the Airflow task.
2. `asyncio.sleep()` lets others run, `time.sleep()` does not: a neighbour's turns are counted for both.
3. The condition is asked again and again; the event is yielded when it is met, and the method ends.
4. A trigger may be cancelled at any `await`: `finally` gives back what it holds.

## Watch

The points are in the triggerer's part of the logs of `polls` and `is_cancelled`; all of the code is `PollingTrigger`
in `plugins/lesson_51_03.py`. The triggerer's own log complains about the blocked thread at (2), and cannot say who
blocked it.

## Expect

The run succeeds. The wait of `is_cancelled` has a time-out of 2 seconds: the scheduler ends it, the triggerer cancels
the trigger, and its file is removed. `cleanup()` runs after that, at every end. Do not cancel external work in either:
a triggerer that is restarted calls both and the task goes on elsewhere; `on_kill()` is for that.

`airflow dags test` knows no time-outs and does not call `cleanup()`. It takes the first event and cancels what is left
of `run()`, so that `finally` runs there, too.

## Needs

Worker and triggerer on one machine: the lesson watches a temporary file.

## Next

51.3.6 is about the method that gets the event.
"""

from __future__ import annotations

import logging
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, dag, task
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import TaskDeferralTimeout
from lesson_51_03 import PollingTrigger, moment_in

SWEEP = conf.getint("scheduler", "trigger_timeout_check_interval", fallback=15)  # seconds between looks for time-outs
log = logging.getLogger(__name__)


class Poll(BaseOperator):
    """Wait some seconds, but at most `patience` of them; the trigger holds a file."""

    template_fields = ("file",)

    def __init__(self, seconds: float, file: str, patience: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seconds = seconds
        self.file = file
        self.patience = patience

    def execute(self, context: Any) -> None:
        """Defer, with or without a limit."""
        limit = None if self.patience is None else timedelta(seconds=self.patience)
        trigger = PollingTrigger(moment_in(self.seconds), self.file)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=limit)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Take up the task, also after a time-out."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as exc:
            return str(exc)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str:
        """Return how often the trigger asked."""
        if self.patience is not None and event["triggerer"]:
            raise RuntimeError(f"No time-out within {self.seconds} s: is the scheduler alive?")
        log.info("(3) the event: %s", event)
        return f"asked {event['asked']} times"


@dag(
    dag_id="51_03_05_trigger_run_async",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Let one trigger end by itself, and cancel another."""

    @task
    def make_folder() -> str:
        """Make a folder for the files that the triggers hold."""
        return tempfile.mkdtemp(prefix="lesson-51-3-5-")

    @task
    def report(folder: str, ended: str) -> None:
        """Wait until the cancelled trigger has let go of its file."""
        file = Path(folder, "two")
        began = time.monotonic()
        while file.exists():
            if time.monotonic() - began > 20:
                raise RuntimeError(f"{file} is still there 20 s after the wait ended with: {ended}")
            time.sleep(0.2)
        log.info("(4) the wait ended with %r; %.1f s later its file was gone", ended, time.monotonic() - began)
        file.parent.rmdir()

    folder = make_folder()
    polls = Poll(task_id="polls", seconds=3, file=f"{folder}/one")
    cancelled = Poll(task_id="is_cancelled", seconds=2 + SWEEP + 8, patience=2, file=f"{folder}/two")
    folder >> [polls, cancelled]
    polls >> report(folder, cancelled.output)


lesson()
