"""A task instance's life without a scheduler: tries, deferrals and clears of one operator, over real fakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow.sdk.exceptions import TaskDeferred

from ork_provider.testing import run_trigger


class MemoryStore:
    """Airflow's task state store: JSON values that outlive tries."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


@dataclass
class Instance:
    """One task instance; what an operator sees of it, and the XComs of the present try."""

    dag_id: str = "sales"
    task_id: str = "load"
    run_id: str = "manual__2026-11-20"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcoms.get(key)


@dataclass
class Task:
    """Runs an operator's tries; ``store`` outlives them, as in Airflow."""

    ti: Instance = field(default_factory=Instance)
    store: MemoryStore = field(default_factory=MemoryStore)
    retries: int = 1
    deferrals: int = 0

    @property
    def context(self) -> dict[str, Any]:
        return {"ti": self.ti, "task_state_store": self.store}

    @property
    def attempt(self) -> Mapping[str, Any]:
        """What the task remembers of its job."""
        stored = self.store.get("ork_attempt")
        assert stored is not None
        return dict(stored)

    def start(self, operator: Any) -> TaskDeferred:
        """Run ``execute`` up to the deferral and return it."""
        try:
            result = operator.execute(self.context)
        except TaskDeferred as deferred:
            self.deferrals += 1
            return deferred
        raise AssertionError(f"expected a deferral, got the result {result!r}")

    def run(self, operator: Any) -> Any:
        """Run one try to its end: result or exception."""
        try:
            return operator.execute(self.context)
        except TaskDeferred as deferred:
            self.deferrals += 1
            return self.resume(operator, deferred)

    def resume(self, operator: Any, deferred: TaskDeferred) -> Any:
        """Wait in the triggerer, then go on in a worker."""
        result = asyncio.run(run_trigger(deferred.trigger, ti=None))
        assert result.error is None, result.error
        kwargs = {**(deferred.kwargs or {}), "event": result.payload}
        return operator.resume_execution(deferred.method_name, kwargs, self.context)

    def retry(self) -> Task:
        """Return the next try: same store, no XComs."""
        return self._next(max_tries=self.ti.max_tries)

    def clear(self) -> Task:
        """Return the try after a user cleared the task; Airflow raises ``max_tries`` then."""
        return self._next(max_tries=self.ti.try_number + self.retries)

    def _next(self, max_tries: int) -> Task:
        ti = Instance(
            self.ti.dag_id,
            self.ti.task_id,
            self.ti.run_id,
            self.ti.map_index,
            self.ti.try_number + 1,
            max_tries,
        )
        return Task(ti, self.store, self.retries)
