"""The doctor: checks of all that deferred tasks need in order to go on, each with evidence and what to do next.

    with create_session() as session:
        for finding in examine(Patient(session)):
            print(finding.status, finding.check, finding.found)

A check reads the metadata database, Airflow's settings and the processes of this machine; it changes nothing. What only
another machine could tell is UNKNOWN, with the command to run there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from ork_provider.cli.names import CHECKS
from ork_provider.doctor import code, machine, rows, settings
from ork_provider.doctor.finding import Finding, Status
from ork_provider.doctor.patient import Patient
from ork_provider.text import one_line

__all__ = ["Finding", "Patient", "Status", "examine"]

Check = Callable[[Patient], Iterable[Finding]]

_CHECKS: dict[str, Check] = {
    "database": settings.check_database,
    "versions": settings.check_versions,
    "triggerer-alive": rows.check_triggerers,
    "trigger-row": rows.check_trigger_rows,
    "trigger-owner": rows.check_owners,
    "capacity": rows.check_capacity,
    "deadline": rows.check_deadlines,
    "trigger-class": code.check_classes,
    "triggerer-log": machine.check_logs,
    "event-loop": machine.check_event_loops,
    "open-files": machine.check_open_files,
    "heartbeat-interval": settings.check_heartbeat_interval,
    "connections": code.check_connections,
}


def examine(patient: Patient, names: Collection[str] = CHECKS) -> Iterator[Finding]:
    """Make the checks of these names, in their order; each gives one finding or more."""
    for name in CHECKS:
        if name in names:
            yield from _examine(name, patient)


def _examine(name: str, patient: Patient) -> Iterator[Finding]:
    """Make one check; one that cannot be made keeps no other from being made."""
    try:
        for finding in _CHECKS[name](patient):
            yield replace(finding, check=name)
    except SQLAlchemyError as exc:
        with suppress(SQLAlchemyError):
            patient.session.rollback()  # or PostgreSQL answers nothing more
        status = Status.FAIL if name == "database" else Status.UNKNOWN
        why = one_line(str(getattr(exc, "orig", None) or exc), 300)
        yield Finding(
            check=name,
            status=status,
            found=f"The metadata database cannot be read: {why}",
            do="airflow db check; is [database] sql_alchemy_conn right here, and `airflow db migrate` done?",
        )
