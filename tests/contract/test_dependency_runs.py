"""Which run is meant, what happens without a triggerer, and how the wait is told in a DAG."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred

from ork_provider.dependency import DependencyStatus, DependencyWaitOperator, TaskDependency, health
from ork_provider.errors import BadRequest, InvalidJob, JobError, JobFailed, JobLost, TimedOut
from tests.support.dependency import Waiter, look_at, on
from tests.support.state_server import NOW, StateServer

DAY = timedelta(days=1)


def run_of(result: Any) -> str:
    (one,) = result["dependencies"]
    return str(one["stats"]["run_id"])


# Latest ------------------------------------------------------------------------------------------


def test_latest(waiter: Waiter) -> None:
    """Of the runs that there are the one with the latest logical date is meant, however it is called."""
    for i, name in enumerate(["z", "c", "a"]):
        waiter.server.add_run(run_id=name, logical_date=NOW + i * DAY, state="success" if name != "a" else "running")
    waiter.server.add_run(run_id="undated", state="failed")
    waiter.server.before(6, lambda: waiter.server.set_run("success", run_id="a"))
    assert run_of(waiter.wait(TaskDependency(dag_id="sales", run="latest"))) == "a"
    assert waiter.server.count() >= 6


def test_latest_stays(waiter: Waiter) -> None:
    """A run that comes during the wait is not the one that was the latest when it began."""
    server = waiter.server
    server.add_run(run_id="r1", logical_date=NOW, tasks={"a": "running"})
    server.before(4, lambda: server.add_run(run_id="r2", logical_date=NOW + DAY, tasks={"a": "success"}))
    server.before(8, lambda: server.set_tasks({"a": "success"}))
    assert run_of(waiter.wait(TaskDependency(dag_id="sales", run="latest", task_ids=["a"]))) == "r1"
    assert server.count() >= 8


@pytest.mark.parametrize("dated", [True, False])
def test_first_that_comes(waiter: Waiter, dated: bool) -> None:
    """Where there is no run, the first that comes is meant, and stays so when others come."""
    server = waiter.server
    date = NOW if dated else None
    server.before(6, lambda: server.add_run(run_id="manual__1", logical_date=date, tasks={"a": "running"}))
    server.before(
        16, lambda: server.add_run(run_id="manual__2", logical_date=date and date + DAY, tasks={"a": "success"})
    )
    server.before(24, lambda: server.set_tasks({"a": "success"}, run_id="manual__1"))
    assert run_of(waiter.wait(TaskDependency(dag_id="sales", run="latest", task_ids=["a"]))) == "manual__1"
    assert server.count() >= 24


def test_first_of_several_that_come(waiter: Waiter) -> None:
    """Of several that have come at once, the time in their ids says which was the first, not what has started them."""
    server = waiter.server

    def come() -> None:
        for run_id in ("by_hand", "manual__2026-11-22T00:00:00+00:00_aBc", "scheduled__2026-11-21T00:00:00+00:00"):
            server.add_run(run_id=run_id, tasks={"a": "success"})

    server.before(5, come)
    waited = waiter.wait(TaskDependency(dag_id="sales", run="latest", task_ids=["a"]))
    assert run_of(waited) == "scheduled__2026-11-21T00:00:00+00:00"


def test_first_of_too_many(waiter: Waiter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where so many have come that Airflow does not say which was the first, this task fails; it says what to do."""
    monkeypatch.setattr("ork_provider.dependency.source.COUNTABLE", 2)
    latest = TaskDependency(dag_id="sales", run="latest")
    server = waiter.server
    server.before(5, *(partial(server.add_run, run_id=f"r{i}", tasks={"a": "success"}) for i in range(3)))
    with pytest.raises(JobLost, match=r"DAG sales has 3 runs by now, and Airflow .* name it by run_id") as caught:
        waiter.wait(latest, if_missing="wait")
    assert "does not exist:" not in str(caught.value)
    others = look_at(latest, on("r1", "a"))
    assert [status.state.value for status in others] == ["lost", "succeeded"]


def test_latest_by_time(server: StateServer) -> None:
    """The latest run without a logical date is the last by the time in its id, whatever has started it."""
    for run_id in ("by_hand", "manual__2026-11-21T00:00:00+00:00_aBc", "asset_triggered__2026-11-22T00:00:00+00:00"):
        server.add_run(run_id=run_id, tasks={"a": "success"}, state="success")
    assert run_of(Waiter(server).wait(TaskDependency(dag_id="sales", run="latest"))).startswith("asset_triggered")


