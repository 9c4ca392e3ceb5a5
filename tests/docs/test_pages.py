"""What the pages show is true: code runs, commands and options exist, links lead somewhere, messages are ours."""

from __future__ import annotations

import configparser
import inspect
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from airflow.cli import cli_parser

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.cloud_run import CloudRunJobOperator
from ork_provider.dataproc import DataprocBatchOperator, DataprocJobOperator
from ork_provider.dependency import DependencyWaitOperator
from ork_provider.dqops import (
    DqopsAssertTableStatusOperator,
    DqopsCollectStatisticsOperator,
    DqopsRunChecksOperator,
    DqopsTableImportOperator,
    DqopsWaitForJobOperator,
)
from ork_provider.dqops.base import DqopsGate, DqopsJobOperator, DqopsOperator
from ork_provider.http import HttpJobOperator, HttpJobSensor
from ork_provider.operator import WaitForJobsOperator, WaitOperator
from ork_provider.operator.many import JobsOperator
from ork_provider.operator.owner import OwnerOperator
from ork_provider.testing import __main__ as testing_command
from tests.conftest import Tell
from tests.docs.pages import PAGES, ROOT, Block, blocks, region
from tests.docs.shell import check_setting, commands, is_setting, shell_blocks, words_of

PYTHON = blocks("python")
SHELL = shell_blocks()
INI = blocks("ini")
PROGRAMS = ("ruff", "mypy", "mkdir", "printf", "kill", "curl", "grep", "ls", "python", "tail")
"""Programs whose arguments are not looked at; what of them is run says tests/docs/shell.py."""


@pytest.mark.parametrize("block", [b for b in PYTHON if b.file], ids=str)
def test_included_block_is_the_file(block: Block) -> None:
    """A block that shows a part of a file is that part; `python tests/docs/pages.py` fills it in."""
    assert block.file
    assert block.region
    assert block.code == region(block.file, block.region)


@pytest.mark.parametrize("block", [b for b in PYTHON if not b.file], ids=str)
def test_other_block_runs(block: Block) -> None:
    """Any other block runs by itself; a DAG in it has tasks."""
    from airflow.sdk import DAG

    names: dict[str, Any] = {"__name__": "docs"}
    exec(compile(block.code, str(block), "exec"), names)
    dags = [value for value in names.values() if isinstance(value, DAG)]
    assert ("with DAG(" in block.code) == ("DAG" in names)
    assert all(dag.tasks for dag in dags)


def test_every_region_is_shown() -> None:
    """No part of an example DAG is marked and then forgotten."""
    shown = {(block.file, block.region) for block in PYTHON}
    examples = [str(file.relative_to(ROOT)) for file in ROOT.glob("example_dags/*.py")]
    for file in (*examples, "tests/docs/user_tests.py"):
        for name in re.findall(r"# \[START (\w+)\]", (ROOT / file).read_text()):
            assert (file, name) in shown


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell_block(block: Block) -> None:
    """Shell blocks parse, and name scripts, modules, options and DAGs that exist."""
    subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)
    for command in commands(block):
        if not is_setting(command):
            _check_command(words_of(command))


def _check_command(words: list[str]) -> None:
    program, arguments = words[0], words[1:]
    options = {word for word in arguments if word.startswith("--")}
    if program.startswith("./"):
        assert (ROOT / program).is_file(), program
        assert options <= _options_of(program), f"{program} {options}"
    elif arguments[:2] == ["-m", "ork_provider.testing"]:
        assert options <= set(testing_command._parser()._option_string_actions)
    elif words[:3] == ["airflow", "dags", "test"]:
        assert any(re.search(rf'DAG\("{words[3]}"[,)]|def {words[3]}\(', text) for text in _dag_files())
    elif program == "airflow":
        cli_parser.get_parser().parse_args(arguments)  # exits with 2 for what there is not
    elif program == "pip":
        assert set(re.findall(r"\[(\w+)\]", " ".join(arguments))) <= set(_extras())
    else:
        assert program.removeprefix(".venv/bin/") in PROGRAMS, program


def _extras() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    return re.findall(r"^(\w+) = \[", text, re.MULTILINE)


def _options_of(script: str) -> set[str]:
    read_by = {"./dev/test": ["dev/checks.py", "tests/chaos/conftest.py"]}
    sources = [ROOT / name for name in read_by.get(script, [f"{script}.py"])]
    return {
        found for source in sources if source.exists() for found in re.findall(r'"(--[a-z-]+)"', source.read_text())
    }


def _dag_files() -> list[str]:
    return [block.code for block in PYTHON] + [file.read_text() for file in ROOT.glob("example_dags/*.py")]


