"""The doctor's parts that need no deployment: how it reads logs and source, what it says of versions and databases."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import OperationalError

from ork_provider.cli import get_commands
from ork_provider.cli.names import CHECKS
from ork_provider.cli.reading import Deferred, Triggerer, count_triggers, read_deferred, show_span
from ork_provider.doctor import Finding, Patient, Status, code, examine, rows, settings
from ork_provider.doctor.processes import TriggererProcess, find_processes, read_log
from ork_provider.job import load

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)


class Blocks:
    """Coroutines that hold the loop, and one that does not."""

    async def run(self) -> None:
        """Hold it."""
        time.sleep(0)  # noqa: ASYNC251 - to be found

    async def start(self) -> None:
        """Hold it by another program."""
        subprocess.run(["true"], check=True)  # noqa: ASYNC221 - to be found

    async def wait(self) -> None:
        """Let others run."""
        await asyncio.sleep(0)


def test_commands_load_nothing() -> None:
    """Airflow asks for the commands at each start: none of their modules is loaded for that."""
    script = (
        "import sys; import airflow.cli.cli_config, ork_provider; before = set(sys.modules)\n"
        "from ork_provider.cli import get_commands; get_commands()\n"
        "print(sorted(set(sys.modules) - before))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    loaded = said.splitlines()[-1]
    assert loaded == "['ork_provider.cli', 'ork_provider.cli.names']"


def test_names_of_commands_and_checks() -> None:
    """Each command's function exists, and each check that can be asked for is made."""
    (group,) = get_commands()
    assert [command.name for command in group.subcommands] == ["waiting", "doctor", "explain"]
    for command in group.subcommands:
        assert callable(load(f"ork_provider.cli.{command.name}:{command.name}"))
    told = [finding.check for finding in examine(Patient(Broken()))]
    assert list(dict.fromkeys(told)) == list(CHECKS)


class Broken:
    """A session of a database that is not there."""

    def execute(self, *_: Any) -> Any:
        """Raise what a driver raises."""
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    def rollback(self) -> None:
        """Do nothing."""


def test_no_database() -> None:
    """Without the database that is the failure; what else needs it is unknown, and what does not is still checked."""
    found = {finding.check: finding for finding in examine(Patient(Broken()))}
    assert found["database"].status is Status.FAIL
    assert "connection refused" in found["database"].found
    assert found["trigger-owner"].status is Status.UNKNOWN
    assert found["versions"].status is Status.OK


def test_one_moment_for_all() -> None:
    """However long the doctor has read, a triggerer is as alive as it was when the doctor came."""
    patient = Patient(Heartbeats(NOW - timedelta(seconds=29)))
    patient.now = NOW
    assert [triggerer.alive for triggerer in patient.triggerers.values()] == [True]
    patient = Patient(Heartbeats(NOW - timedelta(seconds=31)))
    patient.now = NOW
    assert [triggerer.alive for triggerer in patient.triggerers.values()] == [False]


class Heartbeats:
    """A session of a database with one triggerer."""

    def __init__(self, last: datetime) -> None:
        self.last = last

    def execute(self, _: Any) -> Any:
        """Return its row."""
        return [(1, "h", NOW - timedelta(hours=1), self.last, None)]


class Recorder:
    """A session that keeps what is asked, and finds nothing."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def execute(self, statement: Any) -> Any:
        """Keep a statement."""
        self.asked.append(statement)
        return iter([])


def test_mysql() -> None:
    """All that is asked of the database can be said in MySQL's words; its reserved ones are quoted."""
    session = Recorder()
    read_deferred(session, dag_id="d", task_id="t", run_id="r", map_index=-1)
    count_triggers(session)
    said = [str(statement.compile(dialect=mysql.dialect())) for statement in session.asked]
    assert len(said) == 4
    assert any("FROM `trigger`" in text or "JOIN `trigger`" in text for text in said)


def test_suspects() -> None:
    """Calls that hold an event loop are found in coroutines, with file and line; others are not."""
    found = code.suspects({f"{__name__}.Blocks", "no.such.Class"})
    assert len(found) == 2
    assert found[0].startswith(f"{__name__}.Blocks.run calls time.sleep (")
    line = Path(__file__).read_text().splitlines().index("        time.sleep(0)  # noqa: ASYNC251 - to be found") + 1
    assert f"{Path(__file__).name}:{line})" in found[0]
    assert ".start calls subprocess.run" in found[1]


