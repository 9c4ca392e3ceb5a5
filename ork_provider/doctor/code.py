"""Checks of what a triggerer must find beside the rows: the classes of triggers, and connections."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from airflow.models.connection import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from ork_provider.cli.reading import Deferred
from ork_provider.doctor.finding import Finding, fail, ok, some, tasks
from ork_provider.doctor.patient import Patient
from ork_provider.service import CONNECTIONS
from ork_provider.text import one_line

IN_A_DAG_FILE = "unusual_prefix_"
"""What the names of the modules begin with that Airflow makes of DAG files."""

BLOCKING = (
    "time.sleep",
    "requests.",
    "urllib.request.",
    "urlopen",
    "subprocess.",
    "os.system",
    "socket.create_connection",
    "input",
)
"""Calls that hold an event loop; those that end with a dot are all of a module."""


def check_classes(patient: Patient) -> Iterator[Finding]:
    """Look whether the class of each trigger can be imported."""
    by_class = _by_class(patient.deferred)
    wrong = 0
    for classpath, theirs in by_class.items():
        why = import_error(classpath)
        if why is None:
            continue
        wrong += 1
        in_dag = classpath.startswith(IN_A_DAG_FILE)
        module = classpath.rpartition(".")[0]
        yield fail(
            f"{classpath}, the trigger of {tasks(len(theirs))}, cannot be imported here ({why}): {some(theirs)}"
            + (". Its class stands in a DAG file, where no triggerer can find it" if in_dag else ""),
            ("move the class into a module of the plugins folder or of an installed package" if in_dag else "")
            or f"python -c 'import {module}' on each triggerer's machine; install or copy what is missing, restart the "
            "triggerer, clear the task",
        )
    if not wrong:
        yield ok(f"{len(by_class)} classes of triggers can be imported here")


def import_error(classpath: str) -> str | None:
    """Say why a class cannot be imported; None if it can."""
    module, _, name = classpath.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as exc:  # whatever a module raises while it is loaded
        return one_line(f"{type(exc).__name__}: {exc}", 200)
    return None if inspect.isclass(found) else f"it is a {type(found).__name__}, not a class"


def suspects(classpaths: set[str]) -> list[str]:
    """Name the calls that hold an event loop in the coroutines of these classes, as far as their source shows."""
    found = []
    for classpath in sorted(classpaths):
        module, _, name = classpath.rpartition(".")
        try:
            cls = getattr(import_module(module), name)
            lines, first = inspect.getsourcelines(cls)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except Exception:  # its source, or the class itself, is not here
            continue
        for coroutine in (node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)):
            for call in (node for node in ast.walk(coroutine) if isinstance(node, ast.Call)):
                spelt = ast.unparse(call.func)
                if any(spelt.startswith(b) if b.endswith(".") else spelt == b for b in BLOCKING):
                    line = first + call.lineno - 1
                    found.append(f"{classpath}.{coroutine.name} calls {spelt} ({inspect.getfile(cls)}:{line})")
    return found


def check_connections(patient: Patient) -> Iterator[Finding]:
    """Look whether the Airflow connections of waiting jobs can be read."""
    users = _users_of_connections(patient.deferred)
    wrong = 0
    for conn_id, theirs in users.items():
        why = connection_error(conn_id)
        if why is None:
            continue
        wrong += 1
        yield fail(
            f"The connection {conn_id!r} cannot be read here ({why}); {tasks(len(theirs))} deferred with it: "
            f"{some(theirs)}",
            f"airflow connections add {conn_id} --conn-type {_type_of(theirs[0], conn_id)} ... (or set "
            f"AIRFLOW_CONN_{conn_id.upper()} for workers, triggerers and here)",
        )
    if not wrong:
        yield ok(f"{len(users)} connections of waiting jobs can be read here")


def connection_error(conn_id: str) -> str | None:
    """Say why a connection cannot be read; None if it can."""
    try:
        Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException:
        return "it is not defined"
    except Exception as exc:  # of any secrets backend
        return one_line(f"{type(exc).__name__}: {exc}", 200)
    return None


def needs_connection(job: Any, parameter: str, conn_id: str) -> bool:
    """Whether a wait goes wrong without the connection: an absolute URL needs none, nor does DQOps' default one."""
    if job.kind == "custom_http":
        return "://" not in job.url
    return parameter != "dqops_conn_id" or conn_id != CONNECTIONS[parameter]


def _by_class(deferred: list[Deferred]) -> dict[str, list[Deferred]]:
    by_class: dict[str, list[Deferred]] = {}
    for one in deferred:
        if one.classpath:
            by_class.setdefault(one.classpath, []).append(one)
    return by_class


def _users_of_connections(deferred: list[Deferred]) -> dict[str, list[Deferred]]:
    users: dict[str, list[Deferred]] = {}
    for one in deferred:
        for job in one.jobs:
            parameter, conn_id = one.connection_of(job)
            if conn_id and needs_connection(job, parameter, conn_id):
                theirs = users.setdefault(conn_id, [])
                if one not in theirs[-1:]:
                    theirs.append(one)
    return users


def _type_of(deferred: Deferred, conn_id: str) -> str:
    """Return the type of a connection, as `airflow connections add` wants it."""
    for job in deferred.jobs:
        parameter, used = deferred.connection_of(job)
        if used == conn_id:
            return {"gcp_conn_id": "google_cloud_platform", "dqops_conn_id": "dqops"}.get(parameter, "http")
    return "http"