def test_inline_commands() -> None:
    """Commands in running text name scripts and options that exist."""
    text = "\n".join(page.read_text() for page in PAGES)
    found = re.findall(r"`((?:\./|python -m ork_provider)[^`]*)`", text)
    assert found
    for command in found:
        _check_command(shlex.split(command))


@pytest.mark.parametrize("block", INI, ids=str)
def test_ini_block(block: Block) -> None:
    """An ini block is one that Airflow reads: sections and options that exist, values of their type."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(block.code)
    assert parser.sections()
    for section in parser.sections():
        for key in parser[section]:
            check_setting(section, key, parser[section][key])


def test_counts(tell: Tell) -> None:
    """Every block of Python runs: by itself here, or in the file that it is a part of, which a test of ours runs."""
    tests = "".join(
        file.read_text() for file in (*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("tests/docs/*_tests.py"))
    )
    files = {block.file for block in PYTHON if block.file}
    unrun = [file for file in files if not _is_run(file, tests)]
    assert unrun == []
    shown = sum(bool(block.file) for block in PYTHON)
    tell(f"Python blocks run: {len(PYTHON)} of {len(PYTHON)} ({shown} are parts of {len(files)} files that tests run)")
    tell(f"ini blocks read: {len(INI)} of {len(INI)}")
    lessons = sum(page.read_text().count("\n```python\n") for page in ROOT.glob("docs/tutorial/*.md"))
    tell(f"blocks of docs/tutorial/, each a file of a lesson that tests/tutorial runs: {lessons} of {lessons}")


def _is_run(file: str, tests: str) -> bool:
    """Whether a test starts a file: by its name, as a module, or by that of a DAG that it defines."""
    dags = re.findall(r'DAG\(\s*"(\w+)"|^def (\w+)\(', (ROOT / file).read_text(), re.MULTILINE)
    named = any(f'"{name}"' in tests for name in [Path(file).name, *(name for pair in dags for name in pair if name)])
    imported = re.search(rf"^\s*(from|import) {Path(file).stem}\b", tests, re.MULTILINE)
    return named or bool(imported) or Path(file).name.startswith("test_")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Links to pages, headings and files of this repository lead there."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


OWN = {
    "docs/bigquery.md": (BigQueryJobOperator,),
    "docs/cloud_run.md": (CloudRunJobOperator,),
    "docs/dataproc.md": (DataprocJobOperator, DataprocBatchOperator, DataprocJobOperator.__mro__[1]),
    "docs/dependency-wait.md": (DependencyWaitOperator,),
    "docs/dqops.md": (
        *(DqopsRunChecksOperator, DqopsCollectStatisticsOperator, DqopsTableImportOperator, DqopsJobOperator),
        *(DqopsAssertTableStatusOperator, DqopsWaitForJobOperator, DqopsGate, DqopsOperator),
    ),
    "docs/http.md": (HttpJobOperator, HttpJobSensor, HttpJobOperator.__mro__[1]),
    "docs/many-jobs.md": (WaitForJobsOperator, JobsOperator),
    "docs/waiting.md": (WaitOperator, OwnerOperator),
}


@pytest.mark.parametrize("page", OWN)
def test_parameter_tables(page: str) -> None:
    """The tables of parameters name each parameter of the operators, with the same default, and no other."""
    text = (ROOT / page).read_text().partition("\n## Parameters")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", text, re.MULTILINE))
    names = {name for cls in OWN[page] for name in _parameters(cls)}
    assert set(rows) == names


def _parameters(cls: type) -> list[str]:
    init = inspect.unwrap(vars(cls)["__init__"])
    named = inspect.signature(init).parameters.values()
    return [p.name for p in named if p.kind is p.KEYWORD_ONLY]


def test_troubleshooting_quotes_our_messages() -> None:
    """Every message that a heading of docs/troubleshooting.md quotes stands in the source."""
    source = "\n".join(file.read_text() for file in ROOT.glob("ork_provider/**/*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", source).replace("{STORE_KEY!r}", "'ork_attempt'")
    headings = re.findall(r"^### (.*)$", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE)
    for quoted in (text for heading in headings for text in re.findall(r"`([^`]+)`", heading)):
        if quoted != "answered 403":
            assert quoted in joined, quoted
    assert "{request} answered {status}" in source


def test_pages_speak_of_the_project_only() -> None:
    """No page names a path or a host of the machine that it was written on."""
    for page in PAGES:
        assert not re.search(r"/(?:work|home|root|tmp)/", page.read_text()), page
