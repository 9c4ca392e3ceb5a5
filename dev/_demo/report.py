"""What the demo says at the end: rows and jobs, whether they are right, and who waited where for how long."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from _demo.jobs import Returned
from _demo.plan import JsonDict, Plan
from _demo.watch import Track, Watch

MOST_ROWS = 48
LONGEST_ID = 16
STATS = {
    "bytes_processed": "{:,} bytes read",
    "task_count": "{} tasks",
    "failed": "{} failed",
    "highest_severity": "severity {}",
    "executed_checks": "{} checks",
    "milli_dcu_seconds": "{:,} mDCU-s",
    "duration_seconds": "{:.1f} s",
}
"""The stats that are shown, of jobs of any kind."""


def read_rows(watch: Watch, tracks: Sequence[Track]) -> list[list[JsonDict]]:
    """Return the rows of every query, as its task returned them to Airflow."""
    found = []
    for track in tracks:
        if track.task_id == "query":
            result = watch.airflow.xcom(watch.dag_id, watch.run_id, "query", map_index=track.index)
            found.append((result or {}).get("rows", []))
    return found


def print_rows(console: Console, answers: Sequence[Sequence[JsonDict]]) -> None:
    """Print the rows of all queries, one below the other; not more than fit on a page."""
    rows = [row for answer in answers for row in answer]
    table = Table(title="rows of the queries", title_justify="left", box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name, justify="right")
    for row in rows[:MOST_ROWS]:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)
    if len(rows) > MOST_ROWS:
        console.print(f"... and {len(rows) - MOST_ROWS} rows more")


def print_jobs(console: Console, jobs: Sequence[Returned]) -> None:
    """Print each job as its task returned it, and what the programs wrote."""
    table = Table(title="\njobs of all kinds", title_justify="left", box=None, pad_edge=False)
    for name in ("task", "kind", "job", "state", "stats", "link"):
        table.add_column(name, no_wrap=name not in ("stats", "link"))
    for one in jobs:
        link = one.job.get("link") or ""
        state = str(one.job.get("state") or "none")
        row = (one.expected.task_id, one.expected.kind, _shortened(one), state, _stats(one.job))
        table.add_row(*row, Text(link, style=f"link {link}" if link else "", no_wrap=True, overflow="ellipsis"))
    console.print(table)
    for one in jobs:
        if one.wrote and one.job.get("state") == "succeeded":
            wrote = ", ".join(one.wrote)
            console.print(
                f"{one.expected.task_id}: the {one.expected.kind} job wrote {wrote}", markup=False, soft_wrap=True
            )


def _shortened(one: Returned) -> str:
    """Return what tells a job from others: the end of its id."""
    name = str(one.job.get("job_id", "")).rpartition("/")[2]
    return name if len(name) <= LONGEST_ID else f"...{name[3 - LONGEST_ID :]}"


def _stats(job: JsonDict) -> str:
    stats = job.get("stats") or {}
    return ", ".join(form.format(stats[name]) for name, form in STATS.items() if stats.get(name))


def check_jobs(console: Console, jobs: Sequence[Returned], problems: Sequence[str]) -> bool:
    """Say whether every job is as expected, and what is not."""
    if not problems:
        lines = sum(len(one.wrote) for one in jobs)
        said = f"check: all {len(jobs)} jobs of the table succeeded, and the {lines} lines of their programs are right"
        console.print(f"{said}, as DuckDB gives them", style="green", soft_wrap=True)
    for problem in problems:
        console.print(f"check: {problem}", style="red", markup=False, soft_wrap=True)
    return not problems


def print_times(console: Console, tracks: Sequence[Track], began: float) -> None:
    """Print how long every job waited, and who paid for it."""
    table = Table(title="\nseconds", title_justify="left", box=None, pad_edge=False)
    table.add_column("task instance")
    for name in ("submitted at", "job ran", "deferred", "held a worker"):
        table.add_column(name, justify="right")
    for track in tracks:
        job = (track.job[0] - began, track.job[1] - track.job[0]) if track.job else ()
        numbers = [*(f"{number:.1f}" for number in job), *([] if job else ["", ""])]
        table.add_row(track.label, *numbers, f"{track.deferred:.1f}", f"{track.worker_seconds:.1f}")
    console.print(table)
    used = sum(track.worker_seconds for track in tracks)
    blocking = sum(track.blocking_seconds for track in tracks)
    times = f" ({blocking / used:.0f} times as many)" if used else ""
    console.print(f"\nworker-seconds used: {used:.1f}", soft_wrap=True)
    console.print(f"worker-seconds that waiting in the worker would have held: {blocking:.1f}{times}", soft_wrap=True)


def check_rows(console: Console, plan: Plan, answers: Sequence[Sequence[JsonDict]]) -> bool:
    """Compare the rows with what DuckDB gives when it is asked directly."""
    if plan.expected is None:
        return True
    same = [list(answer) for answer in answers] == plan.expected
    count = sum(map(len, plan.expected))
    if same:
        console.print(f"check: all {count} rows are what DuckDB gives when it is asked directly", style="green")
    else:
        console.print("check: the rows are NOT what DuckDB gives when it is asked directly", style="red")
    return same
