"""`airflow ork waiting` and `explain`, as far as no deployment is needed: repetition, formats, what comes next."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ork_provider.bigquery import BigQueryJob
from ork_provider.cli import explain, waiting
from ork_provider.cli.reading import Deferred, Triggerer
from ork_provider.dependency import TaskDependency

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
QUERY = BigQueryJob(project="p", job_id="j1", location="EU")
ARGUMENTS = Namespace(
    dag_id=None, task_id=None, run_id=None, service=None, overdue=False, watch=0.0, output="json", verbose=False
)
TASK = {
    "state": "deferred",
    "next_method": "execute_complete",
    "next_kwargs": None,
    "pool": "default_pool",
    "hostname": "worker-1",
}


def _triggerer(*, alive: bool = True) -> Triggerer:
    return Triggerer(id=7, hostname="h", started=NOW, heartbeat=NOW, ended=None, alive=alive)


def _deferred(*jobs: Any, **more: Any) -> Deferred:
    """Return a deferred task whose trigger's arguments are stored without a key."""
    kwargs = {"jobs": [job.to_dict() for job in jobs], **more.pop("kwargs", {})}
    known = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1, "try_number": 1, "trigger_id": 1}
    place = {"classpath": "a.B", "since": NOW, "triggerer_id": 7, "triggerer": _triggerer()}
    return Deferred(**{**known, **place, "stored": json.dumps(kwargs), **more})


def _show(monkeypatch: pytest.MonkeyPatch, found: list[Deferred], **arguments: Any) -> None:
    monkeypatch.setattr(waiting, "read_deferred", lambda session, **only: found)
    waiting.waiting(Namespace(**{**vars(ARGUMENTS), **arguments}))


def test_one_line_for_each_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A task that waits for two jobs has two lines, with what was heard of each; other triggers one."""
    other = BigQueryJob(project="p", job_id="j2", location="EU")
    found = [
        _deferred(QUERY, other, progress={str(QUERY): {"state": "RUNNING"}}, triggerer=_triggerer(alive=False)),
        _deferred(triggerer_id=None, triggerer=None, overdue_after=NOW),
        _deferred(stored="", classpath="", trigger_id=None, triggerer_id=9, triggerer=None),
    ]
    _show(monkeypatch, found)
    lines = json.loads(capsys.readouterr().out)
    assert [(line["service"], line["job"], line["state"], line["triggerer"]) for line in lines] == [
        ("bigquery", "BigQuery job p:EU.j1", "RUNNING", "7 on h (dead)"),
        ("bigquery", "BigQuery job p:EU.j2", "waiting", "7 on h (dead)"),
        ("other", "a.B", "waiting", "none"),
        ("other", "no trigger", "waiting", "9 (gone)"),
    ]
    assert [line["deadline"] for line in lines] == ["", "", "2026-01-31T12:00:00Z", ""]


@pytest.mark.parametrize(
    ("arguments", "count"), [({"service": "bigquery"}, 1), ({"service": "other"}, 1), ({"overdue": True}, 1)]
)
def test_filters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: dict[str, Any], count: int
) -> None:
    """Lines are chosen by kind of job, and by a deadline that has passed."""
    late = {"kwargs": {"deadline": (NOW - timedelta(days=1)).isoformat()}}
    _show(monkeypatch, [_deferred(QUERY, **late), _deferred()], **arguments)
    assert len(json.loads(capsys.readouterr().out)) == count


def test_unknown_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of job that there is not is refused with those that there are, not answered with an empty list."""
    with pytest.raises(SystemExit, match=r"--service: unknown kind of job 'bigqery'; known: bigquery, .*, other"):
        _show(monkeypatch, [], service="bigqery")


def test_watch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With --watch the list is printed again and again, with the pause that was asked for, until Ctrl-C."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    _show(monkeypatch, [_deferred(QUERY)], watch=2.0, output="table")
    assert pauses == [2.0, 2.0, 2.0]
    assert capsys.readouterr().out.count(": 1 waiting\n") == 3
    pauses.clear()
    _show(monkeypatch, [], watch=None)
    assert pauses == [waiting.USUAL_PAUSE] * 3


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_watch_that_is_no_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """A pause that is none is refused."""
    with pytest.raises(SystemExit, match="--watch: expected a number of seconds greater than 0"):
        _show(monkeypatch, [], watch=seconds)


@pytest.mark.parametrize(
    ("task", "deferred", "alive", "said"),
    [
        ({}, _deferred(QUERY), True, "it sends one event, and a worker runs execute_complete"),
        ({}, _deferred(), True, "When the trigger fires, a worker runs execute_complete"),
        ({}, _deferred(trigger_id=None), True, "Nothing can wake it"),
        ({}, _deferred(QUERY), False, "Nothing, until a triggerer runs"),
        ({}, _deferred(QUERY, triggerer_id=None, triggerer=None), True, "A triggerer takes the trigger"),
        ({}, _deferred(QUERY, triggerer=_triggerer(alive=False)), True, "A living triggerer takes the trigger, 30 s"),
        ({"state": "scheduled"}, None, True, "A worker will run execute_complete, because its event has come"),
        ({"state": "queued", "next_method": None}, None, True, "A worker will begin, as soon as a slot of the pool"),
        ({"state": "running", "next_method": None}, None, True, "A worker (worker-1) runs execute"),
        (
            {"state": "queued", "next_method": "__fail__", "next_kwargs": {"error": "Trigger timeout"}},
            None,
            True,
            "The wait went wrong (Trigger timeout)",
        ),
        ({"state": "up_for_retry"}, None, True, "next try"),
        ({"state": None, "next_method": None}, None, True, "The scheduler has not come to it"),
        ({"state": "success"}, None, True, "Nothing: it has ended (success)"),
    ],
)
def test_what_comes_next(task: dict[str, Any], deferred: Deferred | None, alive: bool, said: str) -> None:
    """What happens next is told for every state."""
    assert said in explain._next({**TASK, **task}, deferred, alive)


def test_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the deadline has passed is told with the command that shows why."""
    late = _deferred(QUERY, kwargs={"deadline": (NOW - timedelta(days=1)).isoformat()})
    said = explain._next(TASK, late, True)
    assert "at 2026-01-30T12:00:00Z the wait ends in any case" in said
    assert said.endswith("ago: airflow ork doctor")


def test_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that cannot be asked is told as the error; tasks of this Airflow only a triggerer can ask for."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", '{"conn_type": "http"}')
    ourselves = TaskDependency(dag_id="other", run_id="r", task_ids=["t"])
    (google, airflow) = explain._ask(_deferred(QUERY, ourselves))
    assert google["answer"].startswith("BadRequest: ")
    assert airflow["answer"].startswith("only a triggerer can ask")
    assert explain._ask(None) == []
