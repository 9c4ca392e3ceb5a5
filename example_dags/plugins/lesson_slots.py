"""How long a task has held a worker slot: for lessons that compare ways to wait.

In a plugins folder, because that is on the path of every component of Airflow; see lesson 51.3.3.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Span = tuple[float, float]  # seconds since the epoch

KEY = "slot"
"""The XCom in which a task says when it held a slot: one [begin, end] for each time that a worker ran it."""


class MeasuresSlot:
    """Put before an operator's class, this notes every span of time in which a worker runs the task.

    class MeasuredSensor(MeasuresSlot, DateTimeSensorAsync): ...
    """

    def execute(self, context: Any) -> Any:
        """Run the task up to its end, or up to its deferral."""
        with held(context):
            return super().execute(context)  # type: ignore[misc]

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Run what is left of it after a deferral."""
        with held(context):
            return super().resume_execution(next_method, next_kwargs, context)  # type: ignore[misc]


@contextmanager
def held(context: Any) -> Iterator[None]:
    """Note the time that the block takes; a deferral leaves the block as an exception, too."""
    ti = context["ti"]
    earlier = ti.xcom_pull(task_ids=ti.task_id, key=KEY, map_indexes=ti.map_index) or []
    began = time.time()
    try:
        yield
    finally:
        ti.xcom_push(KEY, [*earlier, [began, time.time()]])


def slot_spans(context: Any, task_id: str) -> list[Span]:
    """Return the spans of a task that has ended; of all its copies if it is mapped."""
    pulled = context["ti"].xcom_pull(task_ids=task_id, key=KEY) or []
    mapped = bool(pulled) and not isinstance(pulled[0][0], (int, float))
    copies = pulled if mapped else [pulled]
    return [(begin, end) for spans in copies for begin, end in spans]


def slot_seconds(spans: list[Span]) -> float:
    """Return the worker time that the spans are worth."""
    return sum(end - begin for begin, end in spans)


def most_at_once(spans: list[Span]) -> int:
    """Return how many slots were held at the busiest moment."""
    return max((sum(begin <= moment < end for begin, end in spans) for moment, _ in spans), default=0)
