"""What Airflow is told about the package is valid, and true."""

from __future__ import annotations

import json
import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.sdk import task

import ork_provider
from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.job import KINDS
from ork_provider.operator import ConsoleLink
from ork_provider.provider_info import SERVICES, get_provider_info


def test_valid_by_airflows_schema() -> None:
    """The metadata follows the schema that Airflow's providers manager checks it against."""
    schema = json.loads(Path(airflow.__file__).with_name("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_found_by_airflow() -> None:
    """The entry point that Airflow looks for leads to the metadata."""
    found = [e for e in entry_points(group="apache_airflow_provider") if e.value.startswith("ork_provider.")]
    assert [entry.load() for entry in found] == [get_provider_info]


@pytest.mark.parametrize("section", ["operators", "sensors", "triggers"])
def test_modules_exist_and_hold_what_they_are_listed_for(section: str) -> None:
    """Each listed module has a public class of that sort."""
    ending = {"operators": "Operator", "sensors": "Sensor", "triggers": "Trigger"}[section]
    for integration in get_provider_info()[section]:
        for name in integration["python-modules"]:
            module = import_module(name)
            assert [item for item in vars(module) if item.endswith(ending)], name


def public_names(ending: str) -> set[str]:
    """Name the classes of one ending that users import, by the modules directly below the package."""
    packages = [module.name for module in pkgutil.iter_modules(ork_provider.__path__) if module.name != "testing"]
    modules = [import_module(f"ork_provider.{name}") for name in packages]
    return {
        f"{module.__name__}.{name}"
        for module in modules
        for name in getattr(module, "__all__", vars(module))
        if name.endswith(ending) and isinstance(item := getattr(module, name), type)
        if item.__module__.startswith(module.__name__) and not name.startswith("_")
    }


@pytest.mark.parametrize("section", ["operators", "sensors", "triggers"])
def test_nothing_is_left_out(section: str) -> None:
    """Every module in which users find such a class is listed."""
    ending = {"operators": "Operator", "sensors": "Sensor", "triggers": "Trigger"}[section]
    listed = {name for entry in get_provider_info()[section] for name in entry["python-modules"]}
    assert {name.rpartition(".")[0] for name in public_names(ending)} - listed - INTERNAL == set()


INTERNAL = {"ork_provider.decorators"}
"""Modules whose operators users do not import: Airflow makes them itself."""


def test_every_integration_is_described() -> None:
    """What a section names is an integration of the package, and there is none that no section names."""
    info = get_provider_info()
    sections = ("operators", "sensors", "triggers", "hooks")
    named = {entry["integration-name"] for section in sections for entry in info[section]}
    assert named == {entry["integration-name"] for entry in info["integrations"]}


def test_every_kind_of_job_is_listed() -> None:
    """The service of each kind of job is one of the integrations."""
    assert {path.partition(":")[0] for path in KINDS.values()} <= set(SERVICES.values())


def test_decorators() -> None:
    """Airflow finds ``@task.deferred`` by its name."""
    for entry in get_provider_info()["task-decorators"]:
        module, _, name = entry["class-name"].rpartition(".")
        assert callable(getattr(import_module(module), name))
        assert getattr(task, entry["name"]).__name__ == name
    assert [entry["name"] for entry in get_provider_info()["task-decorators"]] == ["deferred", "dependency_wait"]


def test_connection_types() -> None:
    """A connection's form belongs to a hook that says the same of itself, and is listed."""
    for entry in get_provider_info()["connection-types"]:
        module, _, name = entry["hook-class-name"].rpartition(".")
        hook = getattr(import_module(module), name)
        assert (hook.conn_type, hook.hook_name) == (entry["connection-type"], entry["hook-name"])
        hooks = [module for found in get_provider_info()["hooks"] for module in found["python-modules"]]
        assert hook.__module__ in hooks


def test_links_are_listed() -> None:
    """Airflow's UI shows a link only if the provider lists its class."""
    assert get_provider_info()["extra-links"] == [f"{ConsoleLink.__module__.rpartition('.')[0]}.ConsoleLink"]
    assert isinstance(BigQueryJobOperator.operator_extra_links[0], ConsoleLink)


@pytest.mark.parametrize(("setting", "expected"), [(None, True), ("False", False), ("True", True)])
def test_default_deferrable(monkeypatch: pytest.MonkeyPatch, setting: str | None, expected: bool) -> None:
    """Operators defer unless [ork] default_deferrable, or the task, says otherwise."""
    if setting is not None:
        monkeypatch.setenv("AIRFLOW__ORK__DEFAULT_DEFERRABLE", setting)
    assert BigQueryJobOperator(task_id="t", sql="SELECT 1").deferrable is expected
    assert BigQueryJobOperator(task_id="t", sql="SELECT 1", deferrable=not expected).deferrable is not expected
