"""Every SQL block of the pages runs on SQLite and on PostgreSQL, and finds what is known to be there."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import sqlglot

from tests.conftest import Tell
from tests.docs.pages import ROOT, Block, blocks
from tests.docs_airflow.conftest import FIELDS, HELD, WAITING, Scene, Who, ago

Rows = list[dict[str, Any]]

SQL = blocks("sql")
OURS = "ork_provider.http.HttpJobTrigger"
BIGQUERY = "ork_provider.bigquery.BigQueryJobTrigger"
AIRFLOWS = "airflow.providers.standard.triggers.temporal.DateTimeTrigger"
CLASSES = {"http": OURS, "mapped": OURS, "query": BIGQUERY, "airflows": AIRFLOWS, "overdue": AIRFLOWS}


def title(block: Block) -> str:
    """Return what a block's first line says: `-- What waits`."""
    first = block.code.splitlines()[0]
    assert first.startswith("-- "), f"{block}: the first line of a query is a comment that names it"
    return first.removeprefix("-- ")


@dataclass(frozen=True)
class Check:
    """What a query must find; the values to put in are those of the task, if there is one, and `values`."""

    expect: Callable[[Scene, Rows], None]
    task: Who | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def who(rows: Rows) -> set[Who]:
    """Return which tasks the rows are of; each is there once."""
    found = [(row["dag_id"], row["task_id"], row["map_index"]) for row in rows]
    assert len(found) == len(set(found)), found
    return set(found)


def triggerers(scene: Scene, tasks: set[Who]) -> dict[Who, Any]:
    """Return which triggerer has each task's trigger, as Airflow's API says it."""
    return {one: (scene.instance(one)["triggerer_job"] or {}).get("id") for one in tasks}


def decoded(value: Any) -> Any:
    """Return JSON, which SQLite returns as text."""
    return json.loads(value) if isinstance(value, str) else value


# -- while all is well --------------------------------------------------------------------------------------------


def what_waits(scene: Scene, rows: Rows) -> None:
    assert who(rows) == WAITING
    assert {row["classpath"] for row in rows if row["task_id"] == "query"} == {BIGQUERY}
    assert all(row["classpath"] == CLASSES[row["task_id"]] for row in rows)
    assert {tuple(row[name] for name in FIELDS): row["triggerer_id"] for row in rows} == triggerers(scene, WAITING)
    assert {row["task_id"] for row in rows if row["trigger_timeout"]} == {"http", "overdue"}


def has_deferred(scene: Scene, rows: Rows) -> None:
    assert [row["event"] for row in rows] == ["running", "deferred"]
    assert {row["try_number"] for row in rows} == {1}


def has_ended(scene: Scene, rows: Rows) -> None:
    assert [row["event"] for row in rows] == ["running", "deferred", "running", "success"]


def goes_on(scene: Scene, rows: Rows) -> None:
    (row,) = rows
    assert (row["state"], row["next_method"], row["try_number"]) == ("deferred", "execute_complete", 1)
    assert row["trigger_id"] == scene.instance(("waits", "http", -1))["trigger"]["id"]
    assert decoded(row["next_kwargs"]) == {}
    assert row["trigger_timeout"]
    assert row["end_date"] is None


def goes_nowhere(scene: Scene, rows: Rows) -> None:
    (row,) = rows
    assert (row["state"], row["trigger_id"], row["next_method"]) == ("success", None, None)
    assert decoded(row["next_kwargs"]) is None
    assert row["end_date"]


def carries_the_event(scene: Scene, rows: Rows) -> None:
    (row,) = rows
    assert (row["state"], row["trigger_id"], row["next_method"]) == ("scheduled", None, "execute_complete")
    assert decoded(row["next_kwargs"])["event"]["status"] == "success"


def its_job(scene: Scene, rows: Rows) -> None:
    assert [row["key"] for row in rows] == ["ork_job", "ork_link"]
    assert decoded(rows[0]["value"])["service_type"] == "custom_http"


def its_result(scene: Scene, rows: Rows) -> None:
    assert [row["key"] for row in rows] == ["ork_job", "ork_link", "return_value"]
    assert decoded(rows[2]["value"])["state"] == "succeeded"


def its_query(scene: Scene, rows: Rows) -> None:
    assert [row["key"] for row in rows] == ["ork_job", "ork_link"]
    assert decoded(rows[0]["value"])["service_type"] == "bigquery"


def its_attempt(scene: Scene, rows: Rows) -> None:
    (row,) = rows
    assert row["key"] == "ork_attempt"
    assert decoded(decoded(row["value"]))["submitted"] is True
    assert row["expires_at"]


def all_owned(scene: Scene, rows: Rows) -> None:
    assert who(rows) == WAITING
    assert all(row["trigger_row"] == row["trigger_id"] for row in rows)
    assert all(row["latest_heartbeat"] and row["hostname"] and row["end_date"] is None for row in rows)
    assert len({row["triggerer_id"] for row in rows}) == 1


def one_alive(scene: Scene, rows: Rows) -> None:
    (row,) = rows
    assert row["state"] == "running"
    assert {row["id"]} == set(triggerers(scene, WAITING).values())


def all_waiting(scene: Scene, rows: Rows) -> None:
    assert who(rows) == WAITING
    assert all(str(row["since"]) < str(row["now"]) for row in rows)


def none(scene: Scene, rows: Rows) -> None:
    assert rows == []


def all_of_them(scene: Scene, rows: Rows) -> None:
    assert who(rows) == WAITING


def counted(scene: Scene, rows: Rows) -> None:
    assert {row["triggerer_id"]: row["triggers"] for row in rows} == Counter(triggerers(scene, WAITING).values())


