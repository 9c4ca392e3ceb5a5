"""# 51.9.3 Memory leaks in triggers

A worker's task takes all it has held with it when its process ends. A triggerer's process does not end: what a
trigger leaves behind stays until the next deployment, and thousands of triggers a day leave something. Two triggers
poll the same job twenty times, and count what their process holds for it.

## You will see

1. A new session for each poll, never closed: one more open socket each.
2. A list in a module that every answer is appended to: it grows for as long as the triggerer lives.
3. A coroutine that is started with each poll and never stopped: they add up, and each keeps alive what it refers to.
4. The cure: `async with` around what is taken, a `deque(maxlen=...)` for what is kept, `finally` for what was
   started. It holds after a good end and after a cancellation, which is how a triggerer stops its triggers.

## Watch

The logs of `leaky` and `tidy`: the lines of the triggerer hold all numbers. They are counted in the triggerer itself:
sockets with `psutil`, memory with `tracemalloc` (only what this lesson's module has asked for), coroutines with
`asyncio.all_tasks()`. In your own triggerer watch its resident memory and its open files over days.

## Expect

The run succeeds, with large numbers for the leaky trigger and zeros for the tidy one. At its end the leaky one gives
everything back, to spare your triggerer. The same under `airflow dags test`; but there the process ends afterwards,
which hides a leak.

## Needs

The HTTP job service behind the connection `http_default`.

## Next

51.9.4 is about too many triggers.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task
from lesson_51_09 import RunTrigger
from lesson_51_09_many import POLLS, LeakyPolls, TidyPolls

log = logging.getLogger(__name__)


@dag(
    dag_id="51_09_03_memory_leaks",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "intermediate", "anti-pattern"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Poll and leave everything lying about, then poll and tidy up."""

    @task
    def start_job() -> dict[str, str]:
        """Start a job with a long answer, and return where to ask for it."""
        from airflow.providers.http.hooks.http import HttpHook

        script = {"pending": 0, "running": 0, "output": "x" * 100_000}
        answer = HttpHook("POST", "http_default").run("/jobs", json={"fake": script})
        return {"url": f"{answer.url}/{answer.json()['id']}"}

    @task
    def report(leaky: dict[str, Any], tidy: dict[str, Any]) -> None:
        """Print the four points; fail if nothing has leaked, or if the tidy one has."""
        middle, end = f"at poll {POLLS // 2}", f"at poll {POLLS}"
        for point, what in ((1, "sockets"), (2, "kilobytes"), (3, "coroutines")):
            if not leaky[middle][what] < leaky[end][what] or not tidy["after"][what] < leaky["after"][what]:
                raise ValueError(f"({point}) {what} did not grow as expected: {leaky} against {tidy}")
        growth = "after %d and %d polls the leaky trigger holds %d and %d, the tidy one %d and %d"
        polls = (POLLS // 2, POLLS)

        def held(what: str) -> list[int]:
            return [seen[when][what] for seen in (leaky, tidy) for when in (middle, end)]

        log.info("(1) open sockets: " + growth, *polls, *held("sockets"))
        log.info("(2) kilobytes of answers: " + growth, *polls, *held("kilobytes"))
        log.info("(3) coroutines: " + growth, *polls, *held("coroutines"))
        log.info("(4) after the polls: leaky %s, tidy %s", leaky["after"], tidy["after"])
        cancelled = "after a cancellation"
        log.info("(4) after polls that were cancelled: leaky %s, tidy %s", leaky[cancelled], tidy[cancelled])

    job = start_job()
    leaky = RunTrigger(task_id="leaky", trigger=LeakyPolls, arguments=job)
    tidy = RunTrigger(task_id="tidy", trigger=TidyPolls, arguments=job)
    leaky >> tidy
    report(leaky.output, tidy.output)


lesson()
