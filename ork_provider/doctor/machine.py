"""Checks of the triggerers that run on this machine: their own log, their event loop, their open files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from ork_provider.cli.reading import show_span, show_time
from ork_provider.doctor.code import suspects
from ork_provider.doctor.finding import Finding, fail, ok, some, unknown, warn
from ork_provider.doctor.patient import Patient
from ork_provider.doctor.processes import LogLine, TriggererProcess, read_log
from ork_provider.text import one_line

RECENT = timedelta(hours=1)
"""How far back errors in a log count."""

BLOCKED = "async thread was blocked"
"""What Airflow's watchdog says in the triggerer's log."""

BLOCKED_RECENTLY = timedelta(minutes=10)

STARTING = timedelta(minutes=1)
"""In its first minute a triggerer imports the classes of its triggers, which blocks its loop for seconds."""

RESERVE = 100
"""Files that a triggerer needs beside one for each trigger: its database, its sockets to services."""

KNOWN = {
    "Trigger failed to load code": "airflow ork doctor --check trigger-class",
    "event loop appears deadlocked": "airflow ork doctor --check event-loop",
    "Too many open files": "airflow ork doctor --check open-files",
    "process has died": "look above this line in the log for the traceback; an error in a trigger's __init__ does this",
}
"""Words in a triggerer's errors, and what to do next."""


def check_logs(patient: Patient) -> Iterator[Finding]:
    """Look for errors in the logs of the triggerers of this machine."""
    name = "triggerer-log"
    logs = dict.fromkeys(patient.logs)
    for process in patient.processes:
        if process.log is not None:
            logs[process.log] = None
        elif not patient.logs:
            yield unknown(
                f"{process.triggerer} (pid {process.supervisor.pid}) does not write its log to a file",
                "journalctl -u <its service> or docker logs <its container>; or give the file: "
                "airflow ork doctor --check triggerer-log --log FILE",
            )
    for log in logs:
        yield _read(patient, log)
    yield from _elsewhere(name, patient)


def check_event_loops(patient: Patient) -> Iterator[Finding]:
    """Look whether an event loop is held by a trigger that does not wait as it should."""
    name = "event-loop"
    for process in patient.processes:
        yield _examine_loop(patient, process)
    yield from _elsewhere(name, patient)


def check_open_files(patient: Patient) -> Iterator[Finding]:
    """Look whether a triggerer may open as many files as it has triggers: each holds its log open."""
    name = "open-files"
    for process in patient.processes:
        counts = list(process.open_files())
        if not counts:
            yield unknown(
                f"The limits of {process.triggerer} (pid {process.supervisor.pid}) cannot be seen from here",
                f"cat /proc/{process.supervisor.pid}/limits (as its user)",
            )
            continue
        pid, used, limit = max(((p.pid, used, limit) for p, used, limit in counts), key=lambda c: c[1] / max(1, c[2]))
        capacity = patient.capacity(process.triggerer)
        held = patient.held.get(process.triggerer.id, 0)
        found = (
            f"{process.triggerer} (pid {pid}) has {used} of {limit} files open, {held} triggers and room for {capacity}"
        )
        do = f"ulimit -n {max(65536, 2 * capacity)} (LimitNOFILE= of a service) before `airflow triggerer`; restart it"
        if limit > 0 and (used > 0.9 * limit or held + RESERVE // 2 > limit):
            yield fail(found, do)
        elif 0 < limit < capacity + RESERVE:
            yield warn(
                f"{found}: each trigger holds a file open, so it runs out of files before it is full",
                do,
            )
        else:
            yield ok(found)
    yield from _elsewhere(name, patient)


def _read(patient: Patient, log: Path) -> Finding:
    """Look for errors in one log."""
    if not log.is_file():
        return unknown(f"{log} cannot be read", f"ls -l {log}")
    recent = [line for line in read_log(log) if patient.now - line.time < RECENT]
    errors = [line for line in recent if line.level in {"error", "critical"}]
    if not errors:
        return ok(f"No error in {log} within {show_span(RECENT)}")
    last = errors[-1]
    advice = [do for words, do in KNOWN.items() if any(words in line.text for line in errors)]
    return warn(
        f"Errors in {log} within {show_span(RECENT)}: {len(errors)}, the last at {show_time(last.time)}: "
        f"{one_line(last.text, 200)}",
        "; ".join([*advice, f"less {log}"]),
    )


def _examine_loop(patient: Patient, process: TriggererProcess) -> Finding:
    who = f"The event loop of {process.triggerer}"
    if process.runner is None:
        return fail(
            f"{process.triggerer} (pid {process.supervisor.pid}) has no process that runs triggers",
            "airflow ork doctor --check triggerer-log; then restart the triggerer",
        )
    pid = process.runner.pid
    said = _said_blocked(patient, process)
    places = process.loop_places()
    looks, away = sum(places.values()), _away(places)
    share = away / looks if looks else 0.0
    elsewhere = ", ".join(f"{word} {count}" for word, count in places.most_common() if word != "waiting")
    found = f"{who} (pid {pid}) was away from its poll in {away} of {looks} looks within 2 s"
    found += f" ({elsewhere})" if elsewhere else ""
    if said:
        found += f"; blocks that its log tells of within {show_span(BLOCKED_RECENTLY)}: {len(said)}"
    if share >= 0.5 or len(said) >= 3:
        culprits = suspects({d.classpath for d in patient.deferred if d.triggerer_id == process.triggerer.id})
        names = f": {some(culprits)}" if culprits else ""
        return (fail if share >= 0.8 or len(said) >= 10 else warn)(
            f"{found}. A trigger holds it{names}",
            f"py-spy dump --pid {pid} (pip install py-spy) shows the line; use await asyncio.sleep, an "
            "asynchronous client or asyncio.to_thread; restart the triggerer",
        )
    if not looks and not said:
        return unknown(
            f"{who} (pid {pid}) cannot be seen from here, and its log tells nothing",
            f"py-spy dump --pid {pid}; the metric triggers.blocked_main_thread counts it",
        )
    return ok(found)


def _away(places: Counter[str]) -> int:
    return sum(count for word, count in places.items() if word != "waiting")


def _said_blocked(patient: Patient, process: TriggererProcess) -> list[LogLine]:
    """Return the lines in which its log says that the loop was blocked, but for those of its start."""
    log, started = process.log, process.triggerer.started
    if log is None or started is None:
        return []
    since = max(started + STARTING, patient.now - BLOCKED_RECENTLY)
    return [line for line in read_log(log) if BLOCKED in line.text and line.time > since]


def _elsewhere(name: str, patient: Patient) -> Iterator[Finding]:
    """Say what must be looked at on other machines."""
    for triggerer in patient.elsewhere:
        yield unknown(
            f"{triggerer} cannot be seen from {patient.hostname}",
            f"on {triggerer.hostname}: airflow ork doctor --check {name}",
        )
    if not patient.alive and not patient.processes:
        yield unknown("No triggerer is alive", "airflow triggerer")
