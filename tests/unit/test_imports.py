"""Import is free: what a DAG file costs, seen from a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module

from ork_provider.provider_info import SERVICES, get_provider_info

HEAVY = (
    "aiohttp",
    "airflow.providers",
    "duckdb",
    "google",
    "grpc",
    "pandas",
    "requests",
    "sqlglot",
    "ork_provider.testing",
)
"""Prefixes of modules that an import of ours must not load."""


def loaded_by(*statements: str, after: str = "pass") -> list[set[str]]:
    """Return the names of the modules that each statement loads in a fresh interpreter, ``after`` another one."""
    program = f"""
import json, sys
{after}
for statement in {statements!r}:
    before = set(sys.modules)
    exec(statement)
    print(json.dumps(sorted(set(sys.modules) - before)))
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [set(json.loads(line)) for line in run.stdout.splitlines()[-len(statements) :]]


def heavy(modules: set[str], prefixes: Sequence[str] = HEAVY) -> list[str]:
    return sorted(name for name in modules if name.startswith(tuple(f"{p}." for p in prefixes)) or name in prefixes)


LIBRARY = (*SERVICES.values(), "ork_provider.operator", "ork_provider.trigger", "ork_provider.worker")
"""Modules that a DAG file may import, and what a worker needs to start and cancel jobs."""


def test_dag_file_loads_nothing_heavy() -> None:
    """A DAG file that imports our operators loads no client and no other provider over airflow.sdk itself."""
    loaded = loaded_by(*(f"import {module}" for module in LIBRARY), after="import airflow.sdk")
    assert {module: heavy(names) for module, names in zip(LIBRARY, loaded, strict=True)} == {m: [] for m in LIBRARY}
    assert set(SERVICES.values()) <= set.union(*loaded)


def test_decorator_loads_nothing_heavy() -> None:
    """``@task.deferred`` loads nothing heavy of ours; to find it, Airflow asks every provider for its decorators."""
    asked, loaded = loaded_by("task.does_not_exist", "task.deferred", after=FIND_DECORATORS)
    assert "ork_provider.decorators" in loaded
    assert not heavy(loaded - asked)


FIND_DECORATORS = """
from airflow.sdk import task as found
class Task:
    def __getattr__(self, name):
        return getattr(found, name, None)
task = Task()
"""


def test_package_alone_loads_no_airflow() -> None:
    """Provider discovery imports the package and its provider info in every Airflow process."""
    (loaded,) = loaded_by("import ork_provider, ork_provider.provider_info")
    assert "ork_provider.provider_info" in loaded
    assert not heavy(loaded, ["airflow", "httpx", *HEAVY])
    assert [name for name in loaded if name.startswith("ork_provider.")] == ["ork_provider.provider_info"]


CORE = ("errors", "job", "waiting", "session", "service", "ending", "forms", "attempt", "stats", "templates")


def test_core_needs_no_airflow() -> None:
    """The value, the loop and the door know nothing of Airflow, and load no client before it is used."""
    loaded = loaded_by(*(f"import ork_provider.{module}" for module in CORE))
    found = {module: heavy(names, ["airflow", "httpx", *HEAVY]) for module, names in zip(CORE, loaded, strict=True)}
    assert found == {module: [] for module in CORE}


def test_provider_info_names_what_is_there() -> None:
    """Every module and class that Airflow is told about can be imported."""
    info = get_provider_info()
    sections = [entry for name in ("operators", "triggers", "sensors", "hooks") for entry in info[name]]
    for module in {module for entry in sections for module in entry["python-modules"]}:
        import_module(module)
    classes = [entry["class-name"] for entry in info["task-decorators"]]
    classes += [entry["hook-class-name"] for entry in info["connection-types"]]
    for path in [*info["extra-links"], *classes]:
        module, _, name = path.rpartition(".")
        assert hasattr(import_module(module), name)
