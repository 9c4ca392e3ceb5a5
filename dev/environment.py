"""Makes the virtual environments of dev/test and dev/demo; needs nothing but a Python's standard library.

As a program: makes `.venv` ready and prints the path of its Python.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "dev" / "constraints" / "constraints.txt"
NO_DEPS = ROOT / "dev" / "constraints" / "no-deps.txt"
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


class InstallError(Exception):
    """A virtual environment could not be made; the message is for the user."""


def ready(version: str | None = None) -> Path:
    """Return the Python of `.venv`, or of `.venv-<version>`, made and filled if it is not up to date."""
    venv = ROOT / (f".venv-{version}" if version else ".venv")
    python = venv / "bin" / "python"
    if version_of(python) not in ([version] if version else SUPPORTED):
        _create(venv, version)
    stamp, wanted = venv / "ork-installed", _fingerprint()
    if not stamp.exists() or stamp.read_text() != wanted:
        _install(python)
        stamp.write_text(wanted)
    return python


def find_python(version: str) -> str | None:
    """Return a Python of this version that really runs: on the PATH, from pyenv, or known to uv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    names = [f"python{version}", "python3", *(str(p) for p in sorted(pyenv.glob(f"{version}.*/bin/python")))]
    for name in [*names, *_known_to_uv(version)]:
        path = shutil.which(name)
        if path and version_of(path) == version:
            return path
    return None


def version_of(python: str | Path) -> str | None:
    """Return the minor version of a Python, such as "3.12"; None if there is none at that path."""
    try:
        answer = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def clean_environ() -> dict[str, str]:
    """Return the caller's environment without what would change Airflow, Python or uv under us."""
    foreign = ("AIRFLOW", "_AIRFLOW", "PYTHON", "PYTEST", "VIRTUAL_ENV", "UV_PROJECT")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _known_to_uv(version: str) -> list[str]:
    uv = ROOT / ".venv" / "bin" / "uv"
    if not uv.exists():
        return []
    command = [str(uv), "python", "find", "--no-python-downloads", "--no-project", version]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def _fingerprint() -> str:
    """Return a hash of what a virtual environment follows from; a moved checkout needs a new one, too."""
    files = (CONSTRAINTS, NO_DEPS, ROOT / "pyproject.toml")
    parts = [str(ROOT).encode(), *(file.read_bytes() for file in files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _create(venv: Path, version: str | None) -> None:
    python = find_python(version) if version else sys.executable
    if python is None:
        raise InstallError(f"No Python {version} was found.")
    _run([python, "-m", "venv", "--clear", str(venv)], f"Could not make {venv.name}.")


def _install(python: Path) -> None:
    venv = python.parent.parent
    headline = f"Installing into {venv.name} (Python {version_of(python)}); the first time takes minutes ..."
    print(headline, file=sys.stderr, flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    uv = [str(venv / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(python)]
    what = ["-e", f"{ROOT}[sandbox]", "--group", f"{ROOT / 'pyproject.toml'}:dev", "-c", str(CONSTRAINTS)]
    _run([*pip, "-c", str(CONSTRAINTS), "pip", "uv"], "Could not install uv; is a package index in reach?")
    for step in (what, ["--no-deps", "-r", str(NO_DEPS)]):
        try:
            _run([*uv, *step], "uv could not install.")
        except InstallError:  # pip knows of the indexes that only its own configuration names
            _run([*pip, *step], f"Could not install the package and its tools into {venv.name}.")


def _run(command: list[str], failure: str) -> None:
    environ = {**clean_environ(), "UV_PYTHON_DOWNLOADS": "never"}
    silent = subprocess.DEVNULL
    done = subprocess.run(command, env=environ, cwd=ROOT, stdin=silent, stdout=sys.stderr, check=False)
    if done.returncode:
        raise InstallError(failure)


if __name__ == "__main__":
    try:
        print(ready())
    except InstallError as problem:
        sys.exit(str(problem))