def test_first_that_comes_is_no_old_one(server: StateServer) -> None:
    """What was the first run of a DAG for one wait is not taken for the latest by the next."""
    waiter = Waiter(server)
    latest = TaskDependency(dag_id="sales", run="latest", task_ids=["a"])
    server.before(5, lambda: server.add_run(run_id="r1", tasks={"a": "success"}))
    assert run_of(waiter.wait(latest)) == "r1"
    server.add_run(run_id="r2", tasks={"a": "running"})
    server.before(8, lambda: server.set_tasks({"a": "success"}, run_id="r2"))
    assert run_of(waiter.wait(latest)) == "r2"


def test_latest_without_a_date(waiter: Waiter) -> None:
    """Runs that assets have started have no logical date: the last by name, which holds the time, is meant."""
    server = waiter.server
    for day in (1, 3, 2):
        run_id = f"asset_triggered__2026-11-0{day}T00:00:00.000000+00:00_abc"
        server.add_run(run_id=run_id, tasks={"a": "success"}, state="success" if day != 3 else "running")
    server.before(6, lambda: server.set_run("success", run_id="asset_triggered__2026-11-03T00:00:00.000000+00:00_abc"))
    assert "2026-11-03" in run_of(waiter.wait(TaskDependency(dag_id="sales", run="latest")))
    assert server.count() >= 6


