"""What the pages name of Airflow is there: functions, settings with their defaults, states; no Airflow is started."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import airflow
import pytest
from airflow.configuration import retrieve_configuration_description
from airflow.utils.state import TaskInstanceState

import ork_provider
from tests.docs.pages import ROOT

LIFECYCLE, DEBUGGING = (ROOT / "docs" / name for name in ("lifecycle.md", "debugging.md"))


@cache
def source() -> str:
    """Return all modules of Airflow's core and SDK, and ours."""
    parts = ("api_fastapi", "executors", "jobs", "models", "sdk", "triggers")
    folders = [Path(ork_provider.__path__[0]), *(Path(airflow.__path__[0], name) for name in parts)]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    return "\n".join(file.read_text() for file in files)


def phases() -> list[list[str]]:
    """Return the cells of the table of phases."""
    rows = re.findall(r"^\| (\d+ \|.*) \|$", LIFECYCLE.read_text(), re.MULTILINE)
    return [row.split(" | ") for row in rows]


def test_phases_are_numbered() -> None:
    """The table has every phase once, in order."""
    assert [int(row[0]) for row in phases()] == list(range(1, 19))


def test_functions_are_there() -> None:
    """Each function and class that the phases name is defined in Airflow or here."""
    named = [name for row in phases() for name in re.findall(r"`([\w.]+)`", row[-1])]
    assert len(named) > 20
    missing = [part for name in named for part in name.split(".") if not re.search(rf"(def|class) {part}\b", source())]
    assert missing == []


@pytest.mark.parametrize("page", [LIFECYCLE, DEBUGGING], ids=lambda page: page.name)
def test_settings_and_defaults(page: Path) -> None:
    """Each setting exists; a number behind it, in brackets or after a comma, is its default."""
    known = retrieve_configuration_description(include_providers=False)
    defaults = {name: one.get("default") for section in known.values() for name, one in section["options"].items()}
    text = " ".join(page.read_text().split())
    named = re.findall(r"`\[(\w+)\] (\w+)`", text)
    assert named
    assert [pair for pair in named if pair[1] not in known[pair[0]]["options"]] == []
    told = re.findall(r"`(?:\[\w+\] )?(\w+)`(?: \(|, )(\d+(?:\.\d+)?)(?=[) ])", text)
    told = [(name, number) for name, number in told if name in defaults]
    assert len(told) >= 4
    assert [pair for pair in told if float(pair[1]) != float(defaults[pair[0]])] == []


def test_states_are_airflows() -> None:
    """The table of states has no state that Airflow has not, and all that it has but one."""
    table = LIFECYCLE.read_text().partition("\n## States")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \| [^|]+ \|$", table, re.MULTILINE)[1:]
    named = {state for row in rows for cell in row for state in re.findall(r"`(\w+)`", cell)}
    states = {state.value for state in TaskInstanceState}
    assert named <= states
    assert states - named == {"removed", "upstream_failed", "awaiting_input"}


def test_pictures_are_there() -> None:
    """Each picture of the pages is drawn."""
    for page in (LIFECYCLE, DEBUGGING):
        for file in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / file).exists(), file
