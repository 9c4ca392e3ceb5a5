"""The pages' commands that install the package, and those for who works on it, run as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.docs.shell import TOOLS, commands_of, run_as_it_stands, words_of

pytestmark = pytest.mark.timeout(300)

ALL = commands_of(TOOLS)
INSTALLS = [command for command in ALL if command.startswith("pip install ")]
OTHERS = [command for command in ALL if command not in INSTALLS]
OURS = [command for command in INSTALLS if "airflow-provider-ork" in command]


@pytest.mark.parametrize("command", OTHERS, ids=range(len(OTHERS)))  # by its name `-k` would find this test itself
def test_tools(command: str) -> None:
    """What CONTRIBUTING.md says to run before a commit passes, and tests are found by file and by name."""
    said = run_as_it_stands(command)
    assert (" passed" in said and " failed" not in said) if "/dev/test" in command else said


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package as it would be on an index."""
    folder = tmp_path_factory.mktemp("wheels")
    run_as_it_stands(f"pip wheel --quiet --no-deps --wheel-dir {folder} .")
    return folder


@pytest.mark.parametrize("command", OURS)
def test_install(command: str, wheels: Path, tmp_path: Path) -> None:
    """The package installs by its name, and with its extra, where an index has it; its files are ours."""
    settings = {"FIND_LINKS": str(wheels), "NO_INDEX": "1", "NO_DEPS": "1", "TARGET": str(tmp_path)}
    run_as_it_stands(command, **{f"PIP_{name}": value for name, value in settings.items()})
    installed = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.glob("ork_provider/**/*.py")}
    assert installed == {file.relative_to(ROOT): file.read_bytes() for file in ROOT.glob("ork_provider/**/*.py")}


@pytest.mark.parametrize("command", sorted({*INSTALLS} - {*OURS}))
def test_install_others(command: str) -> None:
    """What else a page says to install is what the tests of that page use: it is there already."""
    assert f"already satisfied: {words_of(command)[-1]}" in run_as_it_stands(command, PIP_DRY_RUN="1", PIP_NO_INDEX="1")
