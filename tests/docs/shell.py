"""The commands in the pages' shell blocks: what runs each of them, or why it is only checked.

A command is run when a test executes it as it stands; every other one has its reason in `ONLY_CHECKED`. A page whose
blocks tell one story in a whole Airflow has a test of its own, in `STORIES`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from tests.docs.pages import ROOT, Block, blocks

STORIES = {
    "docs/command-line.md": "tests/doctor/test_doctor.py",
    "docs/debugging.md": "tests/docs_airflow/test_trouble.py",
    "docs/lifecycle.md": "tests/docs_airflow/test_trouble.py",
    "docs/quickstart.md": "tests/docs_airflow/test_quickstart.py",
}
"""Pages, and the test that runs all their shell blocks in order."""

SERVE = "python -m ork_provider.testing "
DAGS_TEST = "airflow dags test "
ASKED = ("airflow config get-value ", "airflow ork waiting", "airflow ork doctor")
"""Airflow's commands that end by themselves and need nothing but a database."""

ONLY_CHECKED = {
    r"pip install ": "the package is on no index yet; its name and its extras are compared with pyproject.toml",
    r"\./dev/test\b": "is what runs this test; its options are compared with its source",
    r"\./dev/(demo|bench)\b": "takes minutes; its options are compared with its source",
    r"\./dev/tutorial\b": "tests/tutorial/test_browser.py starts it; every lesson runs in tests/tutorial",
    r"\./dev/constraints/update\b": "writes the constraints anew from the package index",
    r"\.venv/bin/python -m sphinx ": "tests/docs/test_site.py builds the site so, into another folder",
    r"\.venv/bin/(ruff|mypy)\b": "./dev/test runs it as a step of its own",
}
"""Commands that no test executes as they stand, and why; test_pages.py checks that what they name exists."""


def shell_blocks() -> list[Block]:
    """List the shell blocks of all pages."""
    return blocks("console", "bash")


def commands(block: Block) -> Iterator[str]:
    """Yield the commands of a block, each with the lines that continue it."""
    pending = ""
    for line in block.code.splitlines():
        pending = f"{pending}\n{line}" if pending else line
        if not _is_open(pending):
            if pending.strip() and not pending.startswith("#"):
                yield pending
            pending = ""
    assert not pending, f"{block}: a quote is not closed"


def words_of(command: str) -> list[str]:
    """Return the words of a command up to the first pipe, redirection or `&`, without comments."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;<>"):
            break
        words.append(word)
    return words[:-1] if len(words) > 1 and words[-1].isdigit() and re.search(rf"{words[-1]}>", command) else words


def treatment(block: Block, command: str) -> str:
    """Return "run: by what", "checked: why", or "nothing: " for a command that nobody has thought of."""
    page = str(block.page.relative_to(ROOT))
    reason = next((why for pattern, why in ONLY_CHECKED.items() if re.match(pattern, command)), None)
    if reason:
        return f"checked: {reason}"
    if page in STORIES:
        return f"run: {STORIES[page]}"
    if is_setting(command) or command.startswith((SERVE, DAGS_TEST, *ASKED)):
        return "run: tests/docs/test_shell.py"
    return f"nothing: {block} {command}"


def is_setting(command: str) -> bool:
    """Whether a command only sets environment variables."""
    return command.startswith("export ")


def check_setting(section: str, key: str, value: str) -> None:
    """Fail if Airflow or this provider has no such setting, or one of another type."""
    from airflow.configuration import retrieve_configuration_description

    from ork_provider.provider_info import get_provider_info

    known = {**retrieve_configuration_description(include_providers=False), **get_provider_info()["config"]}
    kind = known[section]["options"][key]["type"]
    reads = {"integer": int, "float": float, "boolean": {"true": True, "false": False}.__getitem__}
    reads.get(kind, str)(value.lower())


def _is_open(text: str) -> bool:
    if text.endswith("\\"):
        return True
    try:
        shlex.split(text, comments=True)
    except ValueError:  # no closing quotation
        return True
    return False
