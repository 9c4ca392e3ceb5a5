"""The first commands of the README, as somebody types them who has just cloned the repository."""

from __future__ import annotations

import pytest

from tests.docs.shell import commands_of, run_as_it_stands

SHOWN = {
    "./dev/demo": "check: all 48 rows are what DuckDB gives when it is asked directly",
    "./dev/tutorial run 51.1.1": "It ended success, as it should.",
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", commands_of("tests/e2e/test_first_commands.py"))
def test_command(command: str) -> None:
    """It starts all that it needs, shows what it is there to show, and ends with 0."""
    assert SHOWN[command] in run_as_it_stands(command)
