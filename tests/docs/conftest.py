"""An AIRFLOW_HOME with a database and all DAGs of the documentation, for `airflow dags test`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="ork-tests-"))  # before airflow is imported

from tests.docs.pages import ROOT, blocks

Run = Callable[..., str]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run `python -m ...` in an Airflow home of its own; return what it prints, fail if it fails."""
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

    def run_module(*arguments: str, env: dict[str, str] | None = None) -> str:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(
            command,
            env={**environ, **(env or {})},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout[-8000:]}"
        return done.stdout

    run_module("airflow", "db", "migrate")
    return run_module


@pytest.fixture
def weather(tmp_path: Path) -> Path:
    """Return a folder that is the dataset `weather` with the table `seattle`: four years of a city's weather."""
    import vega_datasets

    folder = tmp_path / "weather"
    folder.mkdir()
    shutil.copy(Path(vega_datasets.__file__).parent / "_data" / "seattle-weather.csv", folder / "seattle.csv")
    return tmp_path
