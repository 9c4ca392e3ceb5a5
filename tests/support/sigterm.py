"""A SIGTERM at a moment of the test's choice; the fixture `sigterm` of the contract tests passes it on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable


def kill_after(seconds: float, once: Callable[[], object] = lambda: True) -> None:
    """Send SIGTERM so many seconds after something is true."""

    def kill() -> None:
        while not once():
            time.sleep(0.02)
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=kill, daemon=True).start()
