"""What Airflow is told about the package is valid, and true."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.operator import ConsoleLink
from ork_provider.provider_info import get_provider_info


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
