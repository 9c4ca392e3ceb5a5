"""What a release has stored in Airflow's database is read, and carried to its end, by every later one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.serde import deserialize
from airflow.triggers.base import BaseTrigger
from packaging.version import Version

from ork_provider.attempt import STORE_KEY
from ork_provider.errors import JobError, JobFailed, TimedOut
from ork_provider.forms import read_jobs
from ork_provider.operator import WaitOperator
from ork_provider.provider_info import get_provider_info
from ork_provider.testing import TriggerResult, run_trigger
from tests.golden.scenarios import SCENARIOS, World, translate
from tests.golden.write import HERE, record, resumed_kwargs
from tests.support.task import Task

RELEASES = sorted(HERE.glob("[0-9]*"), key=lambda folder: Version(folder.name))
FILES = sorted(HERE.glob("[0-9]*/*.json"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")


class Row(BaseTrigger):
    """A row of Airflow's trigger table, for ``run_trigger``, which rebuilds it as the triggerer does."""

    def __init__(self, stored: Mapping[str, Any], **more: Any) -> None:
        super().__init__()
        kwargs = {**deserialize(stored["kwargs"]), **more}
        self.row = stored["classpath"], {name: value for name, value in kwargs.items() if value is not ...}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return self.row

    def run(self) -> Any:
        raise NotImplementedError  # run_trigger never runs what it is given: it rebuilds the trigger from the row


@contextmanager
def world_of(file: Path) -> Iterator[tuple[World, Any]]:
    """Yield fakes that know the jobs of a file, and the file, in which the jobs have the names of these fakes."""
    with SCENARIOS[file.stem]() as world:  # a scenario is kept for as long as there are files of its name
        world.begin()
        world.new_task().start(world.make())
        yield world, translate(json.loads(file.read_text()), {new: old for old, new in world.names().items()})


def run(row: Row) -> TriggerResult:
    return asyncio.run(run_trigger(row))


def after(task: Task, world: World, stored: Mapping[str, Any], event: Any, **more: Any) -> Any:
    """Resume the task as Airflow does with a stored row, in a worker of today."""
    kwargs = {**resumed_kwargs(stored["next_kwargs"], event), **more}
    return world.make().resume_execution(stored["next_method"], kwargs, task.context)


def ids_of(stored: Mapping[str, Any]) -> list[str]:
    return [job["job_id"] for job in stored["trigger"]["kwargs"]["jobs"]]


def task_with(stored: Mapping[str, Any] | None) -> Task:
    """Return the try after one that has left this behind."""
    task = Task()
    task.ti.max_tries, task.ti.try_number = 1, 2
    if stored is not None:
        task.store.set(STORE_KEY, stored)
    return task


# A task that was deferred under that release ----------------------------------------------------


@every_file
def test_trigger_row(file: Path) -> None:
    """The stored trigger waits for the stored jobs, and its event gives the result that it gave then."""
    with world_of(file) as (world, stored):
        world.end_jobs()
        payload = run(Row(stored["trigger"])).payload
        assert payload["status"] == "success"
        assert [job["job_id"] for job in payload["jobs"]] == ids_of(stored)
        result = after(task_with(None), world, stored, payload)
        then = deserialize(stored["xcoms"]["success"]["return_value"])
        assert set(then) <= set(result)
        assert world.cancels() == 0


@every_file
def test_event(file: Path) -> None:
    """The stored events, whose sender is gone, mean what they meant then."""
    ends = {"success": None, "failed": JobFailed, "error": JobError, "timeout": TimedOut, "stopped": TimedOut}
    for status, error in ends.items():
        with world_of(file) as (world, stored):
            if status not in stored["events"]:  # who only watches stops nothing
                continue
            task, live = world.new_task(), world.live()
            if error is None:
                world.end_jobs()
                result = after(task, world, stored, stored["events"][status])
                then = deserialize(stored["xcoms"]["success"]["return_value"])
                assert (result.get("state"), set(then)) == (then.get("state"), set(result))
                continue
            with pytest.raises(error):
                after(task, world, stored, stored["events"][status])
            cancels = status == "timeout" and world.make().cancel_on_timeout
            assert world.live() == (0 if cancels else live)


