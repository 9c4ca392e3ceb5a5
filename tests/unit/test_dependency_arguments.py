"""Arguments of dependencies that make no sense: one error each, when the DAG is parsed, that says what is expected."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk import DAG, XComArg

from ork_provider.dependency import DependencyStatus, DependencyWaitOperator, TaskDependency
from ork_provider.dependency.job import read_date
from ork_provider.errors import BadRequest, InvalidJob
from ork_provider.job import job_from_dict

AT = datetime(2026, 1, 31, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dag_id": ""}, "dag_id: expected the id of a DAG"),
        ({"dag_id": 7}, "dag_id: expected str, got int 7"),
        ({"dag_id": None}, "dag_id: expected str"),
        ({"run_id": "r", "logical_date": AT}, "run_id and logical_date: at most one"),
        ({"run_id": "r", "date_offset": 0}, "run_id and date_offset: at most one"),
        ({"run": "latest", "date_offset": -60}, "date_offset and run: at most one"),
        ({"run_id": "a", "logical_date": AT, "date_offset": 1, "run": "latest"}, "run_id and logical_date and"),
        ({"run": "r1"}, "run: expected None or 'latest', got str 'r1'; a run's id is run_id"),
        ({"run": "Latest"}, "run: expected None or 'latest'"),
        ({"task_ids": ["a"], "task_group_id": "g"}, "task_ids and task_group_id"),
        ({"map_indexes": [0]}, "map_indexes: of which tasks"),
        ({"map_indexes": 0}, "map_indexes: of which tasks"),
        ({"map_indexes": [-1], "task_ids": ["a"]}, "map_indexes: expected numbers from 0 on"),
        ({"map_indexes": ["0"], "task_ids": ["a"]}, r"map_indexes: expected list\[int\]"),
        ({"map_indexes": [True], "task_ids": ["a"]}, r"map_indexes: expected list\[int\]"),
        ({"map_indexes": [2**64], "task_ids": ["a"]}, "map_indexes: expected"),
        ({"task_ids": [7]}, r"task_ids: expected list\[str\]"),
        ({"task_ids": [""]}, "task_ids"),
        ({"task_ids": None}, "task_ids"),
        ({"task_group_id": 7}, "task_group_id: expected"),
        ({"task_group_id": ""}, "task_group_id: expected"),
        ({"run_id": 7}, "run_id: expected"),
        ({"run_id": ""}, "run_id: expected"),
        ({"wait_for": "failed"}, "wait_for: expected 'success' or 'end'"),
        ({"logical_date": "yesterday"}, "logical_date: expected a time as"),
        ({"logical_date": "2026-02-30"}, "logical_date: expected a time as"),
        ({"logical_date": 20260131}, "logical_date: expected"),
        ({"exists_by": "soon"}, "exists_by: expected a time as"),
        ({"date_offset": "1 day"}, "date_offset: expected"),
        ({"date_offset": float("nan")}, "date_offset: expected"),
        ({"date_offset": 1e300}, "date_offset: expected"),
        ({"conn_id": 7}, "conn_id: expected"),
    ],
)
def test_dependency(arguments: dict[str, Any], said: str) -> None:
    """Each bad field of a dependency is named, whether it is made by hand or read from a dict."""
    with pytest.raises(InvalidJob, match=said):
        TaskDependency(**{"dag_id": "sales", **arguments})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dependency_wait": False}, "dependency_wait: expected True or a dict of poll_timeout, poll_interval"),
        ({"dependency_wait": None}, "dependency_wait: expected True or a dict"),
        ({"dependency_wait": 10}, "dependency_wait: expected True or a dict"),
        ({"dependency_wait": "true"}, "dependency_wait: expected True or a dict"),
        ({"dependency_wait": [5]}, "dependency_wait: expected True or a dict"),
        ({"dependency_wait": {"poll_timout": 1}}, "dependency_wait: unknown poll_timout; it may hold poll_timeout"),
        ({"dependency_wait": {1: 2, "b": 3}}, "dependency_wait: unknown 1, b"),
        ({"dependency_wait": {"poll_timeout": -1}}, "poll_timeout must be a number of seconds at least 0"),
        ({"dependency_wait": {"poll_interval": 0}}, "poll_interval must be a number of seconds greater than 0"),
        ({"dependency_wait": {"reschedule_delay": "5"}}, "reschedule_delay must be a number of seconds"),
        ({"dependency_wait": {"reschedule_delay": True}}, "reschedule_delay must be a number of seconds"),
        ({"poll_timeout": -0.1}, "poll_timeout must be a number of seconds at least 0"),
        ({"poll_timeout": None}, "poll_timeout must be a number of seconds"),
        ({"poll_interval": float("nan")}, "poll_interval must be a number of seconds"),
        ({"poll_interval": float("inf")}, "poll_interval must be a number of seconds up to"),
        ({"reschedule_delay": 0}, "reschedule_delay must be a number of seconds greater than 0"),
        ({"reschedule_delay": -5}, "reschedule_delay must be a number of seconds greater than 0"),
        ({"timeout": 0}, "timeout must be a number of seconds greater than 0"),
        ({"timeout": timedelta(0)}, "timeout must be a number of seconds greater than 0"),
        ({"timeout": "1h"}, "timeout must be a number of seconds"),
        ({"missing_grace": -1}, "missing_grace must be a number of seconds at least 0"),
        ({"missing_grace": timedelta(-1)}, "missing_grace must be a number of seconds at least 0"),
        ({"missing_grace": None}, "missing_grace must be a number of seconds"),
        ({"on_timeout": "continue"}, "on_timeout must be 'fail' or 'skip', got str 'continue'"),
        ({"on_failed": "ignore"}, "on_failed must be 'fail' or 'skip' or 'continue'"),
        ({"on_failed": None}, "on_failed must be"),
        ({"on_failed": ["fail"]}, "on_failed must be"),
        ({"if_missing": "skip"}, "if_missing must be 'fail' or 'wait'"),
        ({"if_missing": True}, "if_missing must be"),
        ({"fallback": "worker"}, "fallback must be None or 'reschedule' or 'fail'"),
        ({"fallback": False}, "fallback must be None or 'reschedule' or 'fail'"),
        ({"until": 0}, 'until must be "all", "any" or a number of dependencies'),
        ({"until": -1}, "until must be"),
        ({"until": True}, "until must be"),
        ({"until": 1.5}, "until must be"),
        ({"until": "most"}, "until must be"),
        ({"until": None}, "until must be"),
        ({"depends_on": []}, "depends_on must be at least one dependency"),
        ({"depends_on": ()}, "depends_on must be at least one dependency"),
        ({"depends_on": ""}, "depends_on must be at least one dependency"),
        ({"depends_on": {}}, "depends_on must be at least one dependency"),
        ({"depends_on": 5}, "depends_on: expected a TaskDependency, its dict or the id of a task"),
        ({"depends_on": None}, "depends_on: expected a TaskDependency"),
        ({"depends_on": [None]}, r"depends_on\[0\]: expected a TaskDependency"),
        ({"depends_on": ["a", ["b"]]}, r"depends_on\[1\]: expected a TaskDependency"),
        ({"depends_on": ["a", ""]}, r"depends_on\[1\]: expected a TaskDependency"),
        ({"depends_on": {"dag_id": "d", "task_id": "a"}}, r"depends_on: a dependency has no field 'task_id'"),
        ({"until": 5}, "until must be a number up to 1, of the dependencies, got int 5"),
        ({"until": 2, "depends_on": {"dag_id": "d"}}, "until must be a number up to 1"),
        ({"until": 3, "depends_on": ["a", "{{ b }}"]}, "until must be a number up to 2"),
    ],
)
def test_operator(arguments: dict[str, Any], said: str) -> None:
    """Each bad argument of the operator is named, with the task."""
    with pytest.raises(InvalidJob, match=said) as caught:
        DependencyWaitOperator(**{"task_id": "report", "depends_on": "a", **arguments})
    assert "report" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_number_that_is_not_known_yet() -> None:
    """How many dependencies a template renders to is not known when the DAG is parsed."""
    with DAG("reports", schedule=None):
        which = XComArg(DependencyWaitOperator(task_id="which", depends_on="a"))
        for i, depends_on in enumerate(["{{ which }}", which]):
            assert DependencyWaitOperator(task_id=f"t{i}", depends_on=depends_on, until=5).until == 5


@pytest.mark.parametrize("name", ["cancel_on_kill", "cancel_on_timeout", "cancel_rest"])
def test_nothing_is_cancelled(name: str) -> None:
    """A dependency is never cancelled, whatever is asked for."""
    assert not getattr(DependencyWaitOperator(task_id="t", depends_on="a", **{name: True}), name)


@pytest.mark.parametrize("given", [True, {}, {"poll_timeout": 0}, {"poll_interval": 2, "reschedule_delay": 60}])
def test_jobflows_spelling(given: Any) -> None:
    """dependency_wait is JobFlow's spelling of three arguments, whose defaults are JobFlow's."""
    operator = DependencyWaitOperator(task_id="t", depends_on="a", dependency_wait=given)
    options = {"poll_timeout": 10.0, "poll_interval": 1.0, "reschedule_delay": 5.0, **({} if given is True else given)}
    assert {name: getattr(operator, name) for name in options} == options
    assert (operator.look_interval, operator.wait_interval) == (options["poll_interval"], options["reschedule_delay"])


def test_spellings() -> None:
    """A datetime, a timedelta, one task and a tuple are written as JSON; equal dependencies are the same."""
    east = datetime(2026, 1, 31, 2, tzinfo=timezone(timedelta(hours=2)))
    one = TaskDependency(dag_id="d", logical_date=east, task_ids="a", map_indexes=3)  # type: ignore[arg-type]
    two = TaskDependency(dag_id="d", logical_date=AT, task_ids=("a",), map_indexes=range(3, 4))  # type: ignore[arg-type]
    assert one == two == job_from_dict(one.to_dict())
    assert hash(one) == hash(two)
    assert (one.logical_date, one.task_ids, one.map_indexes) == (AT.isoformat(), ["a"], [3])
    offset: Any = timedelta(days=-1)
    assert TaskDependency(dag_id="d", date_offset=offset).date_offset == -86400
    naive = TaskDependency(dag_id="d", logical_date=datetime(2026, 1, 31))  # type: ignore[arg-type]
    assert naive.logical_date == AT.isoformat()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "dependency on sales (same logical date)"),
        ({"run_id": "r1"}, "dependency on sales (r1)"),
        ({"run": "latest", "task_ids": ["a", "b"]}, "dependency on a, b of sales (latest)"),
        ({"date_offset": -3600, "task_group_id": "g"}, "dependency on group g of sales (-3600 s)"),
        ({"run_id": "r1", "task_ids": ["m"], "map_indexes": [1, 2]}, "dependency on m [1 2] of sales (r1)"),
        ({"run_id": "r1", "task_ids": list("abcdefg")}, "dependency on a, b, c, d, e and 2 more of sales (r1)"),
    ],
)
def test_words(arguments: dict[str, Any], text: str) -> None:
    """A dependency is told in a few words, however much it names."""
    assert str(TaskDependency(dag_id="sales", **arguments)) == text


@pytest.mark.parametrize("which", [{}, {"date_offset": 60}])
def test_fetch_needs_a_run(which: dict[str, Any]) -> None:
    """Outside of a task that waits, nobody knows whose logical date is meant."""
    with pytest.raises(BadRequest, match="which run"):
        DependencyStatus.fetch(TaskDependency(dag_id="sales", **which))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31", AT),
        ("2026-01-31T00:00", AT),
        ("2026-01-31 00:00:00", AT),
        ("2026-01-31T00:00:00Z", AT),
        ("2026-01-31T01:00:00+01:00", AT),
        ("2026-01-30T18:30-05:30", AT),
        ("2026-01-31T00:00:00.5Z", AT.replace(microsecond=500_000)),
        ("2026-01-31T00:00:00.000001+00:00", AT.replace(microsecond=1)),
        ("2026-01-31T00:00:00.123456789Z", AT.replace(microsecond=123_456)),
        ("2026-01-31Z", AT),
    ],
)
def test_dates(text: str, time: datetime) -> None:
    """These are times, whichever Python reads them."""
    assert read_date(text, "logical_date") == time


@pytest.mark.parametrize(
    "text",
    [
        "20260131T000000",
        "20260131",
        "2026-W05-6",
        "2026-01-31T00",
        "2026-01-31T00:00.5",
        "2026-01-31T00:00:00,5",
        "2026-01-31T00:00:00.",
        "2026-01-31T00:00:00.0000000001",
        "2026-01-31x00:00:00",
        "2026-01-31T24:00:00",
        "2026-01-31T00:00:00+01",
        "2026-01-31T00:00:00+0100",
        "2026-01-31T00:00:00+24:00",
        "2026-01-31T00:00:00ZZ",
        "2026-01-31T00:00:00z",
        " 2026-01-31",
        "2026-01-31\n",
        "\u0662026-01-31",
        "",
    ],
)
def test_no_dates(text: str) -> None:
    """These are none, also where a Python would read them."""
    with pytest.raises(InvalidJob, match="logical_date: expected a time as 2026"):
        read_date(text, "logical_date")
