"""What Airflow's metrics are told of a wait: for dependencies as for every other kind of job."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
from airflow.sdk.observability import stats

from ork_provider.dependency import health
from ork_provider.errors import JobFailed, TimedOut
from ork_provider.testing import run_trigger
from ork_provider.testing.trigger_runner import task_instance
from tests.contract.kinds import Kind
from tests.support.dependency import Waiter, on
from tests.support.state_server import StateServer
from tests.support.task import Task


class Recorder:
    """A stats logger that keeps what it is told."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, int, dict[str, str]]] = []
        self.times: list[tuple[str, timedelta, dict[str, str]]] = []
        self.gauges: dict[str, list[float]] = {}

    def incr(self, name: str, count: int = 1, rate: float = 1, *, tags: Any = None, **_: Any) -> None:
        self.counts.append((name, count, dict(tags or {})))

    def timing(self, name: str, took: timedelta, *, tags: Any = None, **_: Any) -> None:
        self.times.append((name, took, dict(tags or {})))

    def gauge(self, name: str, value: float, *_: Any, **more: Any) -> None:
        self.gauges.setdefault(name, []).append(value)

    def of(self, name: str) -> list[tuple[int, dict[str, str]]]:
        return [(count, tags) for told, count, tags in self.counts if told == f"ork.wait.{name}"]

    def total(self, name: str) -> int:
        return sum(count for count, _ in self.of(name))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    for name in ("incr", "timing", "gauge"):
        monkeypatch.setattr(stats, name, getattr(recorder, name))
    return recorder


OURS = {"service": "dependency", "dag_id": "reports", "task_id": "report"}


def triggered(server: StateServer, deferred: TaskDeferred) -> Any:
    trigger: Any = deferred.trigger
    trigger.not_before = None
    ti = task_instance(dag_id="reports", task_id="report")
    return asyncio.run(run_trigger(trigger, ti=ti, answers=server.answers)).payload


def test_worker(server: StateServer, recorder: Recorder) -> None:
    """A wait that ends in its worker: begun, asked for, ended, and how long it took."""
    server.add_run(tasks={"a": "running"})
    server.before(4, lambda: server.set_tasks({"a": "success"}))
    Waiter(server, "window").wait(on("r1", "a"))
    assert recorder.of("started") == [(1, OURS)]
    assert recorder.of("finished") == [(1, {**OURS, "outcome": "success"})]
    assert recorder.of("polled") == [(4, OURS)]
    assert [recorder.total(name) for name in ("deferred", "errors", "rescheduled")] == [0, 0, 0]
    ((name, took, tags),) = recorder.times
    assert (name, tags) == ("ork.wait.duration", {**OURS, "outcome": "success"})
    assert timedelta(0) < took < timedelta(seconds=20)


@pytest.mark.parametrize(("state", "outcome"), [("success", "success"), ("failed", "failed"), (None, "timeout")])
def test_triggerer(server: StateServer, recorder: Recorder, state: str | None, outcome: str) -> None:
    """One that is deferred: begun and deferred once, ended once, by the triggerer; its gauges go back to nothing."""
    server.add_run(tasks={"a": "running"})
    if state:
        server.before(4, lambda: server.set_tasks({"a": state}))
    waiter = Waiter(server)
    operator = waiter.operator(on("r1", "a"), timeout=20 if state else 0.4)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(waiter.context)
    assert recorder.total("finished") == 0
    event = triggered(server, deferred.value)
    errors: Any = {"failed": JobFailed, "timeout": TimedOut}
    if outcome == "success":
        operator.execute_complete(waiter.context, event)
    else:
        with pytest.raises(errors[outcome]):
            operator.execute_complete(waiter.context, event)
    assert [recorder.total(name) for name in ("started", "deferred", "finished", "errors")] == [1, 1, 1, 0]
    assert recorder.of("finished") == [(1, {**OURS, "outcome": outcome})]
    assert recorder.total("polled") >= 1
    assert len(recorder.times) == 1
    in_flight, scopes = recorder.gauges["ork.wait.in_flight"], recorder.gauges["ork.hub.scopes"]
    assert (max(in_flight), in_flight[-1], scopes[-1]) == (1, 0, 0)


