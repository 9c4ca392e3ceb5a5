"""How the triggerers of the chaos suite call themselves in Airflow's database, so that one knows which is which."""

from __future__ import annotations

import socket
import sys


def hostname() -> str:
    """Return the component's name for a triggerer, the machine's for all others: Airflow's `hostname_callable`."""
    if "triggerer" not in sys.argv:
        return socket.gethostname()
    return "triggerer-2" if "--skip-serve-logs" in sys.argv else "triggerer"