@every_file
def test_argument_of_a_later_release(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown argument in the trigger's row, or beside the event, is ignored; the log says so once each."""
    with world_of(file) as (world, stored):
        world.end_jobs()
        capsys.readouterr()
        payload = run(Row(stored["trigger"], shiny=1)).payload
        assert payload["status"] == "success"
        assert capsys.readouterr().out.count("'shiny'") == 1
        assert after(task_with(None), world, stored, payload, glossy=1)
        assert capsys.readouterr().out.count("'glossy'") == 1


@every_file
def test_argument_that_is_not_there(file: Path) -> None:
    """A row without an argument that has a default runs with that."""
    with world_of(file) as (world, stored):
        world.end_jobs()
        for name in stored["trigger"]["kwargs"]:
            payload = run(Row(stored["trigger"], **{name: ...})).payload
            assert payload["status"] == ("success" if name != "jobs" else "error"), name


# What a next try finds ---------------------------------------------------------------------------

ATTEMPTS = [
    pytest.param(file, i, id=f"{file.parent.name}-{file.stem}-{i}")
    for file in FILES
    for i, _ in enumerate(json.loads(file.read_text())["attempts"])
    if file.stem != "cloud_run_unmarked" or i  # before its second row nothing was started
]


@pytest.mark.parametrize(("file", "i"), ATTEMPTS)
def test_attempt(file: Path, i: int) -> None:
    """What the task state store holds, before and after the job's start, leads the next try to that job."""
    with world_of(file) as (world, stored):
        attempt, started = stored["attempts"][i], world.started()
        task = task_with(attempt)
        if attempt.get("findable", True) is False:
            with pytest.raises(Exception, match="nobody knows"):
                world.make().execute(task.context)
            assert world.started() == started
            return
        again = task.start(world.make())
        if attempt.get("complete", True):
            assert world.started() == started
            assert [job["job_id"] for job in again.trigger.jobs] == ids_of(stored)
            assert world.cancels() == 0
        else:  # the function had not come to its end: its jobs end first
            assert world.started() == [n + 1 for n in started]
            assert world.live() == 3


def test_every_form_of_an_attempt() -> None:
    """Intent, job, start without a marker, place, and a handover before and after the function's end are all there."""
    forms = [row for file in FILES for row in json.loads(file.read_text())["attempts"]]
    assert {row.get("submitted") for row in forms} == {True, False, None}
    assert {row.get("complete") for row in forms} == {True, False, None}
    assert any(row.get("findable") is False for row in forms)
    assert any(row.get("place") for row in forms)


@every_file
def test_xcoms(file: Path) -> None:
    """What a task has told, while it ran and at its end, names its jobs to another task of today."""
    with world_of(file) as (_, stored):
        for ending, key in (("success", "ork_job"), ("success", "return_value"), ("failed", "ork_job")):
            told = deserialize(stored["xcoms"][ending][key])
            if "dependencies" in told:  # which no task takes for jobs of its own
                told = told["dependencies"]
            assert [job.remote_id for job in read_jobs(told)] == ids_of(stored)


# Names and shapes --------------------------------------------------------------------------------


def find(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@every_file
def test_stored_names(file: Path) -> None:
    """Every stored name is still there: class paths, arguments, the method that is called at the end."""
    stored = json.loads(file.read_text())
    trigger = find(stored["trigger"]["classpath"])
    missing = set(stored["trigger"]["kwargs"]) - set(trigger().serialize()[1])
    assert not missing, f"rows in databases have {missing}; keep reading them"
    assert callable(getattr(find(stored["operator"]), stored["next_method"]))


def test_every_operator_has_rows() -> None:
    """An operator that waits, and every trigger, has a file; a subclass that only fixes an argument has its base's."""
    stored = [json.loads(file.read_text()) for file in FILES]
    covered = tuple({find(row["operator"]) for row in stored})
    modules = [
        m for part in ("operators", "triggers") for one in get_provider_info()[part] for m in one["python-modules"]
    ]
    public = {value for name in modules for value in vars(import_module(name)).values() if isinstance(value, type)}
    operators = {cls for cls in public if issubclass(cls, WaitOperator) and not getattr(cls, "__abstractmethods__", ())}
    assert {cls.__name__ for cls in operators if not issubclass(cls, covered)} == set()
    triggers = {cls for cls in public if issubclass(cls, BaseTrigger) and "classpath" in vars(cls)}
    assert triggers == {find(row["trigger"]["classpath"]) for row in stored}


def shape(value: Any) -> Any:
    """Return the keys and types of JSON."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "number" if type(value) in (int, float) else type(value).__name__


@pytest.mark.parametrize("name", SCENARIOS)
def test_same_shape_today(name: str) -> None:
    """Today's code stores what the newest files hold; a change of form is made knowingly, or not at all."""
    file = RELEASES[-1] / f"{name}.json"
    now, then = shape(record(SCENARIOS[name])), shape(json.loads(file.read_text()))
    assert now == then, (
        f"what is stored has changed since {file}. If that is meant: old rows must still be read, so leave that "
        "folder as it is, raise the version and add a folder of its own with python -m tests.golden.write"
    )
