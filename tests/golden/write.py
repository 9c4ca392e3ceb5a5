"""Write what this release stores: ``python -m tests.golden.write``, once, before a release whose rows are new.

A folder of JSON files, named by the version: what Airflow's database holds of a deferred task (the trigger's row, the
task instance's ``next_method`` and ``next_kwargs``), the events of its trigger, its XComs and its task state store, as
the real operators write them. Ids and times are made the same every time. Files that are there are never written
again: a later release must read them as they are.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.task_runner import _defer_task
from airflow.sdk.serde import deserialize, serialize

from ork_provider import __version__
from ork_provider.errors import JobError
from ork_provider.testing import run_trigger
from tests.golden.scenarios import SCENARIOS, Scenario, World, translate
from tests.support.task import Task

HERE = Path(__file__).parent
AT = "2025-01-31T12:00:00+00:00"
DEADLINE = "2099-01-31T12:00:00+00:00"
PAST = "2025-01-31T12:00:00+00:00"
_TIMES = {"at": AT, "deadline": DEADLINE, "not_before": AT, "exists_by": DEADLINE}
_VARYING = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?= UTC)": "2025-01-31 12:00:00",
    r"127\.0\.0\.1:\d+": "127.0.0.1:8000",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "00000000-0000-4000-8000-000000000000",
    r"(?<=succeeded after )\d:\d\d:\d\d": "0:00:00",
}
"""What differs from run to run within a text, and what is written for it."""

log = structlog.get_logger()


def record(scenario: Scenario) -> dict[str, Any]:
    """Run a scenario's task to each of its ends; return what was stored on the way."""
    ends = {ending: _run(scenario, ending) for ending in ("success", "failed", "timeout", "error")}
    if ends["timeout"]["trigger"]["kwargs"]["cancel_on_timeout"]:
        ends["stopped"] = _run(scenario, "stopped")
    first = ends["success"]
    return {
        "operator": first["operator"],
        "attempts": first["attempts"],
        "trigger": first["trigger"],
        "next_method": first["next_method"],
        "next_kwargs": first["next_kwargs"],
        "events": {ending: found["event"] for ending, found in ends.items()},
        "xcoms": {ending: ends[ending]["xcoms"] for ending in ("success", "failed")},
    }


def _run(scenario: Scenario, ending: str) -> dict[str, Any]:
    with scenario() as world:
        if ending == "failed":
            world.let_jobs_fail()
        world.begin()
        task, operator = world.new_task(), world.make()
        deferred = task.start(operator)
        row = stored_row(deferred)
        event, progress = _event(world, deferred, ending)
        xcoms = {**task.ti.xcoms, **progress}
        if ending in ("success", "failed"):
            xcoms.update(_resume(task, operator, row["next_method"], resumed_kwargs(row["next_kwargs"], event)))
        found = {
            "operator": _path_of(operator),
            "attempts": _once(task.store.history),  # type: ignore[attr-defined]
            **row,
            "event": event,
            "xcoms": xcoms,
        }
        return _with_times(translate(found, world.names()))  # type: ignore[no-any-return]


def resumed_kwargs(next_kwargs: Any, event: Any) -> dict[str, Any]:
    """Return what a worker gets after an event, as Airflow's ``handle_event_submit`` makes it."""
    return dict(deserialize(serialize({**deserialize(next_kwargs), "event": event})))


def stored_row(deferred: TaskDeferred) -> dict[str, Any]:
    """Return what Airflow's worker sends for a deferred task, which the API server stores as it is."""
    message, _ = _defer_task(deferred, Task().ti, log)  # type: ignore[arg-type]
    sent = message.model_dump(mode="json")
    return {
        "trigger": {"classpath": sent["classpath"], "kwargs": sent["trigger_kwargs"]},
        "next_method": sent["next_method"],
        "next_kwargs": sent["next_kwargs"],
    }


def _event(world: World, deferred: TaskDeferred, ending: str) -> tuple[Any, dict[str, Any]]:
    """Run the trigger to an end; return its event and the XCom that it has pushed."""
    trigger = deferred.trigger
    trigger.not_before = None  # type: ignore[attr-defined]
    if ending in ("success", "failed"):
        world.end_jobs()
    elif ending == "timeout":
        trigger.deadline = PAST  # type: ignore[attr-defined]
        trigger.cancel_on_timeout = False  # type: ignore[attr-defined]
    elif ending == "stopped":
        trigger.deadline = PAST  # type: ignore[attr-defined]
    else:
        world.refuse()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ork_provider.trigger.PROGRESS_INTERVAL", 0.0)
        result = asyncio.run(run_trigger(trigger))
    assert result.payload["status"] == ending, result.payload
    pushed = {key: _first(value) for key, value in result.xcoms if ending == "success"}
    return result.payload, pushed


def _first(progress: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of one job: of how many it is told depends on whose answers came at the same time."""
    return dict(sorted(progress.items())[:1])


def _resume(task: Task, operator: Any, next_method: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Go on in the worker; return the XComs."""
    try:
        result = operator.resume_execution(next_method, kwargs, task.context)
    except JobError:
        return task.ti.xcoms
    return {**task.ti.xcoms, "return_value": serialize(result)}


def _path_of(operator: Any) -> str:
    """Return where users import an operator's class from."""
    kind = type(operator)
    inner, outer = kind.__module__, kind.__module__.rpartition(".")[0]
    return f"{outer if hasattr(sys.modules[outer], kind.__name__) else inner}.{kind.__name__}"


def _once(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop what was written twice."""
    return [row for i, row in enumerate(history) if row not in history[:i]]


def _with_times(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _with_times(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_times(item) for item in value]
    if isinstance(value, str):
        return _TIMES[key] if key in _TIMES and value else _steady_text(value)
    return value


def _steady_text(text: str) -> str:
    for pattern, steady in _VARYING.items():
        text = re.sub(pattern, steady, text)
    return text


def main() -> None:
    """Write the folder of this version."""
    folder = HERE / __version__
    if folder.exists():
        sys.exit(f"{folder} is there already, and what a release has stored does not change. Raise the version first.")
    rows = {name: record(scenario) for name, scenario in SCENARIOS.items()}
    folder.mkdir()
    for name, row in rows.items():
        text = json.dumps(row, indent=2, ensure_ascii=False)
        (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