def test_latest_of_too_many_without_a_date(waiter: Waiter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the states of too many tasks would tell, the task fails at once and says what to do."""
    monkeypatch.setattr("ork_provider.dependency.source.COUNTABLE", 2)
    for i in range(3):
        waiter.server.add_run(run_id=f"r{i}", tasks={"a": "success"})
    with pytest.raises(BadRequest, match=r"sales has 3 runs, none with a logical date.* name it by run_id"):
        waiter.wait(TaskDependency(dag_id="sales", run="latest"))


# Dates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "date"),
    [
        ({}, NOW),
        ({"date_offset": -DAY}, NOW - DAY),
        ({"date_offset": 3600}, NOW + timedelta(hours=1)),
        ({"date_offset": 0}, NOW),
        ({"logical_date": NOW + 9 * DAY}, NOW + 9 * DAY),
        ({"logical_date": "2026-11-01T02:00:00+02:00"}, datetime(2026, 11, 1, tzinfo=timezone.utc)),
        ({"logical_date": "2026-11-01"}, datetime(2026, 11, 1, tzinfo=timezone.utc)),
    ],
    ids=["same", "day before", "hour later", "no offset", "datetime", "with a zone", "date only"],
)
@pytest.mark.parametrize("late", [False, True])
def test_logical_date(waiter: Waiter, which: dict[str, Any], date: datetime, late: bool) -> None:
    """The run of a logical date is found, if it is there or when it comes; no other one is taken for it."""
    server = waiter.server
    for days in (-3, 3):
        server.add_run(run_id=f"other{days}", logical_date=date + days * DAY, tasks={"a": "failed"}, state="failed")
    if late:
        server.before(6, lambda: server.add_run(run_id="it", logical_date=date, tasks={"a": "success"}))
    else:
        server.add_run(run_id="it", logical_date=date, tasks={"a": "success"})
    assert run_of(waiter.wait(TaskDependency(dag_id="sales", task_ids=["a"], **which))) == "it"


def test_deleted_run_of_a_date(waiter: Waiter) -> None:
    """A run of a date that came during the wait, was deleted, and came again under another name is found."""
    server = waiter.server
    server.before(4, lambda: server.add_run(run_id="r1", logical_date=NOW, tasks={"a": "running"}))
    server.before(9, server.remove)
    server.before(14, lambda: server.add_run(run_id="r2", logical_date=NOW, tasks={"a": "success"}))
    assert run_of(waiter.wait(TaskDependency(dag_id="sales", task_ids=["a"]))) == "r2"


@pytest.mark.parametrize(("year", "days"), [(9999, 36_500), (2, -800)])
def test_no_such_date(waiter: Waiter, year: int, days: int) -> None:
    """An offset that leads out of the calendar is named."""
    waiter.logical_date = datetime(year, 1, 1, tzinfo=timezone.utc)
    with pytest.raises(InvalidJob, match=r"depends_on\[0\].date_offset: .* is no date"):
        waiter.wait(TaskDependency(dag_id="sales", date_offset=days * DAY))  # type: ignore[arg-type]


@pytest.mark.parametrize("native", [False, True])
def test_day_of_a_zone(waiter: Waiter, native: bool) -> None:
    """The day before in a zone is found by a template, also where the clocks were changed that night."""
    import pendulum

    waiter.server.add_run(logical_date=datetime(2026, 3, 28, 2, tzinfo=timezone.utc), tasks={"a": "success"})
    template = "{{ logical_date.in_timezone('Europe/Berlin').subtract(days=1) }}"
    with DAG("reports", schedule=None, render_template_as_native_obj=native):
        operator = waiter.operator({"dag_id": "sales", "logical_date": template, "task_ids": ["a"]})
    operator.render_template_fields({"logical_date": pendulum.datetime(2026, 3, 29, 1, tz="UTC")})
    assert run_of(waiter.run(operator)) == "r1"


def test_no_logical_date(waiter: Waiter) -> None:
    """A run without a logical date cannot name another DAG's run by it, and says what can; its own run it can."""
    waiter.logical_date = None
    for which in ({}, {"date_offset": -3600}):
        with pytest.raises(InvalidJob, match=r"no logical date to find the run of sales by; name that run by run_id"):
            waiter.wait(TaskDependency(dag_id="sales", **which))
    waiter.server.add_run("reports", "own", tasks={"a": "success"})
    assert run_of(waiter.wait("a")) == "own"


def test_dates_of_many(server: StateServer) -> None:
    """Runs of several dates are found in one look, each its own."""
    dates = [NOW + i * DAY for i in range(5)]
    for i, date in enumerate(dates[:4]):
        server.add_run(run_id=f"r{i}", logical_date=date, tasks={"a": "success" if i % 2 else "running"})
    found = look_at(*(TaskDependency(dag_id="sales", logical_date=date, task_ids=["a"]) for date in dates))
    assert [status.run_id for status in found] == ["r0", "r1", "r2", "r3", None]
    assert [status.complete for status in found] == [False, True, False, True, False]


# The task's own run ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "depends_on",
    [
        "extract",
        ["extract"],
        TaskDependency(dag_id="reports", task_ids=["extract"]),
        {"dag_id": "reports", "task_ids": ["extract"]},
    ],
    ids=["text", "list", "object", "dict"],
)
def test_own_run(waiter: Waiter, depends_on: Any) -> None:
    """A task of the same run is named by its id alone, or by the DAG's without a run."""
    waiter.server.add_run("reports", "own", tasks={"extract": "running", "report": "running"})
    waiter.server.add_run("reports", "other", tasks={"extract": "failed"}, logical_date=NOW)
    waiter.server.before(4, lambda: waiter.server.set_tasks({"extract": "success"}, "reports", "own"))
    assert run_of(waiter.wait(depends_on)) == "own"


def test_own_dag_another_date(waiter: Waiter) -> None:
    """With an offset, the same DAG's other run is meant, such as yesterday's of this very task."""
    waiter.server.add_run("reports", "yesterday", tasks={"report": "success"}, logical_date=NOW - DAY)
    dependency = TaskDependency(dag_id="reports", date_offset=-DAY, task_ids=["report"])
    assert run_of(waiter.wait(dependency)) == "yesterday"


@pytest.mark.parametrize(
    ("depends_on", "said"),
    [
        ("report", "the task cannot wait for itself"),
        ({"dag_id": "reports"}, "cannot wait for the whole of the run that it is part of"),
        ({"dag_id": "reports", "run_id": "own"}, "cannot wait for the whole of the run"),
        ({"dag_id": "reports", "run_id": "own", "task_ids": ["a", "report"]}, "the task cannot wait for itself"),
        ({"dag_id": "reports", "run": "latest"}, "cannot wait for the whole of the run"),
        ({"dag_id": "reports", "logical_date": NOW.isoformat()}, "cannot wait for the whole of the run"),
        ({"dag_id": "reports", "logical_date": NOW.isoformat(), "task_ids": ["report"]}, "cannot wait for itself"),
    ],
)
def test_waiting_for_itself(waiter: Waiter, depends_on: Any, said: str) -> None:
    """A wait that could never end is refused at once, however the own run is named."""
    waiter.server.add_run("reports", "own", tasks={"report": "running", "a": "success"}, logical_date=NOW)
    with pytest.raises(InvalidJob, match=said):
        waiter.wait(depends_on, timeout=1)


