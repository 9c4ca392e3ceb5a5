"""A task that waits for dependencies over the real state server, in its worker or through its trigger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from airflow.sdk.exceptions import TaskDeferred

from ork_provider.dependency import DependencyStatus, DependencyWaitOperator, TaskDependency
from ork_provider.dependency.service import service_of
from ork_provider.testing import run_trigger
from ork_provider.worker import Worker
from tests.support.state_server import NOW, StateServer
from tests.support.task import Instance, MemoryStore

LOOK = 0.01
"""Seconds between two looks."""

Where = Literal["worker", "window", "trigger"]
"""Who looks: a worker that does not defer, a worker for its ``poll_timeout``, the triggerer."""


@dataclass
class Waiter:
    """One task instance that waits, in the DAG ``reports``; ``look_interval`` is the same for all."""

    server: StateServer
    where: Where = "trigger"
    logical_date: datetime | None = NOW
    ti: Instance = field(default_factory=lambda: Instance("reports", "report", "own"))
    store: MemoryStore = field(default_factory=MemoryStore)
    deferrals: int = 0

    @property
    def context(self) -> Any:
        """What Airflow hands to ``execute``."""
        dated = {} if self.logical_date is None else {"logical_date": self.logical_date}
        return {"ti": self.ti, "task_state_store": self.store, **dated}

    def operator(self, depends_on: Any, of: Any = DependencyWaitOperator, **arguments: Any) -> Any:
        """Return an operator that looks often."""
        ours: dict[str, Any] = {"task_id": "report", "poll_interval": LOOK, "reschedule_delay": LOOK}
        ours["poll_timeout"] = 60 if self.where == "window" else 0
        ours["deferrable"] = self.where != "worker"
        return of(depends_on=depends_on, **{**ours, **arguments})

    def wait(self, depends_on: Any, **arguments: Any) -> Any:
        """Wait; return the result, or raise what the task ends with."""
        return self.run(self.operator(depends_on, **arguments))

    def run(self, operator: Any) -> Any:
        """Run an operator to the task's end."""
        try:
            return operator.execute(self.context)
        except TaskDeferred as deferred:
            assert self.where == "trigger"
            self.deferrals += 1
            return self.resume(operator, deferred)

    def resume(self, operator: Any, deferred: TaskDeferred) -> Any:
        """Wait in the triggerer, then go on in a worker."""
        kwargs = {**(deferred.kwargs or {}), "event": self.event(deferred)}
        return operator.resume_execution(deferred.method_name, kwargs, self.context)

    def give_up(
        self, operator: Any, error: str = "Trigger timeout", meanwhile: Callable[[], object] = lambda: None
    ) -> Any:
        """Defer; then go on in a worker because Airflow has given up on the trigger."""
        try:
            operator.execute(self.context)
        except TaskDeferred:
            meanwhile()
            return operator.resume_execution("__fail__", {"error": error}, self.context)
        raise AssertionError("expected a deferral")

    def event(self, deferred: TaskDeferred) -> Mapping[str, Any]:
        """Return the trigger's event."""
        result = asyncio.run(run_trigger(deferred.trigger, ti=None, answers=self.server.answers))
        assert result.error is None, result.error
        payload: Mapping[str, Any] = result.payload
        return payload


def look_at(*dependencies: TaskDependency) -> list[DependencyStatus]:
    """Look once, at all dependencies together, as the poll does that they share; they are of one DAG."""

    async def look(worker: Worker) -> list[DependencyStatus]:
        poll = (await service_of(dependencies[0], worker.services)).shared(dependencies[0])
        assert poll is not None
        told = await poll.look({poll.name(one) for one in dependencies})
        return [told[poll.name(one)] for one in dependencies]

    with Worker({"airflow_conn_id": None}) as worker:
        return worker.run(look(worker))


def on(run_id: str = "r1", *task_ids: str, dag_id: str = "sales", **more: Any) -> TaskDependency:
    """Return a dependency on a run or tasks of it."""
    return TaskDependency(dag_id=dag_id, run_id=run_id, task_ids=list(task_ids), **more)


def counts(told: Mapping[str, Any]) -> dict[str, int]:
    """Return the counts of a dependency that are not 0."""
    names = ("total", "succeeded", "failed", "skipped", "running", "pending")
    return {name: told["stats"][name] for name in names if told["stats"][name]}


@dataclass
class Wanted:
    """Three task instances, by the dependency on them; a run has them as its tasks.

    :param others: what else there is in the run, which must not matter
    """

    name: str
    instances: list[Any]
    which: dict[str, Any] = field(default_factory=dict)
    others: dict[Any, str] = field(default_factory=dict)

    @property
    def dependency(self) -> TaskDependency:
        """The dependency on them in the run ``r1``."""
        return self.of_run("r1")

    def of_run(self, run_id: str) -> TaskDependency:
        """Return the dependency on them in a run."""
        return TaskDependency(dag_id="sales", run_id=run_id, **self.which)

    def store(self, server: StateServer, *states: str | None, run_id: str = "r1") -> None:
        """Store a run with its instances in these states."""
        server.add_run(run_id=run_id, tasks={**dict(zip(self.instances, states, strict=True)), **self.others})
        if self.name == "group":
            server.add_groups("sales", {"load": self.instances, "rest": list(self.others)})

    def become(self, server: StateServer, *states: str | None, run_id: str = "r1") -> None:
        """Give the instances other states, and the run the one that follows from them."""
        server.set_tasks(dict(zip(self.instances, states, strict=True)), run_id=run_id)
        over = not {None, "running", "queued"} & set(states)
        ended = "failed" if "failed" in states else "success"
        server.set_run(ended if over and not self.others else "running", run_id=run_id)


RUNNING = {"slow": "running", "broken": "failed"}
KINDS = {
    "run": Wanted("run", ["a", "b", "c"]),
    "tasks": Wanted("tasks", ["a", "b", "c"], {"task_ids": ["a", "b", "c"]}, RUNNING),
    "group": Wanted("group", ["a", "b", "c"], {"task_group_id": "load"}, RUNNING),
    "mapped": Wanted("mapped", [("m", 0), ("m", 1), ("m", 2)], {"task_ids": ["m"]}, RUNNING),
    "instances": Wanted(
        "instances",
        [("m", 0), ("m", 2), ("m", 5)],
        {"task_ids": ["m"], "map_indexes": [0, 2, 5]},
        {("m", 1): "failed", ("m", 3): "running", ("m", 4): "removed", **RUNNING},
    ),
}


def told(result: Any) -> dict[str, Any]:
    """Return what the task's result says of its one dependency."""
    (one,) = result["dependencies"]
    return dict(one)
