"""What the pages say of trouble, in trouble: the commands print what is shown, the queries find the culprit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from tests.conftest import Tell
from tests.docs.pages import PAGES, ROOT
from tests.docs_airflow.conftest import WAITING, Scene, ago, until
from tests.docs_airflow.test_sql import OURS, Check, Rows, all_of_them, run_all, who

ON_POSTGRESQL = pytest.mark.parametrize("scene", ["postgresql"], indirect=True)
"""A command costs seconds, and SQLite gives a new trigger the id of one that could not be loaded."""

_COMMAND = re.compile(
    r"^<!-- run (?P<scenario>\w+)(?: exit (?P<code>\d+))? -->\n^```console\n(?P<code_block>.*?)^```$"
    r"(?:\n\n^```text\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Command:
    """A block of commands that runs in one of the scenarios, and what a page shows of its output."""

    where: str
    scenario: str
    script: str
    exit_code: int
    shown: str | None

    def __str__(self) -> str:
        return self.where


def _commands() -> Iterator[Command]:
    for page in PAGES:
        text = page.read_text()
        for match in _COMMAND.finditer(text):
            line = text.count("\n", 0, match.start("code_block"))
            where = f"{page.relative_to(ROOT)}:{line}"
            yield Command(where, match["scenario"], match["code_block"], int(match["code"] or 0), match["shown"])


COMMANDS = list(_commands())
AT_ONCE = 2
"""Commands that run at the same time."""

SCENARIOS = ("healthy", "broken", "killed", "full")
ran: set[str] = set()


def run_commands(scene: Scene, scenario: str) -> None:
    """Run the commands of a scenario as a user does; tell of all that went wrong."""
    commands = [command for command in COMMANDS if command.scenario == scenario]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = list(pool.map(lambda command: list(_run(scene, command)), commands))
    ran.update(command.where for command in commands)
    wrong = [
        f"{command}\n{command.script}{line}" for command, lines in zip(commands, said, strict=True) for line in lines
    ]
    assert not wrong, "\n\n".join(wrong)


def _run(scene: Scene, command: Command) -> Iterator[str]:
    """Run a command; say what is not as the page has it."""
    done = subprocess.run(
        ["bash", "-e", "-c", command.script],
        env={**scene.env, **_names(scene)},
        cwd=scene.airflow.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    if os.environ.get("ORK_DOCS_SHOW"):
        print(f"--- {command}\n{command.script}{done.stdout}--- {done.stderr[-1500:]}", file=sys.stderr)
    if done.returncode != command.exit_code:
        yield f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    if command.shown is not None and not _is_shown(command.shown, done.stdout + done.stderr):
        yield f"printed\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}\nand the page shows\n{command.shown}"


def _names(scene: Scene) -> dict[str, str]:
    """Return what stands for something of the user's in the commands."""
    return {
        "AIRFLOW_URL": scene.airflow.url,
        "BROKEN_RUN": scene.runs.get("broken", ""),
        "COLUMNS": "200",
        "DAG": "waits",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PID": str(scene.airflow.pid("triggerer")) if scene.airflow.runs("triggerer") else "",
        "RUN": scene.runs["waits"],
        "TASK": "http",
        "TOKEN": httpx.get(f"{scene.airflow.url}/auth/token", timeout=30).json()["access_token"],
    }


def _is_shown(shown: str, printed: str) -> bool:
    """Say if what was printed is what is shown; `...` stands for anything, a number for any number."""
    parts = [r"\s+".join(map(re.escape, part.split())) for part in shown.split("...")]
    pattern = re.sub(r"\d+", r"\\d+", r".*?".join(parts))
    return re.search(pattern, printed, re.DOTALL) is not None


@ON_POSTGRESQL
def test_commands(scene: Scene) -> None:
    """The commands that look at a healthy Airflow print what the page shows."""
    run_commands(scene, "healthy")


@ON_POSTGRESQL
def test_commands_broken(scene: Scene) -> None:
    """Triggers that raise, that block the loop and that cannot be imported are seen where the page says."""
    scene.start("broken")
    scene.wait({("broken", "raises", -1), ("broken", "lost", -1)}, "failed")
    scene.wait({("broken", "blocks", -1)}, "success")
    run_commands(scene, "broken")


def two_kinds(scene: Scene, rows: Rows) -> None:
    assert who(rows) == WAITING | scene.late
    unowned = [row for row in rows if row["triggerer_id"] is None]
    assert who(unowned) == scene.late
    assert all(row["trigger_row"] for row in rows)


def without_link(scene: Scene, rows: Rows) -> None:
    assert who([row for row in rows if row["trigger_id"] is None]) == {("late", "http", 1)}


