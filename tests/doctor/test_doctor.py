"""The doctor finds nothing in a healthy deployment, and in eight broken ones what is broken, with the command to run.

The tests of a database go through one deployment, in their order: each breaks it in a way of its own and mends it.
"""

from __future__ import annotations

import re
import shlex
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ork_provider.doctor import rows
from tests.docs.pages import blocks
from tests.docs.shell import commands
from tests.doctor.conftest import Ward, open_files

pytestmark = pytest.mark.timeout(240)

TRIGGERS = Path(__file__).parent / "plugins" / "ward_triggers.py"


def test_healthy(ward: Ward) -> None:
    """All is well: exit code 0, and each check says what it has seen."""
    ward.begin("healthy", query=1, export=2, later=1)
    ward.until(lambda: ward.doctor()[0] == 0, "a triggerer that has come to rest, on a busy machine")
    code, findings = ward.doctor()
    said = "\n".join(f"{f['status']} {name}: {f['found']} {f['do']}" for name, fs in findings.items() for f in fs)
    print(said)
    assert code == 0, said
    assert {f["status"] for fs in findings.values() for f in fs} == {"OK"}, said
    assert "4 tasks deferred" in findings["database"][0]["found"]
    assert re.search(r"1 alive: triggerer \d+ on \S+ \(\d+ s ago\)", findings["triggerer-alive"][0]["found"])
    assert re.search(r"has 4 of 1000", findings["capacity"][0]["found"])
    assert "2 connections" in findings["connections"][0]["found"]
    assert "3 classes" in findings["trigger-class"][0]["found"]
    assert re.search(r"away from its poll in \d+ of \d+ looks", findings["event-loop"][0]["found"])
    assert re.search(r"has \d+ of 4096 files open", findings["open-files"][0]["found"])
    assert str(ward.home / "triggerer.log") in findings["triggerer-log"][0]["found"]


def test_commands_of_the_page(ward: Ward) -> None:
    """The commands that the page shows run as they stand."""
    page = [block for block in blocks("console") if block.page.name == "command-line.md"]
    shown = [command for block in page for command in commands(block)]
    assert shown
    ward.until(lambda: ward.doctor()[0] == 0, "a triggerer that has come to rest")
    for command in shown:
        program, *words = shlex.split(command)
        done = ward.command(*words)
        assert (program, done.returncode) == ("airflow", 0), done.stdout + done.stderr


def test_waiting(ward: Ward) -> None:
    """Each job that is waited for is in one line, by any of the filters."""
    lines = ward.json("waiting")
    print(ward.ork("waiting").stdout)
    assert [line["service"] for line in lines].count("custom_http") == 2
    assert {line["task_id"] for line in lines} == {"query", "export", "later"}
    assert all(line["since"] and line["triggerer"].split(" on ")[0].isdigit() for line in lines)
    (query,) = ward.json("waiting", "--service", "bigquery")
    assert query["job"].startswith("BigQuery job ork-sandbox:US.")
    assert query["deadline"] > query["since"]
    assert query["link"].startswith("https://console.cloud.google.com/")
    assert ward.json("waiting", "--task-id", "export", "--dag-id", "healthy") == [
        line for line in lines if line["task_id"] == "export"
    ]
    assert ward.json("waiting", "--overdue") == []


def test_explain(ward: Ward) -> None:
    """A task's life is told: what was when, the trigger, the job, the rules, what is remembered, what is next."""
    (run,) = {line["run_id"] for line in ward.json("waiting")}
    (life,) = ward.json("explain", "healthy", "query", run, "--ask")
    assert life["state"] == "deferred"
    assert [phase["event"] for phase in life["phases"]][-2:] == ["running", "deferred"]
    assert life["trigger"]["class"] == "ork_provider.bigquery.BigQueryJobTrigger"
    (job,) = life["jobs"]
    assert life["remembers"]["jobs"] == [job["name"]]
    assert life["remembers"]["started"] == "yes"
    assert life["answers"] == [{"name": job["name"], "answer": "running RUNNING"}]
    assert "execute_complete" in life["next"]
    text = ward.ork("explain", "healthy", "export", run, "--map-index", "1").stdout
    print(text)
    assert all(f"\n{title}\n" in text for title in ("Phases", "Trigger", "Waits", "Remembers", "Jobs", "Next"))
    unknown = ward.ork("explain", "healthy", "queri", run)
    assert unknown.returncode == 1
    assert "There is no task instance with task_id 'queri'; tasks: query, later, export" in unknown.stderr


def test_missing_connection(ward: Ward) -> None:
    """A connection that has been deleted while a job is waited for is named, with who waits and how to add it."""
    assert ward.command("connections", "add", "vanishing", "--conn-uri", ward.http_url).returncode == 0
    run = ward.begin("vanishing", export=1)
    assert ward.command("connections", "delete", "vanishing").returncode == 0
    finding = ward.diagnosis("connections")
    assert "'vanishing' cannot be read here (it is not defined)" in finding["found"]
    assert f"vanishing.export {run}" in finding["found"]
    assert finding["do"].startswith("airflow connections add vanishing --conn-type http")
    ward.set_run_state("vanishing", run, "failed")


def test_blocked_loop(ward: Ward) -> None:
    """A trigger that sleeps in the event loop is named with its file and line."""
    run = ward.begin("blocked", held=1)
    ward.until(lambda: ward.doctor("--check", "event-loop")[0] == 2, "the trigger to hold the loop")
    finding = ward.diagnosis("event-loop")
    assert re.search(r"away from its poll in ([23]\d|40) of [34]\d looks", finding["found"])
    line = next(n for n, text in enumerate(TRIGGERS.read_text().splitlines(), 1) if "time.sleep(" in text)
    assert f"ward_triggers.BlockingTrigger.run calls time.sleep ({TRIGGERS}:{line})" in finding["found"]
    assert re.search(r"py-spy dump --pid \d+", finding["do"])
    ward.set_run_state("blocked", run, "failed")


