"""./dev/demo: watch Airflow hand over many jobs at once and get its workers back.

Starts local stand-ins for BigQuery (it really runs SQL over files), Cloud Run and Dataproc (they really run a program),
DQOps and an API of HTTP jobs, and a whole Airflow with four worker slots. Runs a DAG with jobs of every kind, and one
task that waits for five jobs of different kinds; shows who holds a worker meanwhile; checks what came out; stops
everything at the end. It needs no cloud and no account. The first run installs what it needs into .venv.
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
    parser = Parser(prog="dev/demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", metavar="DIR", type=_folder, help="your CSV and Parquet files: folder.file is a table"
    )
    parser.add_argument("--sql", metavar="FILE", type=_file, help="your query, in BigQuery's SQL; @job is 0, 1, 2, ...")
    parser.add_argument(
        "--jobs", metavar="N", type=_count, default=4, help="queries, and as many HTTP jobs (default: 4)"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, default=Path("build", "demo.svg"), help="the timeline")
    parser.add_argument("--port", metavar="N", type=int, help="port of Airflow's UI (default: a free one)")
    parser.add_argument("--keep", action="store_true", help="leave Airflow running until Ctrl-C, to look around")
    options = parser.parse_args(arguments)
    if options.data and not options.sql:
        parser.error("--data needs --sql: the built-in query is for the built-in data")
    return options


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return Path(text)


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return Path(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 100")
    return int(text)


def main(arguments: list[str]) -> int:
    """Run the demo with the Python of `.venv`, which has what it needs; return the exit code."""
    options = parse(arguments)
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        try:
            python = str(ready())
        except InstallError as problem:
            sys.exit(f"dev/demo: {problem}")
        os.execve(python, [python, __file__, *arguments], clean_environ())
    from _demo.run import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