def the_late(scene: Scene, rows: Rows) -> None:
    assert who(rows) == scene.late


def the_stray(scene: Scene, rows: Rows) -> None:
    assert [row["classpath"] for row in rows] == ["a.Stray"]


def the_mismatch(scene: Scene, rows: Rows) -> None:
    (row,) = rows
    assert (row["event"], row["dag_id"], row["extra"]) == ("state mismatch", "ended", "made up")


KILLED: dict[str, list[Check]] = {
    "Deferred tasks, and who has their triggers": [Check(two_kinds)],
    "Triggers that no triggerer has": [Check(the_late)],
    "Triggers of triggerers that are gone": [Check(all_of_them, values={"dead_before": timedelta(0)})],
}
DAMAGED: dict[str, list[Check]] = {
    "Deferred tasks, and who has their triggers": [Check(without_link)],
    "Triggers that nobody waits for": [Check(the_stray)],
    "Failed because the executor and the database disagreed": [Check(the_mismatch)],
}


def test_sql_without_triggerer(without_triggerer: Scene) -> None:
    """After its triggerer was killed the queries tell whose trigger nobody has, and whose owner is gone."""
    scene = without_triggerer
    until(lambda: ago(0) > scene.killed if scene.killed else False, 5)
    run_all(scene, KILLED)


def test_sql_damaged(without_triggerer: Scene) -> None:
    """A task that has lost its trigger, a trigger that nobody refers to, and an entry of the scheduler's are found."""
    scene = without_triggerer
    lost = {"dag_id": "late", "run_id": scene.runs["late"], "id": scene.instance(("late", "http", 1))["trigger"]["id"]}
    which = "dag_id = :dag_id AND run_id = :run_id AND map_index = 1"
    scene.execute(f"UPDATE task_instance SET trigger_id = NULL WHERE {which}", dag_id="late", run_id=lost["run_id"])
    scene.execute("UPDATE trigger SET classpath = 'a.Stray' WHERE id = :id", id=lost["id"])
    scene.execute(
        "INSERT INTO log (dttm, dag_id, event, extra) VALUES (:at, 'ended', 'state mismatch', 'made up')", at=ago(0)
    )
    run_all(scene, DAMAGED)
    scene.execute(f"UPDATE task_instance SET trigger_id = :id WHERE {which}", **lost)
    scene.execute("UPDATE trigger SET classpath = :path WHERE id = :id", path=OURS, id=lost["id"])


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
def test_marked_failed_without_triggerer(without_triggerer: Scene) -> None:
    """The job of a task that was marked failed while no triggerer ran is cancelled by the next triggerer."""
    scene = without_triggerer
    (job,) = (job for job in scene.http_jobs.created if job.body.get("late") == 0)
    scene.airflow.set_task_state("late", scene.runs["late"], "http", "failed", 0)
    assert not job.done
    scene.airflow.start("triggerer")
    until(lambda: job.done, 60, lambda: scene.airflow.component_log("triggerer")[-5000:])
    assert job.cancelled_at
    scene.wait(WAITING, "deferred")


def test_a_deleted_trigger_takes_its_task_along(without_triggerer: Scene) -> None:
    """Deleting a trigger's row by hand deletes the task instance that waits for it: never do so."""
    keys = sa.inspect(without_triggerer.engine).get_foreign_keys("task_instance")
    (key,) = (key for key in keys if key["referred_table"] == "trigger")
    assert (key["constrained_columns"], key["options"]) == (["trigger_id"], {"ondelete": "CASCADE"})


@ON_POSTGRESQL
def test_commands_without_triggerer(without_triggerer: Scene) -> None:
    """Without a triggerer the commands say so, and name whose triggers have lost their owner."""
    health = without_triggerer.airflow.health
    until(lambda: health()["triggerer"]["status"] == "unhealthy", 60)
    run_commands(without_triggerer, "killed")


@ON_POSTGRESQL
def test_commands_full(without_triggerer: Scene, tell: Tell) -> None:
    """A triggerer that has no capacity left says so."""
    without_triggerer.env["AIRFLOW__TRIGGERER__CAPACITY"] = "3"
    without_triggerer.airflow.start("triggerer")
    log = without_triggerer.airflow.component_log
    until(lambda: "reached the maximum capacity" in log("triggerer"), 40, lambda: log("triggerer")[-3000:])
    run_commands(without_triggerer, "full")
    tell(f"console blocks of trouble run / all: {len(ran)} / {len(COMMANDS)}")
    assert len(ran) == len(COMMANDS)


def test_scenarios() -> None:
    """Each block of commands is of a scenario that a test makes."""
    assert {command.scenario for command in COMMANDS} == set(SCENARIOS)