def test_asks_before_the_deferral(server: StateServer, recorder: Recorder) -> None:
    """What a worker asks before it gives up its place is counted there, and not again by the triggerer."""
    server.add_run(tasks={"a": "running"})
    waiter = Waiter(server)
    with pytest.raises(TaskDeferred) as deferred:
        waiter.operator(on("r1", "a"), poll_timeout=0.1).execute(waiter.context)
    asked = server.count()
    assert asked > 1
    assert recorder.of("polled") == [(asked, OURS)]
    server.set_tasks({"a": "success"})
    triggered(server, deferred.value)
    assert recorder.total("polled") == asked + 1


def test_asks_of_a_worker_that_stays(server: StateServer, recorder: Recorder) -> None:
    """The looks of a worker that does not defer are all counted."""
    server.add_run(tasks={"a": "running"})
    server.before(5, lambda: server.set_tasks({"a": "success"}))
    Waiter(server, "worker").wait(on("r1", "a"))
    assert recorder.total("polled") == server.count()


def test_looks(server: StateServer, recorder: Recorder) -> None:
    """Looks at the runs of a DAG are counted, and not who shares them."""
    server.add_run(tasks={"a": "running", "b": "success"})
    server.before(4, lambda: server.set_tasks({"a": "success"}))
    Waiter(server).wait([on("r1", "a"), on("r1", "b")], poll_timeout=0)
    looks = [(count, tags) for name, count, tags in recorder.counts if name == "ork.dependency.looks"]
    assert looks == [(1, {"dag_id": "sales"})] * server.count("GetTaskStates")


def test_errors(server: StateServer, recorder: Recorder) -> None:
    """Answers that are none are counted."""
    server.add_run(tasks={"a": "running"})
    waiter = Waiter(server)
    with pytest.raises(TaskDeferred) as deferred:
        waiter.operator(on("r1", "a"), error_budget=0.3).execute(waiter.context)
    server.fault = lambda msg: RuntimeError("no")
    assert triggered(server, deferred.value)["status"] == "error"
    assert recorder.total("errors") >= 1
    assert recorder.of("finished") == [(1, {**OURS, "outcome": "error"})]


def test_killed(server: StateServer, recorder: Recorder) -> None:
    """A trigger that is stopped has not ended the wait, but waits no more."""
    server.add_run(tasks={"a": "running"})
    waiter = Waiter(server)
    with pytest.raises(TaskDeferred) as deferred:
        waiter.operator(on("r1", "a")).execute(waiter.context)
    trigger: Any = deferred.value.trigger
    asyncio.run(run_trigger(trigger, answers=server.answers, cancel_after=0.2))
    assert recorder.total("finished") == 0
    assert recorder.gauges["ork.wait.in_flight"][-1] == 0


def test_rescheduled(server: StateServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that a task is rescheduled is counted, and its looks; its wait has begun once."""
    monkeypatch.setattr("ork_provider.dependency.operator.has_triggerer", lambda log: False)
    server.add_run(tasks={"a": "running"})
    waiter = Waiter(server)
    for _ in range(2):
        with pytest.raises(AirflowRescheduleException):
            waiter.run(waiter.operator(on("r1", "a"), fallback="reschedule"))
    assert recorder.of("rescheduled") == [(1, OURS)] * 2
    assert recorder.of("started") == [(1, OURS)]
    assert recorder.of("polled") == [(1, OURS)] * 2
    assert recorder.total("deferred") == recorder.total("finished") == 0
    assert health.HEALTH_TIMEOUT < 10


@pytest.mark.parametrize("kind", ["custom_http"], indirect=True)
@pytest.mark.parametrize("good", [True, False])
def test_another_kind(kind: Kind, recorder: Recorder, good: bool) -> None:
    """A job of another service is told of in the same words."""
    kind.script(0.4, good, 0.0)
    task, operator = Task(), kind.operator()
    if good:
        task.run(operator)
    else:
        with pytest.raises(JobFailed):
            task.run(operator)
    counted = [recorder.total(name) for name in ("started", "deferred", "finished", "errors")]
    assert counted == [1, 1, 1, 0]
    ((_, tags),) = recorder.of("finished")
    assert (tags["service"], tags["outcome"]) == ("custom_http", "success" if good else "failed")
    assert recorder.gauges["ork.wait.in_flight"][-1] == 0
    assert recorder.gauges["ork.hub.scopes"][-1] == 0