@pytest.mark.parametrize(
    ("classpath", "why"),
    [
        ("ork_provider.bigquery.BigQueryJobTrigger", None),
        ("ork_provider.bigquery.NoTrigger", "AttributeError"),
        ("no_such_package.Trigger", "ModuleNotFoundError"),
        ("ork_provider.job.KINDS", "it is a dict, not a class"),
    ],
)
def test_import_error(classpath: str, why: str | None) -> None:
    """A class that cannot be imported is told with the reason."""
    said = code.import_error(classpath)
    assert said is None if why is None else why in str(said)


def test_read_log(tmp_path: Path) -> None:
    """Lines of Airflow's log are read as text and as JSON; what has no time belongs to the line above."""
    log = tmp_path / "triggerer.log"
    log.write_text(
        "  ____ banner\n"
        "2026-01-31T11:59:00.123456Z [error    ] Trigger failed [airflow.jobs] loc=x.py:1\n"
        "Traceback (most recent call last):\n"
        '{"timestamp": "2026-01-31T11:59:30.5Z", "level": "critical", "event": "died"}\n'
    )
    first, second = read_log(log)
    assert (first.time, first.level) == (NOW - timedelta(seconds=60), "error")
    assert first.text == "Trigger failed [airflow.jobs] loc=x.py:1"
    assert (second.time, second.level) == (NOW - timedelta(seconds=30), "critical")
    assert read_log(tmp_path / "none.log") == []


def test_unfit_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is missing or too old fails, with the command that mends it."""
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["apache-airflow>=99", "no-such-package>=1", "x; extra=='y'"]
    )
    (finding,) = settings.check_versions(Patient(Broken()))
    assert finding.status is Status.FAIL
    assert "apache-airflow>=99, no-such-package>=1; installed: apache-airflow 3" in finding.found
    assert finding.do == "pip install 'apache-airflow>=99' 'no-such-package>=1'"


def test_default_heartbeat_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's default, with which tasks that resume soon may be failed, is warned of."""
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "5")
    (finding,) = settings.check_heartbeat_interval(Patient(Broken()))
    assert (finding.status, finding.do[:52]) == (Status.WARN, "export AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL=1 (f")


def _deferred(**more: Any) -> Deferred:
    key = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1, "try_number": 1}
    return Deferred(**{**key, "trigger_id": 1, "classpath": "a.B", "since": NOW - timedelta(minutes=5), **more})


def _triggerer(age: float, number: int = 1, **more: Any) -> Triggerer:
    known = {"id": number, "hostname": "h", "started": NOW - timedelta(hours=1), "ended": None, "alive": age < 30}
    return Triggerer(**{**known, "heartbeat": NOW - timedelta(seconds=age), **more})


def _patient(
    deferred: list[Deferred], triggerers: list[Triggerer], held: dict[int | None, int] | None = None
) -> Patient:
    patient = Patient(Broken())
    patient.now = NOW
    patient.__dict__.update(
        deferred=deferred, triggerers={t.id: t for t in triggerers}, held=held or {}, processes=[], hostname="here"
    )
    return patient


def _statuses(findings: Iterator[Finding]) -> list[str]:
    return [finding.status.value for finding in findings]


def test_task_without_a_trigger() -> None:
    """A deferred task without a trigger fails, with the command that clears just it."""
    lost = _deferred(trigger_id=None, classpath="", logical_date=NOW)
    (finding,) = rows.check_trigger_rows(_patient([lost, _deferred()], [_triggerer(1)]))
    assert (finding.status, finding.found) == (
        Status.FAIL,
        "1 task deferred without a trigger, so that nothing can wake them: d.t r",
    )
    date = NOW.isoformat()
    assert finding.do == f"airflow tasks clear --task-regex '^t$' -s {date} -e {date} --yes d"


def test_unreadable_arguments() -> None:
    """Arguments that were encrypted with another key are told."""
    (finding,) = rows.check_trigger_rows(_patient([_deferred(stored="gAAAAABother")], [_triggerer(1)]))
    assert finding.status is Status.FAIL
    assert "cannot be read here (JSONDecodeError" in finding.found
    assert "fernet_key" in finding.do


def test_late_heartbeat() -> None:
    """A heartbeat that is late, and not yet taken for death, is warned of."""
    (finding,) = rows.check_triggerers(_patient([], [_triggerer(20)]))
    assert finding.status is Status.WARN
    assert "The heartbeat of triggerer 1 on h is 20 s old" in finding.found


