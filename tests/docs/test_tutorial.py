"""The lessons are complete: their names and tags, their pages, and a line of code for every point."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT

PLAN = """
51_01_01_deferrable_execution_intro core beginner success
51_01_02_resource_savings core beginner success
51_01_03_triggerer_architecture core beginner success
51_01_04_deferrable_lifecycle core intermediate success
51_02_01_time_sensor_async core beginner success
51_02_02_datetime_sensor_async core beginner success
51_02_03_sensor_deferrable_param core beginner success
51_02_04_file_sensor_deferrable core beginner success
51_02_05_http_sensor_async core beginner success
51_02_06_external_task_deferrable core intermediate success
51_03_01_basic_deferrable_operator core intermediate success
51_03_02_execute_with_defer core intermediate success
51_03_03_custom_trigger_class core intermediate success
51_03_04_trigger_serialization core intermediate success
51_03_05_trigger_run_async core intermediate success
51_03_06_execute_complete core intermediate success
51_04_01_long_running_job_monitoring patterns intermediate success
51_04_02_polling_api_without_blocking patterns intermediate success
51_04_03_batch_processing_deferrable patterns intermediate success
51_04_04_deferrable_with_mapping patterns advanced success
51_04_05_converting_to_deferrable patterns intermediate success
51_05_01_debugging_deferred_tasks core intermediate success
51_05_02_triggerer_not_running core beginner failure
51_05_03_trigger_serialization_errors core intermediate failure
51_05_04_deferrable_timeout core intermediate success
51_08_01_unit_testing_triggers core intermediate success
51_08_02_unit_testing_operators core intermediate success
51_08_03_integration_testing core intermediate success
51_08_04_testing_timeouts core intermediate success
51_08_05_testing_errors core intermediate failure
51_09_01_blocking_in_triggers patterns intermediate anti-pattern
51_09_02_non_serializable patterns intermediate anti-pattern
51_09_03_memory_leaks patterns intermediate anti-pattern
51_09_04_excessive_triggers patterns intermediate anti-pattern
51_09_05_ignoring_triggerer_health patterns intermediate anti-pattern
"""
"""Lesson, kind, level and outcome, as the plan of the suite has them; every lesson has the tag `reference`."""

WANTED = {name: ["reference", *tags] for name, *tags in map(str.split, PLAN.strip().splitlines())}
sys.path.insert(0, str(ROOT / "dev"))

from _tutorial import pages, special  # noqa: E402 - dev/ is on no path
from _tutorial.catalog import HEADINGS, POINTS, Lesson, lessons  # noqa: E402

each = pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.number)


def test_all_lessons() -> None:
    """There are all lessons of the plan and no others, with their tags."""
    assert {lesson.dag_id: lesson.tags for lesson in lessons()} == WANTED


@each
def test_page(lesson: Lesson) -> None:
    """A lesson's docstring is its page: a title, a purpose, and the headings in their order."""
    assert lesson.title
    assert lesson.parts[""]
    names = [name for name in lesson.parts if name]
    assert names == [name for name in HEADINGS if name in names]
    assert set(HEADINGS) - {"Needs"} <= set(names)
    assert tuple(lesson.points) == POINTS


@each
def test_dag(lesson: Lesson) -> None:
    """Its DAG has the name of its file, shows the page, and runs only when it is asked to."""
    assert f'dag_id="{lesson.dag_id}"' in lesson.source
    assert "doc_md=__doc__" in lesson.source
    assert "schedule=None" in lesson.source


@each
@pytest.mark.parametrize("point", POINTS)
def test_point(lesson: Lesson, point: int) -> None:
    """Each point is shown by a line that says its number when it runs."""
    assert lesson.places(point), f"no line says ({point})"


@each
def test_point_is_computed(lesson: Lesson) -> None:
    """What is logged for a point holds values of the run; it is no sentence that is printed whatever happens."""
    for call in _log_calls(lesson.source):
        message, values = call.args[0], call.args[1:]
        assert values or isinstance(message, ast.JoinedStr), f"{lesson.file.name}:{call.lineno} says nothing of the run"


def test_pages_are_made_from_the_lessons() -> None:
    """docs/tutorial/ is what `./dev/tutorial pages` writes."""
    made = pages.pages()
    found = {file: file.read_text() for file in pages.DOCS.glob("*.md")}
    different = sorted(file.name for file in {*made, *found} if made.get(file) != found.get(file))
    assert not different, "run ./dev/tutorial pages"


def test_links() -> None:
    """Every link of these pages leads to a file, and to a heading or a line that is there."""
    for page in pages.DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)):
            if "://" not in target:
                _check_link(page, target)


def test_whole_suite() -> None:
    """What holds for the suite as a whole is shown by points of lessons."""
    by_number = {lesson.number: lesson for lesson in lessons()}
    assert len(special.CHECKLIST) == 10
    for name, shown in special.CHECKLIST.items():
        assert all(by_number[number].places(point) for number, point in shown), name


def test_exceptions() -> None:
    """Each lesson that runs apart says why."""
    numbers = {lesson.number for lesson in lessons()}
    for reasons in (special.NOT_IN_DAGS_TEST, special.WITHOUT_TRIGGERER, special.ALONE):
        assert set(reasons) <= numbers
        assert all(reasons.values())


def test_command_line() -> None:
    """`./dev/tutorial list` prints them all; a lesson that does not exist is one line."""
    listed = _tutorial("list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [lesson.number for lesson in lessons()]
    unknown = _tutorial("run", "51.3.99")
    assert unknown.returncode == 1
    assert unknown.stderr == "dev/tutorial: There is no lesson 51.3.99; `./dev/tutorial list` shows all.\n"
    assert _tutorial("walk").stderr.startswith("dev/tutorial: ")


def _tutorial(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; import tutorial; tutorial.ROOT = __import__('pathlib').Path(sys.prefix).parent; "
    command = f"{code}sys.prefix = str(tutorial.ROOT / '.venv'); sys.exit(tutorial.main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", command, *arguments], cwd=ROOT / "dev", capture_output=True, text=True, check=False
    )


def _log_calls(source: str) -> list[ast.Call]:
    """Return the calls that log a point."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
    return [call for call in calls if re.match(r"\((?:51\.\d+\.\d+: )?[1-4]\) ", _text(call.args[0]))]


def _text(node: Any) -> str:
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def _check_link(page: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    assert file.exists(), f"{page.name}: {target}"
    if re.fullmatch(r"L\d+", anchor):
        assert int(anchor[1:]) <= len(file.read_text().splitlines())
    elif anchor:
        headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, target
