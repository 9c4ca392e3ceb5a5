"""Runs `airflow ...` again and again without importing Airflow each time: one line of JSON per command, in and out.

Each command runs in a fork of its own, through Airflow's own entry point; this process itself never opens the database.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from airflow.__main__ import main
from airflow.cli.cli_parser import get_parser


def run(arguments: list[str], folder: Path) -> dict[str, object]:
    """Run one command; return its exit code and what it printed."""
    out, err = folder / "out", folder / "err"
    child = os.fork()
    if not child:
        for number, file in ((1, out), (2, err)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        code: object = 1
        try:
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


if __name__ == "__main__":
    get_parser()  # with the commands of all providers
    import ork_provider.cli.doctor
    import ork_provider.cli.explain
    import ork_provider.cli.waiting  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            print(json.dumps(run(json.loads(line), Path(folder))), flush=True)
