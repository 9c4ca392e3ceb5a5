"""./dev/tutorial: learn deferrable operators by running them.

    ./dev/tutorial                 start Airflow with all lessons and the systems they wait for, until Ctrl-C
    ./dev/tutorial list            the lessons
    ./dev/tutorial run 51.3.4      run one lesson in the terminal, by `airflow dags test`, and print what to notice
    ./dev/tutorial run 51.3.4 --deployed    ... through a real scheduler, triggerer and workers
    ./dev/tutorial pages           write docs/tutorial/ anew from the lessons

It needs no cloud and no account. The first run installs what it needs into .venv.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from environment import ROOT, InstallError, clean_environ, ready


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """End the program."""
        self.exit(2, f"{self.prog}: {message}\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; a mistake ends the program with one line."""
    parser = Parser(prog="dev/tutorial", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", metavar="N", type=int, help="port of Airflow's UI (default: a free one)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="print the lessons")
    commands.add_parser("pages", help="write docs/tutorial/ anew")
    run = commands.add_parser("run", help="run one lesson")
    run.add_argument("lesson", help="its number, such as 51.3.4")
    run.add_argument("--deployed", action="store_true", help="through a real scheduler, triggerer and workers")
    run.add_argument("--all", action="store_true", help="print the whole output too")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run a command with the Python of `.venv`, which has what it needs; return the exit code."""
    options = parse(arguments)
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        try:
            python = str(ready())
        except InstallError as problem:
            sys.exit(f"dev/tutorial: {problem}")
        os.execve(python, [python, __file__, *arguments], clean_environ())
    from _tutorial.commands import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
