"""What a test tells is printed when all have run: nobody sees the output of a test in a process of pytest-xdist."""

from __future__ import annotations

from collections.abc import Callable

import pytest

TOLD = "tell"
Tell = Callable[[str], None]


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Take lines for the end of the output: what was counted, what was measured."""
    return lambda text: record_property(TOLD, text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests have told, in the order in which they ended."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    said = [
        value for report in reports if report.when == "call" for name, value in report.user_properties if name == TOLD
    ]
    if said:
        terminalreporter.write_sep("=", "told by the tests")
        for text in said:
            terminalreporter.write_line(str(text))
