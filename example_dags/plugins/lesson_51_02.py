"""What lessons of section 51.2 share: things that happen later, outside of Airflow.

A process of its own lets them happen, because a task's process ends with the task (and `airflow dags test` runs one
task after another).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

_DELIVER = """
import os, sys, time
path, seconds = sys.argv[1:]
time.sleep(float(seconds))
with open(path + ".part", "w") as file:
    file.write("id,amount\\n1,10\\n")
os.rename(path + ".part", path)
"""
_SUBMIT = """
import sys, time, urllib.request
url, count, pause = sys.argv[1:]
http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(int(count)):
    time.sleep(float(pause))
    http.open(urllib.request.Request(url, b"{}", {"Content-Type": "application/json"}), timeout=5).close()
"""


def deliver_later(path: str, seconds: float) -> float:
    """Let a file arrive, under another name first and then renamed; return when (seconds since the epoch)."""
    _run(_DELIVER, path, seconds)
    return time.time() + seconds


def submit_later(url: str, count: int, pause: float) -> None:
    """Post so many jobs to an HTTP API, with a pause before each, as another system would."""
    _run(_SUBMIT, url, count, pause)


def _run(program: str, *arguments: Any) -> None:
    """Start a Python program that outlives the task, and holds none of its files open."""
    silent: Any = subprocess.DEVNULL
    subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=silent,
        stdout=silent,
        stderr=silent,
        start_new_session=True,
    )


async def longest_pause(while_: list[asyncio.Future[Any]]) -> float:
    """Return for how many seconds, at most, the event loop stood still until the futures are done."""
    longest = 0.0
    while not all(one.done() for one in while_):
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - before - 0.005)
    return longest
