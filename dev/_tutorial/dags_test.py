"""`airflow dags test` for several lessons in one process: Airflow's own command, without its start each time.

As a program, `python -m _tutorial.dags_test FOLDER DAG_ID...`: writes what each run prints to FOLDER/<dag_id>.log, and
`<dag_id> <state> <seconds>` lines to FOLDER/results-<first dag_id>.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def main(folder: Path, dag_ids: list[str]) -> None:
    """Run the lessons one after another."""
    with (folder / f"results-{dag_ids[0]}").open("w") as results:
        for dag_id in dag_ids:
            began = time.monotonic()
            with _output_to(folder / f"{dag_id}.log"):
                state = _test(dag_id)
            results.write(f"{dag_id} {state} {time.monotonic() - began:.1f}\n")
            results.flush()


def _test(dag_id: str) -> str:
    from airflow.cli.cli_parser import get_parser

    arguments = get_parser().parse_args(["dags", "test", dag_id])
    try:
        arguments.func(arguments)
    except SystemExit as end:
        if end.code == "DagRun failed":
            return "failed"
        raise
    return "success"


@contextlib.contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Send what this process and its children print to a file."""
    kept = [os.dup(number) for number in (1, 2)]
    with file.open("wb") as output:
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
