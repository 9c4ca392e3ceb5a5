"""What a dependency has come to: counts by state, what exactly is incomplete, and whether that is enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ork_provider.job import JobState, JobStatus

if TYPE_CHECKING:
    from ork_provider.dependency.job import TaskDependency

T = TypeVar("T")

Instance = tuple[str, int]
"""A task instance: the task's id and its map index, -1 if it is not mapped."""

States = Mapping[Instance, str | None]
"""The state of each instance, in Airflow's words; None: nothing has been done for it yet."""

SUCCEEDED = frozenset({"success"})
SKIPPED = frozenset({"skipped"})
FAILED = frozenset({"failed", "upstream_failed"})
PENDING = frozenset({None, "none", "scheduled", "queued", "up_for_retry", "up_for_reschedule"})
GONE = frozenset({"removed"})
"""States of instances that are not part of the run any more: a later expansion was shorter."""

SHOWN = 10
"""How many instances are named; all are counted."""


@dataclass(frozen=True, kw_only=True)
class DependencyStatus:
    """How far a dependency is.

    :param run_id: the run that was found
    :param run_state: its state, of a whole run: queued, running, success or failed
    :param total: task instances, those that are skipped included; 0 for a run whose tasks were not asked for
    :param running: instances that run, or are deferred
    :param pending: instances that have not begun, or wait for their next try
    :param incomplete: what has neither succeeded nor been skipped, such as ``load`` or ``load[3]``, with its state
    :param missing: what does not exist: the run, or tasks in it
    :param state: what this comes to
    """

    run_id: str | None = None
    run_state: str | None = None
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    running: int = 0
    pending: int = 0
    incomplete: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    state: JobState = JobState.RUNNING

    @property
    def complete(self) -> bool:
        """Whether it has succeeded."""
        return self.state is JobState.SUCCEEDED

    @classmethod
    def fetch(cls, dependency: TaskDependency, *, airflow_conn_id: str | None = None) -> DependencyStatus:
        """Look at a dependency once, from a task; of a whole run its tasks are counted, too.

        :param dependency: one that names its run: by ``run_id``, ``logical_date`` or ``run="latest"``
        :param airflow_conn_id: HTTP connection of another Airflow, unless the dependency has a ``conn_id``
        """
        from ork_provider.dependency.service import look_closely
        from ork_provider.worker import Worker

        def look() -> DependencyStatus:
            with Worker({"airflow_conn_id": airflow_conn_id}) as worker:
                return worker.run(look_closely(dependency, worker.services))

        return outside_loops(look)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON, as it stands in XCom, in events and in exceptions."""
        counts = {name: getattr(self, name) for name in COUNTS}
        some = dict(list(self.incomplete.items())[:SHOWN])
        told = {"run_id": self.run_id, "run_state": self.run_state, **counts, "incomplete": some}
        return {**told, "missing": list(self.missing[:SHOWN])}

    def __str__(self) -> str:
        parts = [f"{_list(self.missing)} does not exist"] if self.missing else []
        parts += [f"run is {self.run_state}"] if self.run_state else []
        if self.total:
            parts.append(f"{self.succeeded} of {self.total} succeeded")
            parts += [f"{count} {name}" for name in COUNTS[2:] if (count := getattr(self, name))]
        if self.incomplete and self.state is not JobState.SUCCEEDED:
            bad = [f"{name} ({state})" for name, state in self.incomplete.items()]
            parts.append(f"incomplete: {_list(bad)}")
        return "; ".join(parts)

    def to_job_status(self) -> JobStatus:
        """Return it as a job's status."""
        missing = self.missing and self.state is not JobState.FAILED
        word = "missing" if missing else self.run_state or f"{self.succeeded + self.skipped} of {self.total}"
        return JobStatus(state=self.state, remote_state=word, message=str(self), stats=self.to_dict())


COUNTS = ("total", "succeeded", "failed", "skipped", "running", "pending")


def sum_up(states: States, *, end: bool, **more: Any) -> DependencyStatus:
    """Count the states of instances.

    :param end: failures do not count: it is over when all have ended
    :param more: what else is known
    """
    counts: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    incomplete: dict[str, str] = {}
    failures: dict[str, str] = {}
    for instance, state in sorted(states.items(), key=lambda one: one[0]):
        if state in GONE:
            continue
        counts["total"] += 1
        counts[count_of(state)] += 1
        if state in FAILED:
            failures[name_of(instance)] = str(state)
        elif state not in SUCCEEDED and state not in SKIPPED:
            incomplete[name_of(instance)] = str(state or "no state yet")
    ended = counts["running"] + counts["pending"] == 0
    became = JobState.SUCCEEDED if ended else JobState.RUNNING
    if counts["failed"] and not end:
        became = JobState.FAILED
    return DependencyStatus(**counts, incomplete={**failures, **incomplete}, state=became, **more)


def count_of(state: str | None) -> str:
    """Return under which count a state of Airflow's comes; one that is not known is a state of work in progress."""
    if state in SUCCEEDED:
        return "succeeded"
    if state in FAILED:
        return "failed"
    if state in SKIPPED:
        return "skipped"
    return "pending" if state in PENDING else "running"


def name_of(instance: Instance) -> str:
    """Return a name in which a mapped instance cannot be taken for a task: ``load[3]``, ``load_3``."""
    task_id, index = instance
    return task_id if index < 0 else f"{task_id}[{index}]"


def outside_loops(call: Callable[[], T]) -> T:
    """Return what a call returns that runs an event loop; from within one, as a coroutine function, in a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def _list(names: Iterable[str]) -> str:
    some = list(names)
    return ", ".join(some[:SHOWN]) + (f" and {len(some) - SHOWN} more" if len(some) > SHOWN else "")