def test_waiting_for_the_own_group(server: StateServer) -> None:
    """A task cannot wait for a group that it is in, also not for one around that."""
    waiter = Waiter(server)
    with DAG("reports", schedule=None), TaskGroup("outer"), TaskGroup("inner"):
        tasks = {group_id: waiter.operator({"dag_id": "reports", "task_group_id": group_id}, task_id=f"of_{i}")
                 for i, group_id in enumerate(["outer", "outer.inner", "outer.other"])}  # fmt: skip
    for group_id in ("outer", "outer.inner"):
        with pytest.raises(InvalidJob, match="cannot wait for a group that it is part of"):
            waiter.run(tasks[group_id])
    with pytest.raises(TaskDeferred):
        tasks["outer.other"].execute(waiter.context)


def test_waiting_for_what_comes_after(server: StateServer) -> None:
    """A task of the own run that does not start before this one has ended is refused, and a group with one."""
    waiter = Waiter(server)
    server.add_run("reports", "own", tasks={"far": None, "early": None, "aside": None}, logical_date=NOW)
    with DAG("reports", schedule=None):
        wait = waiter.operator("x")
        near, far = EmptyOperator(task_id="near"), EmptyOperator(task_id="far", trigger_rule="all_done")
        with TaskGroup("late"):
            last = EmptyOperator(task_id="last")
        with TaskGroup("other"):
            aside = EmptyOperator(task_id="aside")
        wait >> near >> far >> last
        wait >> EmptyOperator(task_id="early", trigger_rule="one_success") << aside
    own: dict[str, Any] = {"dag_id": "reports", "logical_date": NOW}
    for which, said in (
        ("far", "cannot wait for far, which starts after it"),
        (TaskDependency(task_ids=["aside", "near"], **own), "cannot wait for near, which starts after it"),
        ({"dag_id": "reports", "task_group_id": "late"}, "for a group with late.last, which starts after it"),
    ):
        wait.depends_on = which
        with pytest.raises(InvalidJob, match=said):
            wait.execute(waiter.context)
    for allowed in ("early", {"dag_id": "reports", "task_group_id": "other"}, on("earlier", "far", dag_id="reports")):
        wait.depends_on = allowed
        with pytest.raises(TaskDeferred):
            wait.execute(waiter.context)


def test_a_text_is_a_task(waiter: Waiter) -> None:
    """A text in a list names a task of the own run, beside other dependencies."""
    waiter.server.add_run("reports", "own", tasks={"a": "success"})
    waiter.server.add_run(tasks={"b": "success"})
    result = waiter.wait(["a", on("r1", "b")])
    assert [one["dag_id"] for one in result["dependencies"]] == ["reports", "sales"]


@pytest.mark.parametrize(
    "bad",
    [
        7,
        [""],
        [None],
        [["a"]],
        {"task_ids": ["a"]},
        {"dag_id": "sales", "run_id": ""},
    ],
)
def test_what_is_no_dependency(waiter: Waiter, bad: Any) -> None:
    """What came out of a template or an XCom and is no dependency is named by its place."""
    operator = waiter.operator("{{ which }}")
    operator.depends_on = bad
    with pytest.raises(InvalidJob, match=r"depends_on\[0\]"):
        waiter.run(operator)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"task_id": "load"}, r"no field 'task_id'; is task_ids meant\?"),
        ({"logicaldate": NOW.isoformat()}, r"no field 'logicaldate'; is logical_date meant\?"),
        ({"external_dag_id": "stock"}, r"no field 'external_dag_id'; is dag_id meant\?"),
        ({"x": 1}, r"no field 'x'; it has conn_id, dag_id, date_offset"),
        ({7: 1}, "no field 7; it has"),
        ({"service_type": "bigquery"}, "service_type: expected 'dependency', got str 'bigquery'"),
        ({"service_type": None}, "service_type: expected 'dependency', got NoneType"),
    ],
)
def test_unknown_fields(waiter: Waiter, bad: Any, said: str) -> None:
    """A field of a dict that there is not is refused: without it, something else would be waited for."""
    waiter.server.add_run(logical_date=NOW, state="success", tasks={"load": "failed"})
    with pytest.raises(InvalidJob, match=rf"report.*depends_on\[1\].*{said}"):
        waiter.wait([on("r1"), {"dag_id": "sales", **bad}])


