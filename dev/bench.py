"""./dev/bench: measure our operators and their peers side by side, in one run, on the same fake services.

./dev/bench worker     CPU-seconds that a worker process spends per task start, before deferring and on resume
./dev/bench slots      seconds that 100 sensors hold worker slots who wait 30 minutes each: in the worker, and deferred
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from environment import ROOT, InstallError, clean_environ, ready


def main(arguments: list[str]) -> int:
    """Run one measurement with the Python of `.venv`; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="dev/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["worker", "slots"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of `slots` to a file as well")
    options = parser.parse_args(arguments)
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        try:
            python = str(ready())
        except InstallError as problem:
            sys.exit(f"dev/bench: {problem}")
        os.execve(python, [python, __file__, *arguments], clean_environ())
    if options.what == "slots":
        from _bench import slots

        return slots.measure(options.json)
    from _bench.worker import measure

    return measure()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
