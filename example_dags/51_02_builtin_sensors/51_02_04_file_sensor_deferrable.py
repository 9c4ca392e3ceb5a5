"""# 51.2.4 FileSensor in Deferrable Mode

Wait for a file in the triggerer. The worker looks once; if the file is not there, `FileTrigger` looks for it every
`poke_interval`. So the triggerer must see the same folder as the worker: a shared volume, not a worker's own disk.

## You will see

1. `FileSensor(deferrable=True)`: one look in a worker, a wait in the triggerer, a moment in a worker to end.
2. The asynchronous look: fifty `FileTrigger`s find their files on one event loop, and how long that loop stood still.
   `glob` is not asynchronous: a pattern over a big tree stops the loop, and with it every other deferred task.
3. The same wait in the modes `poke` and `reschedule`: worker seconds, worker runs, and how late each noticed.
4. When to use which: a file that is there already costs no deferral; what each mode would hold for other waits.

## Watch

In the grid, `wait_poke` is running, `wait_reschedule` up for reschedule (teal), `wait_deferrable` deferred (purple).
"Found File ..." stands in the worker's part of the log for the first two, and in the triggerer's for the third.

## Expect

The run succeeds after about 20 s. `airflow dags test` waits for one file after another, all in its own process.

## Next

51.2.5 waits for an HTTP API.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.providers.standard.triggers.file import FileTrigger
from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException
from lesson_51_02 import deliver_later, longest_pause
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

os.environ.setdefault("AIRFLOW_CONN_FS_DEFAULT", "fs://")  # no base folder: file names are absolute
MODES = ("poke", "reschedule", "deferrable")
WAIT = 7  # seconds from the first look to the file
log = logging.getLogger(__name__)


class MeasuredWait(MeasuresSlot, FileSensor):
    """A FileSensor that notes when a worker has it."""


class WaitForUpload(MeasuredWait):
    """One whose file arrives some seconds after its first look."""

    def execute(self, context: Any) -> Any:
        """Let the upload begin at the first run, and wait for it."""
        notes = context["task_state_store"]  # stays when the task is rescheduled; its XComs are deleted then
        runs, arrival = notes.get("runs") or [], notes.get("arrival")
        if arrival is None:
            arrival = deliver_later(self.path, WAIT)
            notes.set("arrival", arrival)
        began = time.time()
        try:
            return super().execute(context)
        finally:
            notes.set("runs", [*runs, [began, time.time()]])
            context["ti"].xcom_push("arrival", arrival)
            context["ti"].xcom_push("earlier", runs)


async def find_fifty(folder: Path) -> tuple[float, float]:
    """Let fifty triggers wait for fifty files; return the seconds until all are found, and of standstill."""
    triggers = [FileTrigger(filepath=f"{folder}/{n}.csv", poke_interval=0.5) for n in range(50)]
    running = [asyncio.ensure_future(anext(trigger.run())) for trigger in triggers]
    pause = asyncio.ensure_future(longest_pause(while_=running))
    await asyncio.sleep(1)
    came = time.time()
    for n in range(50):
        (folder / f"{n}.csv").touch()
    await asyncio.gather(*running)
    return time.time() - came, await pause


async def search_tree(folder: Path) -> float:
    """Look once through a tree of 2000 folders; return the seconds for which the event loop stood still."""
    for n in range(2000):
        (folder / "tree" / str(n)).mkdir(parents=True)
    (folder / "tree" / "1999" / "here.csv").touch()
    look = asyncio.ensure_future(anext(FileTrigger(filepath=f"{folder}/tree/**/*.csv", recursive=True).run()))
    return await longest_pause(while_=[look])


@dag(
    dag_id="51_02_04_file_sensor_deferrable",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait for three files in three ways."""

    @task
    def make_folder() -> str:
        """Make a folder for the files."""
        return tempfile.mkdtemp(prefix="lesson-51-02-04-")

    @task
    def look_asynchronously() -> None:
        """Run FileTriggers on an event loop, as a triggerer does."""
        with tempfile.TemporaryDirectory() as folder:
            late, pause = asyncio.run(find_fifty(Path(folder)))
            log.info("(2) 50 triggers on one loop: all found after %.2f s, longest standstill %.3f s", late, pause)
            pause = asyncio.run(search_tree(Path(folder)))
            log.info("(2) a recursive glob over 2000 folders: standstill %.3f s", pause)

    @task
    def report() -> None:
        """Compare the ways to wait."""
        context = get_current_context()
        pull = context["ti"].xcom_pull
        spans = {m: [*pull(f"wait_{m}", key="earlier"), *slot_spans(context, f"wait_{m}")] for m in MODES}
        if len(spans["deferrable"]) != 2:
            raise AirflowException(f"Expected a deferral, hence 2 worker runs, and got {spans['deferrable']}")
        (_, left), (back, _) = spans["deferrable"]
        held = {mode: slot_seconds(one) for mode, one in spans.items()}
        log.info("(1) in the triggerer for %.1f s; worker seconds: %.3f", back - left, held["deferrable"])
        for mode, runs in spans.items():
            late = runs[-1][1] - pull(f"wait_{mode}", key="arrival")
            log.info("(3) %s: %.3f worker seconds in %d runs; %.1f s late", mode, held[mode], len(runs), late)
        there = slot_spans(context, "file_is_there")
        log.info("(4) file that is there: %d worker run of %.3f s", len(there), slot_seconds(there))
        look = held["reschedule"] / len(spans["reschedule"])
        for minutes in (0.1, 10, 600):
            looks = int(minutes) + 1
            costs = {
                "poke": (60 * minutes, 1),
                "reschedule": (round(look * looks, 3), looks),
                "deferrable": (round(held["deferrable"], 3), 2),
            }
            log.info("(4) a wait of %g minutes, looking once a minute, in (worker seconds, runs): %s", minutes, costs)

    folder = make_folder()
    waits = [
        WaitForUpload(task_id="wait_poke", filepath=f"{folder}/1.csv", poke_interval=1, mode="poke"),
        WaitForUpload(task_id="wait_reschedule", filepath=f"{folder}/2.csv", poke_interval=2, mode="reschedule"),
        WaitForUpload(task_id="wait_deferrable", filepath=f"{folder}/3.csv", poke_interval=1, deferrable=True),
    ]
    there = MeasuredWait(task_id="file_is_there", filepath=f"{folder}/*.csv", deferrable=True)
    folder >> waits >> there
    [there, look_asynchronously()] >> report()


lesson()