def test_listed_dependency(waiter: Waiter) -> None:
    """What a wait has returned of a dependency says what to wait for, as it is."""
    waiter.server.add_run(state="success", logical_date=NOW, tasks={"a": "success"})
    first = waiter.wait(TaskDependency(dag_id="sales"))
    assert run_of(waiter.wait(first["dependencies"])) == "r1"


@pytest.mark.parametrize(
    "given",
    [
        {"logical_date": NOW},
        {"logical_date": "{{ date }}"},
        {"date_offset": timedelta(0)},
        {"date_offset": "{{ delta }}"},
        {"run_id": "r1", "task_ids": "m"},
        {"run_id": "r1", "task_ids": ("m",), "map_indexes": 1},
        {"run_id": "r1", "task_ids": "{{ task }}", "map_indexes": "{{ index }}"},
    ],
)
def test_values_in_a_dict(waiter: Waiter, given: dict[str, Any]) -> None:
    """A dict takes what the class takes, written in a DAG or rendered as native objects."""
    waiter.server.add_run(tasks={("m", 0): "success", ("m", 1): "success"}, state="success", logical_date=NOW)
    with DAG("reports", schedule=None, render_template_as_native_obj=True):
        operator = waiter.operator({"dag_id": "sales", **given})
    operator.render_template_fields({"date": NOW, "delta": timedelta(0), "task": "m", "index": 1})
    assert run_of(waiter.run(operator)) == "r1"


@pytest.mark.parametrize(
    "empty",
    [
        {"task_ids": []},
        {"task_ids": ()},
        {"task_ids": None},
        {"task_ids": ["a"], "map_indexes": []},
        {"run_id": None},
        {"logical_date": None},
        {"task_group_id": None},
    ],
)
def test_values_that_came_to_nothing(waiter: Waiter, empty: dict[str, Any]) -> None:
    """A template that was rendered to nothing does not mean the whole run, all instances or another run."""
    waiter.server.add_run(tasks={"a": "success"}, state="success", logical_date=NOW)
    operator = waiter.operator("{{ which }}")
    operator.depends_on = {"dag_id": "sales", **empty}
    with pytest.raises(InvalidJob, match=rf"depends_on\[0\].{list(empty)[-1]}: expected"):
        waiter.run(operator)


# In a DAG ----------------------------------------------------------------------------------------


def test_templates(waiter: Waiter) -> None:
    """Dependencies are rendered, also those that were given as objects."""
    operator = waiter.operator([on("{{ run }}", "{{ task }}"), "{{ task }}"])
    operator.render_template_fields({"run": "r1", "task": "a"})
    waiter.server.add_run(tasks={"a": "success"})
    waiter.server.add_run("reports", "own", tasks={"a": "success"})
    result = waiter.run(operator)
    assert [(one["dag_id"], one["task_ids"]) for one in result["dependencies"]] == [
        ("sales", ["a"]),
        ("reports", ["a"]),
    ]


def test_upstream_output() -> None:
    """What another task returns may say what to wait for; that task comes first then."""
    with DAG("reports", schedule=None) as dag:

        @dag.task
        def which() -> Any:
            return [{"dag_id": "sales", "run_id": "r1"}]

        whole = DependencyWaitOperator(task_id="whole", depends_on=which())
        part = DependencyWaitOperator(task_id="part", depends_on=["a", which.override(task_id="other")()])
    assert (whole.upstream_task_ids, part.upstream_task_ids) == ({"which"}, {"other"})


def test_mapped() -> None:
    """A mapped operator waits for one dependency in each instance; its DAG can be stored."""
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("reports", schedule=None, start_date=NOW) as dag:
        partial = DependencyWaitOperator.partial(task_id="each", on_failed="skip", timeout=60)
        partial.expand(depends_on=[on("r1", "a"), {"dag_id": "sales", "run_id": "r2"}])
        DependencyWaitOperator.partial(task_id="same", depends_on=[on("r1")]).expand(on_failed=["skip", "fail"])
        DependencyWaitOperator(task_id="plain", depends_on=[on("r1"), "each"])
    restored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert sorted(restored.task_ids) == ["each", "plain", "same"]
    unmapped: Any = dag.get_task("each").unmap({"depends_on": on("r1", "a"), "on_failed": "skip"})  # type: ignore[union-attr]
    assert (unmapped.depends_on["task_ids"], unmapped.on_failed) == (["a"], "skip")


