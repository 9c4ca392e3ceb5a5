"""The pages' commands that take minutes run as they stand, one after the other, if asked for: ./dev/test --long."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Tell
from tests.docs.pages import ROOT
from tests.docs.shell import LONG, commands_of, run_as_it_stands

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy what a command may change: the constraints, and what they follow from."""
    shutil.copytree(ROOT / "dev" / "constraints", tmp_path / "dev" / "constraints")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


@pytest.mark.parametrize("command", commands_of(LONG))
def test_long(command: str, request: pytest.FixtureRequest, checkout: Path, tell: Tell) -> None:
    """It ends with 0."""
    if not request.config.getoption("--long"):
        pytest.skip("takes minutes; run by ./dev/test --long")
    updates = "constraints" in command
    said = run_as_it_stands(command, checkout if updates else ROOT)
    if updates:
        constraints = (checkout / "dev" / "constraints" / "constraints.txt").read_text()
        assert "\napache-airflow==" in constraints
    tell(f"$ {command}\n{said[-3000:]}")
