"""Makes an operator write down the CPU-seconds of its worker process when it defers and when it has finished.

LocalExecutor forks a process for each start of a task; its CPU clock begins at zero there.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any


def note(operator: str, moment: str) -> None:
    """Append one measurement to the file that ORK_BENCH_FILE names."""
    line = json.dumps({"operator": operator, "moment": moment, "cpu_seconds": time.process_time()})
    with open(os.environ["ORK_BENCH_FILE"], "a") as file:
        file.write(line + "\n")


class Measured:
    """Mixed into an operator, before it."""

    def defer(self, **arguments: Any) -> Any:
        """Note the CPU time, then defer."""
        note(type(self).__name__, "defer")
        return super().defer(**arguments)  # type: ignore[misc]

    def execute_complete(self, context: Any, event: Any = None, **more: Any) -> Any:
        """Finish, then note the CPU time."""
        result = super().execute_complete(context, event, **more)  # type: ignore[misc]
        note(type(self).__name__, "resume")
        return result
