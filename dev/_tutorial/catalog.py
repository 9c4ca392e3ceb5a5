"""The lessons as data: number, tags, the page in the docstring, its points and the lines that show them."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ROOT / "example_dags"
PLUGINS = LESSONS / "plugins"

HEADINGS = ("You will see", "Watch", "Expect", "Needs", "Next")
POINTS = (1, 2, 3, 4)
_FILE = re.compile(r"(\d\d)_(\d\d)_(\d\d)_\w+\.py")
_TITLE = re.compile(r"# (51\.\d+\.\d+) (.+)")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_ITEM = re.compile(r"^(\d)\. (.+?)(?=^\d\. |\Z)", re.MULTILINE | re.DOTALL)


class BadLessonError(Exception):
    """A lesson lacks a part that every lesson has; the message says which lesson and part."""


@dataclass(frozen=True)
class Lesson:
    """One lesson: a DAG file whose docstring is its page."""

    file: Path

    @cached_property
    def number(self) -> str:
        """Such as "51.3.4"."""
        match = _FILE.fullmatch(self.file.name)
        if match is None:
            raise BadLessonError(f"{self.file} is not named as a lesson: 51_NN_NN_words.py")
        return ".".join(str(int(part)) for part in match.groups())

    @property
    def dag_id(self) -> str:
        """The file's name without .py."""
        return self.file.stem

    @property
    def section(self) -> str:
        """Such as "51.3"."""
        return self.number.rpartition(".")[0]

    @cached_property
    def source(self) -> str:
        """The file's text."""
        return self.file.read_text()

    @cached_property
    def page(self) -> str:
        """The docstring: Markdown."""
        page = ast.get_docstring(ast.parse(self.source))
        if not page:
            raise BadLessonError(f"{self.file} has no docstring")
        return page

    @cached_property
    def code(self) -> str:
        """The source after the docstring."""
        end = ast.parse(self.source).body[0].end_lineno
        return "".join(self.source.splitlines(keepends=True)[end:]).strip("\n") + "\n"

    @cached_property
    def title(self) -> str:
        """Its title without the number."""
        match = _TITLE.match(self.page)
        if match is None or match[1] != self.number:
            raise BadLessonError(f"The docstring of {self.file} does not begin with `# {self.number} <title>`")
        return match[2].strip()

    @cached_property
    def parts(self) -> dict[str, str]:
        """The text below each heading of the page; "" is what stands above the first one."""
        pieces = _HEADING.split(self.page)
        parts = {"": pieces[0].partition("\n")[2].strip()}
        return parts | {name: text.strip() for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}

    @cached_property
    def points(self) -> dict[int, str]:
        """What the lesson shows, by number."""
        items = _ITEM.findall(self.parts.get("You will see", ""))
        return {int(number): " ".join(text.split()) for number, text in items}

    @cached_property
    def tags(self) -> list[str]:
        """The DAG's tags."""
        for node in ast.walk(ast.parse(self.source)):
            if isinstance(node, ast.keyword) and node.arg == "tags":
                return [str(tag) for tag in ast.literal_eval(node.value)]
        raise BadLessonError(f"{self.file} has no DAG with tags")

    @property
    def ends(self) -> str:
        """The state in which a run ends: success or failed."""
        return "failed" if "failure" in self.tags else "success"

    def places(self, point: int) -> list[tuple[Path, int]]:
        """Return the lines that show a point: those that log it, or tests whose docstring begins with it."""
        own = re.compile(rf'"\({point}\) |"\({re.escape(self.number)}: {point}\) ')
        foreign = re.compile(rf'"\({re.escape(self.number)}: {point}\) ')
        tests = self.file.with_name(f"test_{self.file.name}")
        found = _lines(self.file, own) + (_lines(tests, own) if tests.exists() else [])
        return found + [place for module in sorted(PLUGINS.glob("*.py")) for place in _lines(module, foreign)]

    def shown(self, output: str) -> set[int]:
        """Return the points that a run has logged."""
        said = re.findall(rf"(?<![\w(\"'])\((?:{re.escape(self.number)}: )?([1-9])\) ", output)
        return {int(number) for number in said}


def lessons() -> list[Lesson]:
    """List all lessons in their order."""
    return [Lesson(file) for file in sorted(LESSONS.glob("51_*/51_*.py"))]


def lesson(number: str) -> Lesson:
    """Return the lesson of a number such as 51.3.4; raise LookupError if there is none."""
    for one in lessons():
        if number in (one.number, one.dag_id):
            return one
    raise LookupError(f"There is no lesson {number}; `./dev/tutorial list` shows all.")


def _lines(file: Path, pattern: re.Pattern[str]) -> list[tuple[Path, int]]:
    return [(file, n) for n, line in enumerate(file.read_text().splitlines(), 1) if pattern.search(line)]
