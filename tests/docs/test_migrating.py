"""docs/migrating.md and docs/patterns.md: what they show runs, the old beside the new, against the same fakes."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from tests.conftest import Tell
from tests.docs.conftest import Run
from tests.docs.pages import ROOT, blocks

pytestmark = pytest.mark.timeout(300)

FOLDER = ROOT / "tests" / "docs" / "dags"
PLUGINS = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:timeout")


@pytest.mark.parametrize("name", ["migrating", "patterns"])
def test_page(run: Run, name: str, tell: Tell) -> None:
    """Each DAG of the page runs in a pytest without our configuration, as that of a user."""
    tests = ROOT / "tests" / "docs" / f"{name}_tests.py"
    env = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER / name),
        "PYTHONPATH": os.pathsep.join([str(FOLDER / name), str(ROOT)]),
    }
    said = run("pytest", "-c", "/dev/null", "--rootdir", "/", *PLUGINS, "-q", str(tests), env=env)
    summary = re.search(r"^(\d+) passed(?:, \d+ warnings?)? in ", said, re.MULTILINE)  # and nothing skipped
    assert summary, said[-3000:]
    assert int(summary[1]) >= len(_functions(tests)) > 0
    tell(f"{name}: all {summary[1]} tests of its DAGs passed")


def _functions(file: Path) -> list[str]:
    parts = ast.parse(file.read_text()).body
    return [part.name for part in parts if isinstance(part, ast.FunctionDef) and part.name.startswith("test_")]


@pytest.mark.parametrize("name", ["migrating", "patterns"])
def test_every_part_is_shown(name: str) -> None:
    """Each marked part of the page's DAG files stands in the page, and each file of them is tested."""
    shown = {(block.file, block.region) for block in blocks("python") if block.page.stem == name}
    tested = (ROOT / "tests" / "docs" / f"{name}_tests.py").read_text()
    for file in sorted((FOLDER / name).glob("*.py")):
        assert file.stem in tested
        for region in re.findall(r"# \[START (\w+)\]", file.read_text()):
            assert (str(file.relative_to(ROOT)), region) in shown
