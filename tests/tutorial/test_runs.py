"""Every lesson runs through a real scheduler and triggerer, and by `airflow dags test`, and shows all of its points."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import pytest
from _tutorial.airflow import LessonHome, TutorialAirflow, services
from _tutorial.catalog import LESSONS, POINTS, lessons
from _tutorial.runs import (
    Result,
    begin_dags_test,
    print_table,
    read_dags_test,
    run_alone,
    run_together,
    wait_all,
)
from _tutorial.special import ALONE, NOT_IN_DAGS_TEST, WITHOUT_TRIGGERER

from tests.support.postgres import postgres

pytestmark = pytest.mark.timeout(900)

ALL = lessons()
APART = {**WITHOUT_TRIGGERER, **ALONE}
AT_ONCE = 3
"""Lessons that run at the same time in the deployment, or sections by `airflow dags test`: mostly they wait."""


@pytest.fixture(scope="module")
def connections() -> Iterator[dict[str, str]]:
    """Serve what the lessons wait for."""
    with services() as connections:
        yield connections


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Run a database that lets thirty tasks write at the same time."""
    with postgres() as server:
        yield server.url


@pytest.fixture(scope="module")
def deployed(connections: dict[str, str], database: str) -> dict[str, Result]:
    """Run all lessons in an Airflow, some at a time, then those that must be alone; once more what went wrong."""
    together = [lesson for lesson in ALL if lesson.number not in APART]
    results: list[Result] = []
    with TutorialAirflow(connections, database=database) as airflow:
        for first in range(0, len(together), AT_ONCE):
            results += run_together(airflow, together[first : first + AT_ONCE])
        results += [run_alone(airflow, lesson) for lesson in ALL if lesson.number in APART]
        results = [result if result.good else _again(result, run_alone(airflow, result.lesson)) for result in results]
    results.sort(key=lambda result: ALL.index(result.lesson))
    print_table(results, "through a real scheduler, triggerer and workers")
    return {result.lesson.number: result for result in results}


@pytest.fixture(scope="module")
def tested(connections: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Run the lessons of each section in one process, by Airflow's own command; once more what went wrong."""
    folder = tmp_path_factory.mktemp("dags_test")
    fit = [lesson for lesson in ALL if lesson.number not in NOT_IN_DAGS_TEST]
    sections = [list(section) for _, section in groupby(fit, key=lambda lesson: lesson.section)]
    results: list[Result] = []
    home = LessonHome(connections, LESSONS)
    with home:
        for first in range(0, len(sections), AT_ONCE):
            batch = sections[first : first + AT_ONCE]
            wait_all([begin_dags_test(home, section, folder) for section in batch], 400)
            results += [result for section in batch for result in read_dags_test(section, folder)]
        for number, result in enumerate(results):
            if not result.good:
                wait_all([begin_dags_test(home, [result.lesson], folder)], 200)
                results[number] = _again(result, read_dags_test([result.lesson], folder)[0])
    print_table(results, "by `airflow dags test`")
    for number, reason in NOT_IN_DAGS_TEST.items():
        print(f"{number:8} not by `airflow dags test`: {reason}")
    for log in folder.glob("*.errors"):
        print(log.read_text()[-2000:], end="")
    return {result.lesson.number: result for result in results}


@pytest.mark.parametrize("number", [lesson.number for lesson in ALL])
def test_deployed(deployed: dict[str, Result], number: str) -> None:
    """It ends as its tag says, and every point is in the logs."""
    _check(deployed[number])


@pytest.mark.parametrize("number", [lesson.number for lesson in ALL if lesson.number not in NOT_IN_DAGS_TEST])
def test_dags_test(tested: dict[str, Result], number: str) -> None:
    """It ends as its tag says, and every point is in what it prints."""
    _check(tested[number])


def _check(result: Result) -> None:
    assert result.state == result.lesson.ends, result.output[-6000:]
    assert result.shown == set(POINTS), "\n".join(result.lines)


def _again(first: Result, second: Result) -> Result:
    """Say that a lesson went wrong, and why; a machine that starves does that to one. Its second run counts."""
    print(f"{first.lesson.number} went wrong ({first.state}, points {first.shown}) and runs once more, alone:")
    print("\n".join([line for line in first.output.splitlines() if "error" in line][-5:]), flush=True)
    return second
