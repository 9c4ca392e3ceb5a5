"""docs/capacity.md: its calculator gives the page's table, and never promises more than was measured."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.docs.pages import ROOT, blocks

PAGE = (ROOT / "docs" / "capacity.md").read_text()
SCALING = (ROOT / "docs" / "scaling.md").read_text()
COLUMNS = ("triggerers", "cores each", "MB each", "open files each", "seconds to take them up")
ROWS = re.findall(r"^\| [^|]+ \| `plan\((\d.*)\)` \| (.*) \|$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def plan() -> Any:
    """Return the page's calculator."""
    (block,) = [block for block in blocks("python") if block.page.name == "capacity.md"]
    names: dict[str, Any] = {"print": str}
    exec(block.code, names)
    return names["plan"]


@pytest.mark.parametrize(("arguments", "cells"), ROWS, ids=[arguments for arguments, _ in ROWS])
def test_table(plan: Any, arguments: str, cells: str) -> None:
    """Each row of the table is what the calculator says."""
    planned = eval(f"plan({arguments})", {"plan": plan})
    assert [str(planned[column]) for column in COLUMNS] == cells.split(" | ")


def test_table_has_rows() -> None:
    """The table was found."""
    assert len(ROWS) == 6


def measured(heading: str, row: str, column: str) -> float:
    """Return a number of a table in docs/scaling.md."""
    table = SCALING.partition(heading)[2].partition("\n\n")[2].partition("\n\n")[0].splitlines()
    head, _, *lines = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table]
    cells = next(cells for cells in lines if cells[0] == row)
    return float(cells[head.index(column)])


@pytest.mark.parametrize(
    ("heading", "tasks"),
    [("With 1,000 waiting, of which", 1000), ("waiting, N = 1,000", 1000), ("With 10,000 waiting", 10_000)],
)
@pytest.mark.parametrize("service", ["BigQuery", "Dataproc", "DQOps"])
def test_shared(plan: Any, heading: str, tasks: int, service: str) -> None:
    """Of jobs for which a poll is shared none took more cores or memory than the calculator says."""
    if heading.startswith("waiting"):
        heading = "which forgives no error and cannot be used):"
    planned = plan(tasks, capacity=tasks)
    assert planned["triggerers"] == 2
    assert measured(heading, f"{service}, ours", "CPU cores") <= planned["cores each"]
    assert measured(heading, f"{service}, ours", "kB each") <= 30


def test_single_asks(plan: Any) -> None:
    """Of jobs that are asked for one by one neither, at the interval of the measurement."""
    planned = plan(1000, shared=False, interval=4)
    for heading in ("With 1,000 waiting, of which", "which forgives no error and cannot be used):"):
        for row in ("HTTP, ours", "Cloud Run, ours, one execution each"):
            assert measured(heading, row, "CPU cores") <= planned["cores each"] + 0.005


def test_plan_of_many(plan: Any) -> None:
    """More tasks never need less, and a triggerer that is down leaves room for all."""
    for capacity in (500, 1000, 5000):
        needed = [plan(tasks, capacity=capacity)["triggerers"] for tasks in range(0, 20_000, 250)]
        assert needed == sorted(needed)
        assert all((many - 1) * capacity >= tasks for many, tasks in zip(needed, range(0, 20_000, 250), strict=True))