def the_overdue(scene: Scene, rows: Rows) -> None:
    assert who(rows) == {("waits", "overdue", -1)}


def the_classes(scene: Scene, rows: Rows) -> None:
    expected = Counter(CLASSES[task_id] for _, task_id, _ in WAITING)
    assert {row["classpath"]: row["triggers"] for row in rows} == expected


def the_held(scene: Scene, rows: Rows) -> None:
    assert who(rows) == HELD
    by_dag = {row["dag_id"]: row for row in rows}
    assert (bool(by_dag["paused"]["is_paused"]), by_dag["paused"]["slots"]) == (True, 128)
    assert (bool(by_dag["no_slot"]["is_paused"]), by_dag["no_slot"]["slots"]) == (False, 0)
    assert {row["run_state"] for row in rows} == {"running"}


def the_pools(scene: Scene, rows: Rows) -> None:
    pools = {row["pool"]: (row["slots"], row["used"], row["deferred"], row["waiting"]) for row in rows}
    assert pools == {"default_pool": (128, 0, len(WAITING), 1), "narrow": (0, 0, 0, 1)}


HTTP, ENDED = ("waits", "http", -1), ("ended", "http", -1)
HEALTHY: dict[str, list[Check]] = {
    "What waits": [Check(what_waits)],
    "What has happened to a task": [Check(has_deferred, HTTP), Check(has_ended, ENDED)],
    "How a task goes on": [
        Check(goes_on, HTTP),
        Check(goes_nowhere, ENDED),
        Check(carries_the_event, ("paused", "http", -1)),
    ],
    "The job of a task": [Check(its_job, HTTP), Check(its_result, ENDED), Check(its_query, ("waits", "query", -1))],
    "The stored attempt of a task": [Check(its_attempt, HTTP), Check(its_attempt, ("waits", "mapped", 1))],
    "Earlier tries of a task": [Check(none, HTTP)],
    "Triggers that nobody waits for": [Check(none)],
    "Deferred tasks, and who has their triggers": [Check(all_owned)],
    "Since when": [Check(all_waiting)],
    "Triggerers": [Check(one_alive)],
    "Triggers that no triggerer has": [Check(none)],
    "How many triggers each triggerer has": [Check(counted)],
    "Triggers of triggerers that are gone": [
        Check(none, values={"dead_before": timedelta(seconds=30)}),
        Check(all_of_them, values={"dead_before": timedelta(seconds=-60)}),  # as if it had gone
    ],
    "Past Airflow's own deadline": [Check(the_overdue)],
    "Classes of triggers": [Check(the_classes)],
    "Tasks that are only to fail": [Check(none)],
    "Resumed, and not running yet": [Check(the_held)],
    "How full the pools are": [Check(the_pools)],
    "Failed because the executor and the database disagreed": [Check(none)],
}


def test_sql(scene: Scene, tell: Tell) -> None:
    """Each query of the pages finds what is there while some tasks wait, and nothing else."""
    run_all(scene, HEALTHY)
    tell(f"SQL blocks run / all: {len(SQL)} / {len(SQL)} ({scene.name})")


def run_all(scene: Scene, checks: Mapping[str, list[Check]]) -> None:
    """Run the queries; tell of all that went wrong."""
    wrong = []
    for block in SQL:
        for check in checks.get(title(block), []):
            try:
                check.expect(scene, ask(scene, block, check))
            except Exception as exc:
                wrong.append(f"{block} {title(block)}: {type(exc).__name__}: {exc}")
    assert not wrong, "\n\n".join(wrong)


def ask(scene: Scene, block: Block, check: Check) -> Rows:
    """Run a query with the values of a check."""
    values = {name: ago(value.total_seconds()) for name, value in check.values.items()}
    if check.task:
        dag_id, task_id, map_index = check.task
        values |= {"dag_id": dag_id, "task_id": task_id, "map_index": map_index, "run_id": scene.runs[dag_id]}
    return scene.rows(block.code, **values)


def test_every_block_has_a_check() -> None:
    """No query is new, and none has two homes."""
    titles = [title(block) for block in SQL]
    assert sorted(titles) == sorted(HEALTHY)


@pytest.mark.parametrize("block", SQL, ids=title)
def test_mysql(block: Block) -> None:
    """Each query is MySQL's, too, once `trigger` is quoted; there is no MySQL here to run it."""
    quoted = re.sub(r"\b(FROM|JOIN) trigger\b", r"\1 `trigger`", block.code)
    assert sqlglot.parse_one(quoted, read="mysql").sql("mysql")
    assert ("trigger t" in block.code) == (quoted != block.code)


def test_columns(scene: Scene) -> None:
    """Each column that docs/lifecycle.md lists, and each that its phases name, is in the database."""
    inspector = sa.inspect(scene.engine)
    schema = {
        table: {column["name"] for column in inspector.get_columns(table)} for table in inspector.get_table_names()
    }
    text = (ROOT / "docs" / "lifecycle.md").read_text()
    listed = re.findall(r"^\| `(\w+)\.(\w+)` \|", text, re.MULTILINE)
    named = [pair for pair in re.findall(r"`(\w+)\.(\w+)`", text) if pair[0] in schema]
    assert len(listed) > 30
    assert {f"{table}.{column}" for table, column in listed + named if column not in schema.get(table, ())} == set()
    assert {column for table, column in listed if table == "trigger"} == schema["trigger"]


def test_trigger_kwargs_are_stored_as_they_were_sent(scene: Scene) -> None:
    """The arguments of a trigger that a worker has deferred to are JSON in the database."""
    rows = scene.rows("SELECT t.kwargs FROM trigger t")
    assert rows
    assert all(json.loads(row["kwargs"]) for row in rows)
