"""Runs `airflow ...` again and again without importing Airflow each time: that saves seconds of each command.

As a program: one line of JSON per command, in and out. Each command runs in a fork of its own, through Airflow's own
entry point; the process that forks never opens the database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


class Forks:
    """Airflow's command line in one environment.

    :param modules: what the commands import themselves, imported once
    """

    def __init__(self, cwd: Path, environ: Mapping[str, str], *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            cwd=cwd,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command with more variables of the environment."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([arguments, environ]), file=self._process.stdin, flush=True)
        said = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(arguments, said["code"], said["out"], said["err"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=10)


def _run(arguments: list[str], environ: dict[str, str], folder: Path) -> dict[str, Any]:
    from airflow.__main__ import main

    out, err = folder / "out", folder / "err"
    child = os.fork()
    if not child:
        for number, file in ((1, out), (2, err)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        code: object = 1
        try:
            os.environ.update(environ)
            sys.argv = ["airflow", *arguments]
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 0 if code is None else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"code": code, "out": out.read_text(), "err": err.read_text()}


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a module says when it is imported is no answer
    del sys.path[0]  # the folder of this file
    from airflow.cli.cli_parser import get_parser

    get_parser()  # with the commands of all providers
    for module in sys.argv[1:]:
        import_module(module)
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            arguments, environ = json.loads(line)
            print(json.dumps(_run(arguments, environ, Path(folder))), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
