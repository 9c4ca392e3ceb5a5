"""Checks of versions and settings."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from airflow.configuration import conf
from packaging.requirements import Requirement
from sqlalchemy import text

from ork_provider import __version__
from ork_provider.doctor.finding import Finding, fail, ok, some, tasks, warn
from ork_provider.doctor.patient import Patient

PACKAGE = "airflow-provider-ork"

SAFE_HEARTBEAT = 2.0
"""Largest ``[workers] min_heartbeat_interval`` in seconds with which a task that resumes at once was not failed."""


def check_database(patient: Patient) -> Iterator[Finding]:
    """Look whether the metadata database can be read, and which it is."""
    patient.session.execute(text("SELECT 1"))
    dialect = patient.session.get_bind().dialect
    version = ".".join(str(part) for part in dialect.server_version_info or ())
    yield ok(f"{dialect.name} {version}".strip() + f"; {tasks(len(patient.deferred))} deferred")


def check_versions(patient: Patient) -> Iterator[Finding]:
    """Look whether what is installed here fits together."""
    wrong = list(_unfit())
    if wrong:
        yield fail(
            f"{PACKAGE} {__version__} needs {some([need for need, _ in wrong])}; installed: "
            f"{some([installed for _, installed in wrong])}",
            f"pip install {' '.join(repr(need) for need, _ in wrong)}",
        )
        return
    airflow = metadata.version("apache-airflow-core")
    yield ok(
        f"{PACKAGE} {__version__}, Airflow {airflow}, Python {platform.python_version()}",
    )


def check_heartbeat_interval(patient: Patient) -> Iterator[Finding]:
    """Look whether the scheduler may fail a task that resumes soon after its deferral."""
    interval = conf.getfloat("workers", "min_heartbeat_interval")
    if interval <= SAFE_HEARTBEAT:
        yield ok(
            f"[workers] min_heartbeat_interval is {interval:g} s here",
        )
        return
    yield warn(
        f"[workers] min_heartbeat_interval is {interval:g} s here: a task that defers holds its slot for up to "
        "so long after it, and the scheduler may fail one that resumes within it ('Executor ... finished with state "
        "success, but the task instance's state attribute is queued'). Ours hold an early event back; others do not",
        "export AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL=1 (for workers and the scheduler; then restart them)",
    )


def _unfit() -> Iterator[tuple[str, str]]:
    """Find what the package needs and is not there, or in another version."""
    for line in metadata.requires(PACKAGE) or ():
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            yield f"{need.name}{need.specifier}", f"no {need.name}"
            continue
        if not need.specifier.contains(installed, prereleases=True):
            yield f"{need.name}{need.specifier}", f"{need.name} {installed}"