# Missing: the grace ------------------------------------------------------------------------------


def test_grace_is_the_waits(server: StateServer) -> None:
    """The grace runs from the beginning of the wait, wherever it goes on."""
    waiter, began = Waiter(server, "trigger"), datetime.now(timezone.utc)
    operator = waiter.operator(on("r9"), missing_grace=100)
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(waiter.context)
    trigger: Any = caught.value.trigger
    by = datetime.fromisoformat(trigger.jobs[0]["exists_by"])
    assert 0 <= (by - began).total_seconds() - 100 < 5


def test_status_of_what_is_missing(server: StateServer) -> None:
    """Before the grace is over something that is missing counts as running; without one, for ever."""
    soon = (datetime.now(timezone.utc) + timedelta(seconds=60)).isoformat()
    past = (datetime.now(timezone.utc) - timedelta(seconds=1)).isoformat()
    states = [status.state.value for status in look_at(on("r9", exists_by=soon), on("r9"), on("r9", exists_by=past))]
    assert states == ["running", "running", "lost"]
    assert DependencyStatus.fetch(on("r9")).missing == ("run r9 of DAG sales",)


def test_status_in_a_coroutine(server: StateServer) -> None:
    """A task that is a coroutine function may ask for it as well."""
    server.add_run(state="success", tasks={"a": "success"})

    async def look() -> DependencyStatus:
        return DependencyStatus.fetch(on("r1"))

    assert asyncio.run(look()).succeeded == 1


# Without a triggerer -----------------------------------------------------------------------------


@contextmanager
def api_server(status: int, body: bytes, delay: float = 0.0) -> Iterator[tuple[str, list[str]]]:
    """Serve a health page; yield the base URL and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            time.sleep(delay)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def page(status: str) -> bytes:
    return b'{"triggerer": {"status": %s, "latest_triggerer_heartbeat": null}}' % status.encode()


HEALTHY, UNHEALTHY, NEVER = page('"healthy"'), page('"unhealthy"'), page("null")


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Let an API server say how the triggerer is."""

    @contextmanager
    def serve(*answer: Any) -> Iterator[list[str]]:
        with api_server(*answer) as (url, asked):
            monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", f"{url}/prefix/execution/")
            yield asked

    return serve


