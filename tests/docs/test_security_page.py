"""Each promise of docs/security.md has the test that the page names."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/security.md").read_text()


def test_every_named_test_exists() -> None:
    """The page names tests of this repository, by file and function."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 40
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []


def test_every_rule_has_a_test() -> None:
    """No row of a table of rules is without one."""
    tables = re.findall(r"\| rule \| test \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(tables) == PAGE.count("| rule | test |")
    assert [row for row in rows if not re.search(r"\| `tests/[\w/]+\.py::test_\w+` \|$", row)] == []
