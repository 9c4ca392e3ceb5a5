"""Makes docs/tutorial/ from the lessons: a page for each section, an index, a table of where each point is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from _tutorial.catalog import PLUGINS, POINTS, ROOT, Lesson, lessons
from _tutorial.special import ALONE, CHECKLIST, NOT_IN_DAGS_TEST, SECTIONS, WITHOUT_TRIGGERER

DOCS = ROOT / "docs" / "tutorial"
_MADE = "<!-- made from the lessons by `./dev/tutorial pages`; do not edit -->\n\n"


def pages() -> dict[Path, str]:
    """Return the text of every page, by its file."""
    found = lessons()
    sections = {name: list(group) for name, group in groupby(found, key=lambda lesson: lesson.section)}
    made = {DOCS / "index.md": _index(sections), DOCS / "points.md": _points(found)}
    made |= {_file(group): _section(name, group) for name, group in sections.items()}
    return {file: _MADE + text for file, text in made.items()}


def write() -> list[Path]:
    """Write the pages that differ, remove those that no lesson makes; return the files that were touched."""
    wanted = pages()
    DOCS.mkdir(exist_ok=True)
    stale = [file for file in DOCS.glob("*.md") if file not in wanted]
    changed = [file for file, text in wanted.items() if not file.exists() or file.read_text() != text]
    for file in stale:
        file.unlink()
    for file in changed:
        file.write_text(wanted[file])
    return changed + stale


def _file(section: list[Lesson]) -> Path:
    return DOCS / f"{section[0].file.parent.name}.md"


def _index(sections: dict[str, list[Lesson]]) -> str:
    lines = [
        "# Tutorial: deferrable operators in Airflow 3.3",
        "",
        f"{sum(map(len, sections.values()))} lessons, each a DAG that runs and measures what it teaches. "
        "[Where each point is shown](points.md).",
        "",
        "```console",
        "./dev/tutorial",
        "./dev/tutorial run 51.1.1",
        "```",
        "",
        "The first starts Airflow with all lessons, and stand-ins for the systems that they wait for, until Ctrl-C; in "
        "the UI, trigger a DAG and read its page behind *Dag Docs*. The second runs one lesson in the terminal and "
        "prints what to notice.",
        "",
        "In an Airflow of your own: copy the lessons into the DAGs folder and `example_dags/plugins/` into the plugins "
        "folder of every component, restart the triggerer, and export the connections that "
        "`python -m ork_provider.testing` prints.",
        "",
    ]
    for name, group in sections.items():
        title, about = SECTIONS[name]
        lines += [
            f"## {name} [{title}]({_file(group).name})",
            "",
            about,
            "",
            "| lesson | about | tags |",
            "|---|---|---|",
        ]
        for lesson in group:
            link = f"[{lesson.number} {lesson.title}]({_file(group).name}#{_anchor(lesson)})"
            lines.append(f"| {link} | {_first_sentence(lesson)} | {', '.join(lesson.tags)} |")
        lines.append("")
    lines += _exceptions()
    return "\n".join(lines).rstrip() + "\n"


def _exceptions() -> list[str]:
    kinds = (
        ("Lessons that cannot behave under `airflow dags test`", NOT_IN_DAGS_TEST),
        ("Lessons that want no triggerer", WITHOUT_TRIGGERER),
        ("Lessons that hurt the triggerer: run nothing beside them", ALONE),
    )
    lines = []
    for title, reasons in kinds:
        if reasons:
            lines += [f"## {title}", "", *(f"- {number}: {reason}" for number, reason in reasons.items()), ""]
    return lines


def _section(name: str, group: list[Lesson]) -> str:
    title, about = SECTIONS[name]
    lines = [f"# {name} {title}", "", about, "", "| lesson | leads to |", "|---|---|"]
    for lesson in group:
        onwards = " ".join(lesson.parts["Next"].split())
        lines.append(f"| [{lesson.number} {lesson.title}](#{_anchor(lesson)}) | {onwards} |")
    for lesson in group:
        shifted = re.sub(r"^(#+ )", r"#\1", lesson.page, flags=re.MULTILINE)
        lines += ["", shifted, "", *_code(lesson.file, lesson.code)]
        tests = lesson.file.with_name(f"test_{lesson.file.name}")
        if tests.exists():
            lines += ["", "Its tests:", "", *_code(tests, tests.read_text())]
    for module in _modules(group):
        lines += ["", f"## {module.name}", "", *_code(module, module.read_text())]
    return "\n".join(lines) + "\n"


def _code(file: Path, code: str) -> list[str]:
    relative = file.relative_to(ROOT)
    return [f"[{relative}](../../{relative})", "", "```python", code.rstrip("\n"), "```"]


def _modules(group: list[Lesson]) -> list[Path]:
    """Return the modules of the plugins folder that the section's lessons import, but those that all share last."""
    used = {module for lesson in group for module in re.findall(r"(?:from|import) (lesson_\w+)", lesson.source)}
    return sorted(file for file in PLUGINS.glob("*.py") if file.stem in used)


def _points(found: Iterable[Lesson]) -> str:
    lines = [
        "# Where each point is shown",
        "",
        "Each line says so itself when it runs: it logs the point's number. `./dev/test` runs every lesson both ways, "
        "and looks for the numbers.",
        "",
        "| lesson | point | shown at |",
        "|---|---|---|",
    ]
    by_number = {lesson.number: lesson for lesson in found}
    for lesson in by_number.values():
        for point in POINTS:
            lines.append(f"| {lesson.number} | {point}. {lesson.points[point]} | {_places(lesson, point)} |")
    lines += ["", "## The suite as a whole", "", "| point | shown by |", "|---|---|"]
    for name, shown in CHECKLIST.items():
        where = [
            f"{number} ({point}): {_places(by_number[number], point)}" for number, point in shown if number in by_number
        ]
        lines.append(f"| {name} | {'; '.join(where)} |")
    return "\n".join(lines) + "\n"


def _places(lesson: Lesson, point: int) -> str:
    links = []
    for file, line in lesson.places(point):
        relative = file.relative_to(ROOT)
        links.append(f"[{file.name}:{line}](../../{relative}#L{line})")
    return ", ".join(links)


def _anchor(lesson: Lesson) -> str:
    """Return the anchor that GitHub gives the lesson's heading."""
    return re.sub(r"[^\w\- ]", "", f"{lesson.number} {lesson.title}".lower()).replace(" ", "-")


def _first_sentence(lesson: Lesson) -> str:
    return re.split(r"(?<=[.!?])\s", " ".join(lesson.parts[""].split()), maxsplit=1)[0]