@pytest.mark.parametrize(
    ("answer", "alive"),
    [
        ((200, HEALTHY), True),
        ((200, UNHEALTHY), False),
        ((200, NEVER), False),
        ((500, UNHEALTHY), True),
        ((404, b""), True),
        ((200, b"<html>sign in</html>"), True),
        ((200, b"[1]"), True),
        ((200, b'{"triggerer": null}'), True),
        ((200, b"{}"), True),
        ((200, UNHEALTHY, 1.0), True),
    ],
    ids=["healthy", "unhealthy", "never", "500", "404", "page", "list", "null", "empty", "slow"],
)
def test_health(healthy: Any, answer: Any, alive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an API server that says so has no triggerer; one that does not say counts as having one."""
    monkeypatch.setattr(health, "HEALTH_TIMEOUT", 0.3)
    with healthy(*answer) as asked:
        assert health.has_triggerer(DependencyWaitOperator(task_id="t", depends_on="a").log) is alive
    assert asked == ["/prefix/api/v2/monitor/health"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/execution/", "http://[/execution", "nonsense"])
def test_no_api_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API server that is not there, or whose address is none, does not say so either."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", url)
    assert health.has_triggerer(DependencyWaitOperator(task_id="t", depends_on="a").log)


def test_no_triggerer_fails(server: StateServer, healthy: Any) -> None:
    """fallback='fail' says that no triggerer is alive; a dependency that is complete already needs none."""
    server.add_run(tasks={"a": "running", "b": "success"})
    with healthy(200, UNHEALTHY) as asked:
        with pytest.raises(JobError, match="No triggerer is alive"):
            Waiter(server).wait(on("r1", "a"), fallback="fail")
        Waiter(server).wait(on("r1", "b"), fallback="fail")
        assert len(asked) == 1


def test_nobody_asks(server: StateServer, healthy: Any) -> None:
    """Without a fallback nobody asks whether there is a triggerer; with one that is alive the task defers."""
    server.add_run(tasks={"a": "running"})
    with healthy(200, HEALTHY) as asked:
        for fallback, count in ((None, 0), ("reschedule", 1), ("fail", 2)):
            operator = Waiter(server).operator(on("r1", "a"), fallback=fallback)
            with pytest.raises(TaskDeferred):
                operator.execute(Waiter(server).context)
            assert len(asked) == count


def rescheduled(waiter: Waiter, depends_on: Any, **arguments: Any) -> AirflowRescheduleException:
    """Run one stretch of a task that has no triggerer, in a process of its own."""
    with pytest.raises(AirflowRescheduleException) as caught:
        waiter.run(waiter.operator(depends_on, fallback="reschedule", **arguments))
    return caught.value


def test_reschedule(server: StateServer, healthy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The task is rescheduled as a sensor is, time and again, and ends like any other; the log counts."""
    waiter = Waiter(server)
    server.add_run(run_id="r1", logical_date=NOW, tasks={"a": "running"})
    latest = TaskDependency(dag_id="sales", run="latest", task_ids=["a"])
    with healthy(200, UNHEALTHY):
        began = datetime.now(timezone.utc)
        told = rescheduled(waiter, latest, reschedule_delay=30)
        assert 30 <= (told.reschedule_date - began).total_seconds() < 35
        server.add_run(run_id="r2", logical_date=NOW + DAY, tasks={"a": "failed"})
        rescheduled(waiter, latest)
        out = capsys.readouterr().out
        assert "poll_count=1" in out
        assert "poll_count=2" in out
        server.set_tasks({"a": "success"})
        assert run_of(waiter.run(waiter.operator(latest, fallback="reschedule"))) == "r1"


def test_reschedule_looks_once(server: StateServer, healthy: Any) -> None:
    """A task that was rescheduled looks once: it does not hold its worker for poll_timeout each time."""
    waiter = Waiter(server)
    server.add_run(tasks={"a": "running"})
    with healthy(200, UNHEALTHY):
        rescheduled(waiter, on("r1", "a"), poll_timeout=0.05)
        count = server.count()
        rescheduled(waiter, on("r1", "a"), poll_timeout=60)
        assert server.count() == count + 1


def test_reschedule_keeps_the_deadline(server: StateServer, healthy: Any) -> None:
    """The deadline and the grace are those of the first beginning."""
    waiter = Waiter(server)
    server.add_run(tasks={"a": "running"})
    with healthy(200, UNHEALTHY):
        for depends_on, error in ((on("r1", "a"), TimedOut), (on("r9"), JobLost)):
            waiter.ti.try_number += 1
            arguments = {"fallback": "reschedule", "timeout": 0.3, "missing_grace": 0.2}
            with pytest.raises(AirflowRescheduleException):
                waiter.wait(depends_on, **arguments)
            time.sleep(0.35)
            with pytest.raises(error):
                waiter.wait(depends_on, **arguments)


def test_retry_begins_anew(server: StateServer, healthy: Any) -> None:
    """The next try, or one after a clear, is a wait of its own: another deadline, another latest run."""
    waiter = Waiter(server)
    server.add_run(run_id="r1", logical_date=NOW, tasks={"a": "running"})
    latest = TaskDependency(dag_id="sales", run="latest", task_ids=["a"])
    with healthy(200, UNHEALTHY):
        rescheduled(waiter, latest)
        server.add_run(run_id="r2", logical_date=NOW + DAY, tasks={"a": "success"})
        waiter.ti.try_number += 1
        assert run_of(waiter.run(waiter.operator(latest, fallback="reschedule"))) == "r2"


def test_triggerer_comes_back(server: StateServer, healthy: Any) -> None:
    """A task that was rescheduled defers as soon as there is a triggerer again."""
    waiter = Waiter(server)
    server.add_run(tasks={"a": "running"})
    with healthy(200, UNHEALTHY):
        rescheduled(waiter, on("r1", "a"))
    server.before(4, lambda: server.set_tasks({"a": "failed"}))
    with healthy(200, HEALTHY), pytest.raises(JobFailed):
        waiter.run(waiter.operator(on("r1", "a"), fallback="reschedule"))
    assert waiter.deferrals == 1