def test_moving_triggers() -> None:
    """Triggers of a triggerer that has just died are no failure while a living one may take them."""
    dead = _triggerer(40, 1)
    task = _deferred(triggerer_id=1, triggerer=dead)
    assert _statuses(rows.check_owners(_patient([task], [dead, _triggerer(1, 2)]))) == ["WARN"]
    assert _statuses(rows.check_owners(_patient([task], [dead]))) == ["FAIL"]
    gone = _deferred(triggerer_id=9)
    assert "triggerer 9 is gone" in next(rows.check_owners(_patient([gone], [_triggerer(1)]))).found


def test_queue_that_nobody_serves() -> None:
    """Triggers that nobody takes are told with their queue."""
    (finding,) = rows.check_owners(_patient([_deferred(queue="gpu")], [_triggerer(1)]))
    assert finding.status is Status.FAIL
    assert "waits for 5 min: d.t r; queue gpu" in finding.found
    assert finding.do.startswith("airflow triggerer --queues gpu")


@pytest.mark.parametrize(("held", "status"), [(900, "OK"), (950, "WARN"), (1000, "WARN")])
def test_capacity(held: int, status: str) -> None:
    """A triggerer that is nearly full, or full while nobody waits, is warned of."""
    assert _statuses(rows.check_capacity(_patient([], [_triggerer(1)], {1: held}))) == [status]


def test_foreign_deadline() -> None:
    """A trigger of another package is late by Airflow's own timeout."""
    late = _deferred(overdue_after=NOW - timedelta(minutes=2))
    assert _statuses(rows.check_deadlines(_patient([late], [_triggerer(1)]))) == ["FAIL"]
    soon = _deferred(overdue_after=NOW - timedelta(seconds=20))
    assert _statuses(rows.check_deadlines(_patient([soon], [_triggerer(1)]))) == ["OK"]


def test_triggerer_of_another_machine() -> None:
    """What only another machine could tell is unknown, with the command to run there."""
    patient = _patient([], [_triggerer(1)])
    found = {f.check: f for f in examine(patient, ("triggerer-log", "event-loop", "open-files"))}
    assert {f.status for f in found.values()} == {Status.UNKNOWN}
    assert found["event-loop"].do == "on h: airflow ork doctor --check event-loop"


def test_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggerer of this machine is the process that began last before its row was written; it is seen as it is."""
    fake = tmp_path / "airflow"
    fake.write_text("import time\ntime.sleep(60)\n")
    with (tmp_path / "out.log").open("w") as log:
        command = [sys.executable, str(fake), "triggerer", "--capacity=7"]
        process = subprocess.Popen(command, stdout=log)
    try:
        while "triggerer" not in psutil.Process(process.pid).cmdline():
            time.sleep(0.01)
        began = datetime.fromtimestamp(psutil.Process(process.pid).create_time(), tz=timezone.utc)
        later = _triggerer(1, 1, started=began + timedelta(seconds=3))
        earlier = _triggerer(1, 2, started=began - timedelta(minutes=10))
        found = [p for p in find_processes([later, earlier]) if p.supervisor.pid == process.pid]
        (ours,) = found
        assert (ours.triggerer, ours.capacity, ours.runner) == (later, 7, None)
        assert ours.log == tmp_path / "out.log"
        assert [limit > count > 2 for _, count, limit in ours.open_files()] == [True]
        monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))  # then it is a triggerer of another Airflow
        assert find_processes([later]) == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90000, "1 d 1 h")]
)
def test_show_span(seconds: int, said: str) -> None:
    """A span is told in the two largest units that it has."""
    assert show_span(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("words", "status", "places"),
    [
        ("ep_poll", "sleeping", {"waiting": 4}),
        ("hrtimer_nanosleep", "sleeping", {"hrtimer_nanosleep": 4}),
        ("0", "running", {"running": 4}),
        ("0", "sleeping", {}),
    ],
)
def test_places_of_a_loop(monkeypatch: pytest.MonkeyPatch, words: str, status: str, places: dict[str, int]) -> None:
    """Where a loop is, is the kernel's word; a look at which it tells nothing does not count."""
    process = psutil.Process()
    monkeypatch.setattr(Path, "read_text", lambda self: words)
    monkeypatch.setattr(process, "status", lambda: status)
    triggerer = TriggererProcess(triggerer=_triggerer(1), supervisor=process, runner=process)
    assert triggerer.loop_places(looks=4, pause=0) == places