def test_full(ward: Ward) -> None:
    """A triggerer that has no room is named, with what it holds, how many wait, and how to make room."""
    ward.kill("triggerer", signal.SIGTERM)
    ward.start("triggerer", "--capacity", "20")
    run = ward.begin("crowd", one_0=1)
    ward.until(lambda: _deferred(ward, "crowd", run) == 60, "sixty to be deferred")
    ward.until(lambda: ward.doctor("--check", "capacity")[0] == 2, "the triggerer to be full")
    finding = ward.diagnosis("capacity")
    assert re.search(r"Every triggerer is full: triggerer \d+ on \S+ has 20 of 20; \d+ triggers wait", finding["found"])
    assert finding["do"].startswith("airflow triggerer (one more")


def test_few_files(ward: Ward) -> None:
    """A triggerer that may open fewer files than it has triggers is named by process, with the limit to set."""
    ward.kill("triggerer", signal.SIGTERM)
    with open_files(100):
        ward.start("triggerer")
    (run,) = {line["run_id"] for line in ward.json("waiting", "--dag-id", "crowd")}
    ward.until(lambda: ward.doctor("--check", "open-files")[0] == 2, "the triggers to be taken")
    finding = ward.diagnosis("open-files")
    assert re.search(r"\(pid \d+\) has \d+ of 100 files open, 6\d triggers and room for 1000", finding["found"])
    assert finding["do"].startswith("ulimit -n 65536")
    ward.set_run_state("crowd", run, "failed")


def test_no_triggerer(ward: Ward) -> None:
    """Without a triggerer that is said, with who waits since when, and the command that starts one."""
    ward.kill("triggerer", signal.SIGTERM)
    ward.begin("deadline", late=1)  # passes, until test_past_deadline
    finding = ward.diagnosis("triggerer-alive")
    assert re.search(r"No triggerer is alive: the last one was heard of at \S+; \d+ tasks deferred", finding["found"])
    assert finding["do"] == "airflow triggerer"


def test_class_of_a_dag_file(ward: Ward) -> None:
    """A trigger whose class no triggerer can import is named, with its task and where the class should be."""
    run = ward.begin("in_dag_file", lost=1)
    finding = ward.diagnosis("trigger-class")
    assert "TriggerOfADagFile, the trigger of 1 task, cannot be imported here" in finding["found"]
    assert f"in_dag_file.lost {run}" in finding["found"]
    assert finding["do"].startswith("move the class into a module of the plugins folder")


def test_past_deadline(ward: Ward) -> None:
    """A task whose deadline passes while nobody looks is named, with the deadline and how to see more."""
    (line,) = ward.json("waiting", "--dag-id", "deadline")
    run, late = line["run_id"], datetime.fromisoformat(line["deadline"].replace("Z", "+00:00")) + rows.LATE
    ward.until(lambda: datetime.now(timezone.utc) > late + timedelta(seconds=2), "the deadline to have passed")
    finding = ward.diagnosis("deadline")
    assert f"1 task still deferred after the deadline: deadline.late {run} ({line['deadline']})" in finding["found"]
    assert finding["do"] == f"airflow ork explain deadline late '{run}'"
    assert [overdue["task_id"] for overdue in ward.json("waiting", "--overdue")] == ["late"]
    assert "airflow triggerer" in ward.json("explain", "deadline", "late", run)[0]["next"]


def test_dead_triggerer(ward: Ward) -> None:
    """The triggers of a triggerer that was killed are told, with the triggerer, who waits, and what takes them."""
    ward.start("triggerer")
    (run,) = {line["run_id"] for line in ward.json("waiting", "--dag-id", "healthy")}
    ward.until(lambda: _deferred(ward, "healthy", run, taken=True) == 4, "the triggers to be taken")
    ward.kill("triggerer", signal.SIGKILL)
    ward.until(lambda: ward.health()["triggerer"]["status"] == "unhealthy", "its death to be noticed")
    finding = ward.diagnosis("trigger-owner")
    assert re.search(r"belong to a dead triggerer \(triggerer \d+ on \S+ was last heard of", finding["found"])
    assert "healthy." in finding["found"]
    assert finding["do"] == "airflow triggerer"


def test_errors_in_the_log(ward: Ward) -> None:
    """What has gone wrong in the triggerer is found in its log, with where to look next."""
    ward.start("triggerer")
    ward.until(lambda: ward.doctor("--check", "triggerer-log")[0] == 1, "the trigger to have been tried")
    code, findings = ward.doctor("--check", "triggerer-log")
    print(findings)
    (finding,) = [finding for finding in findings["triggerer-log"] if finding["status"] == "WARN"]
    assert code == 1
    assert "airflow ork doctor --check trigger-class" in finding["do"]


def _deferred(ward: Ward, dag_id: str, run_id: str, *, taken: bool = False) -> int:
    """Count the tasks of a run that are deferred; those whose trigger a living triggerer has, if asked for."""
    alive = ward.health()["triggerer"]["status"] == "healthy"
    found = [task for task in ward.task_instances(dag_id, run_id) if task["state"] == "deferred"]
    return len([task for task in found if not taken or (alive and (task["triggerer_job"] or {}).get("id"))])
