"""An AIRFLOW_HOME with a database and all DAGs of the documentation, for `airflow dags test`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="ork-tests-"))  # before airflow is imported

from tests.docs.pages import ROOT, blocks
from tests.docs.shell import commands_of, run_in_bash
from tests.support.forks import Forks

Run = Callable[..., str]


@dataclass(frozen=True)
class Site:
    """What `sphinx-build` has made.

    :param code: its exit code
    :param said: its warnings
    :param folder: the HTML
    """

    code: int
    said: str
    folder: Path
    seconds: float

    @property
    def pages(self) -> set[str]:
        """The names of the pages that were made of Markdown."""
        found = {str(file.relative_to(self.folder).with_suffix("")) for file in self.folder.rglob("*.html")}
        return found - {"genindex", "py-modindex", "search"}

    def html(self, page: str) -> str:
        """Return a page."""
        return Path(self.folder, f"{page}.html").read_text(encoding="utf-8")


def build(command: str, folder: Path) -> Site:
    """Build a site by a command that writes it to this folder, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    code, said = run_in_bash(command)
    return Site(code, said, folder, time.monotonic() - began)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Build the documentation as CONTRIBUTING.md says, once for all processes of a pytest run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (command,) = commands_of("tests/docs/test_site.py")
    folder, said = ROOT / command.split()[-1], shared / "site.txt"
    with open(shared / "site.lock", "w") as lock:
        flock(lock, LOCK_EX)
        if not said.exists():
            site = build(command, folder)
            said.write_text(f"{site.code} {site.seconds}\n{site.said}")
    head, _, text = said.read_text().partition("\n")
    code, seconds = head.split()
    return Site(int(code), text, folder, float(seconds))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run `python -m ...` in an Airflow home of its own; return what it prints, fail if its exit code is another."""
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    dags.mkdir()
    for file in (*ROOT.glob("example_dags/example_*.py"), *ROOT.glob("tests/docs/dags/*.py")):
        shutil.copy(file, dags)
    readme = next(block for block in blocks("python") if block.page.name == "README.md")
    (dags / "readme.py").write_text(readme.code)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTEST_"))},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([str(dags), str(ROOT)]),
    }
    forks = Forks(home, environ, "airflow.api_fastapi.execution_api.app", "airflow.cli.commands.dag_command")

    def run_module(module: str, *arguments: str, env: dict[str, str] | None = None, code: int = 0) -> str:
        if module == "airflow":
            done = forks(*arguments, **(env or {}))
        else:
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                env={**environ, **(env or {})},
                cwd=home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{module} {' '.join(arguments)}:\n{said[-8000:]}"
        return said

    try:
        run_module("airflow", "db", "migrate")
        yield run_module
    finally:
        forks.close()


@pytest.fixture
def weather(tmp_path: Path) -> Path:
    """Return a folder that is the dataset `weather` with the table `seattle`: four years of a city's weather."""
    import vega_datasets

    folder = tmp_path / "weather"
    folder.mkdir()
    shutil.copy(Path(vega_datasets.__file__).parent / "_data" / "seattle-weather.csv", folder / "seattle.csv")
    return tmp_path
