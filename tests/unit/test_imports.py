"""Import is free: what a DAG file costs, seen from a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module

import pytest

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


def loaded_by(statement: str, after: str = "pass") -> set[str]:
    """Return the names of the modules that a statement loads in a fresh interpreter, ``after`` another one."""
    program = f"""
import json, sys
{after}
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


def heavy(modules: set[str], prefixes: Sequence[str] = HEAVY) -> list[str]:
    return sorted(name for name in modules if name.startswith(tuple(f"{p}." for p in prefixes)) or name in prefixes)


LIBRARY = [*sorted(path.rpartition(".")[2] for path in SERVICES.values()), "operator", "trigger", "decorators"]
"""Modules that a DAG file may import; ``@task.deferred`` loads the last."""


@pytest.mark.parametrize("module", LIBRARY)
def test_dag_file_loads_nothing_heavy(module: str) -> None:
    """A DAG file that imports our operators loads no client and no other provider over airflow.sdk itself."""
    loaded = loaded_by(f"import ork_provider.{module}", after="import airflow.sdk")
    assert f"ork_provider.{module}" in loaded
    assert not heavy(loaded)


def test_package_alone_loads_no_airflow() -> None:
    """Provider discovery imports the package and its provider info in every Airflow process."""
    loaded = loaded_by("import ork_provider, ork_provider.provider_info")
    assert "ork_provider.provider_info" in loaded
    assert not heavy(loaded, ["airflow", "httpx", *HEAVY])
    assert [name for name in loaded if name.startswith("ork_provider.")] == ["ork_provider.provider_info"]


@pytest.mark.parametrize(
    "module", ["errors", "job", "waiting", "session", "service", "ending", "forms", "attempt", "stats", "templates"]
)
def test_core_needs_no_airflow(module: str) -> None:
    """The value, the loop and the door know nothing of Airflow, and load no client before it is used."""
    assert not heavy(loaded_by(f"import ork_provider.{module}"), ["airflow", "httpx", *HEAVY])


def test_worker_loads_no_triggerers_client() -> None:
    """What a worker needs to start and cancel jobs is there without aiohttp, which only a triggerer uses."""
    assert not heavy(loaded_by("import ork_provider.worker, ork_provider.attempt", after="import airflow.sdk"))


def test_decorator_loads_nothing_heavy() -> None:
    """Neither does the decorator, reached as a DAG file reaches it: it loads our package and nothing over it."""
    loaded = loaded_by("from airflow.sdk import task; task.deferred", after="import airflow.sdk")
    assert "ork_provider.decorators" in loaded
    assert not heavy(loaded, [name for name in HEAVY if name not in ("airflow.providers", "requests", "google")])


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
