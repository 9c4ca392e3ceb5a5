"""What the demo says at the end: the rows, the check of the rows, and who waited where for how long."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from _demo.plan import JsonDict, Plan
from _demo.watch import Track, Watch

MOST_ROWS = 48


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


def print_times(console: Console, tracks: Sequence[Track], began: float) -> None:
    """Print how long every job waited, and who paid for it."""
    table = Table(title="\nseconds", title_justify="left", box=None, pad_edge=False)
    table.add_column("task instance")
    for name in ("submitted at", "job ran", "deferred", "held a worker"):
        table.add_column(name, justify="right")
    for track in tracks:
        job = track.job or (began, began)
        numbers = (job[0] - began, job[1] - job[0], track.deferred, track.worker_seconds)
        table.add_row(track.label, *(f"{number:.1f}" for number in numbers))
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
