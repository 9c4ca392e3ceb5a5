"""The commands in the pages' shell blocks: which test runs each of them as it stands.

A page whose blocks tell one story in a whole Airflow has a test of its own, in `STORIES`. The commands of the others
are sorted by how they begin, in `RUN_BY`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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

TOOLS = "tests/docs/test_tools.py"
ITSELF = "dev/checks.py"
RUN_BY = {
    r"pip install |\.venv/bin/(ruff|mypy) |\./dev/test tests/": TOOLS,
    r"\.venv/bin/python -m sphinx ": "tests/docs/test_site.py",
    r"\./dev/(demo|tutorial run)\b": "tests/e2e/test_first_commands.py",
    r"\./dev/tutorial$": "tests/tutorial/test_browser.py",
    r"\./dev/test( --chaos)?$": ITSELF,  # it is what runs all tests, the chaos suite last
    rf"export |{SERVE}|{DAGS_TEST}|{'|'.join(ASKED)}": "tests/docs/test_shell.py",
}
"""Beginnings of commands, and the test that runs them."""


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


def runner(block: Block, command: str) -> str:
    """Return the file that runs a command; "" for one that nobody has thought of."""
    page = str(block.page.relative_to(ROOT))
    if page in STORIES and not command.startswith("pip "):
        return STORIES[page]
    line = command.partition(" #")[0].rstrip()
    return next((test for pattern, test in RUN_BY.items() if re.match(pattern, line)), "")


def commands_of(test: str) -> list[str]:
    """List the commands that a test is to run, each once."""
    every = {(block, command) for block in shell_blocks() for command in commands(block)}
    return sorted({command for block, command in every if runner(block, command) == test})


def run_as_it_stands(command: str, **environ: str) -> str:
    """Run a command of a page in the checkout; return what it prints, fail if it fails."""
    code, said = run_in_bash(command, **environ)
    assert code == 0, f"{command}:\n{said[-8000:]}"
    return said


def run_in_bash(command: str, **environ: str) -> tuple[int, str]:
    """Run a command with these tests' Python for that of `.venv`; return its exit code and what it prints."""
    here = Path(sys.executable).parent
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTEST_"))}
    done = subprocess.run(
        ["bash", "-c", re.sub(r"^\.venv/bin\b", str(here), command)],
        cwd=ROOT,
        env={**own, "PATH": f"{here}{os.pathsep}{own['PATH']}", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


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
