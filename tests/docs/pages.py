"""The Markdown pages and their blocks of code; as a program it fills in the blocks that are parts of other files."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "tutorial"
)
"""All pages but those of docs/tutorial/, which are made from the lessons and tested with them."""

_BLOCK = re.compile(
    r"(?:^<!-- include (?P<file>\S+) (?P<region>\w+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block of code; `file` and `region` say which part of which file it shows, if it does."""

    page: Path
    line: int
    language: str
    code: str
    file: str | None
    region: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """List the blocks of all pages in these languages."""
    found = [_block(page, text, match) for page in PAGES for text in [page.read_text()] for match in _matches(text)]
    return [block for block in found if block.language in languages]


def region(file: str, name: str) -> str:
    """Return the lines of a file between `# [START name]` and `# [END name]`, without their common indent."""
    text = (ROOT / file).read_text()
    match = re.search(rf"^ *# \[START {name}\]\n(.*?)^ *# \[END {name}\]$", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise LookupError(f"{file} has no region {name}")
    code = re.sub(r"  # noqa.*", "", textwrap.dedent(match[1]))
    return code.strip("\n") + "\n"


def _matches(text: str) -> list[re.Match[str]]:
    return list(_BLOCK.finditer(text))


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    line = text.count("\n", 0, match.start("code"))
    return Block(page, line, match["language"], match["code"], match["file"], match["region"])


def _filled(match: re.Match[str]) -> str:
    if match["file"] is None:
        return match[0]
    head = f"<!-- include {match['file']} {match['region']} -->\n```{match['language']}\n"
    return f"{head}{region(match['file'], match['region'])}```"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(_BLOCK.sub(_filled, page.read_text()))
