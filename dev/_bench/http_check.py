"""The user's function of HttpEventTrigger in ./dev/bench; small, because the trigger reloads it at every poll."""

from __future__ import annotations

from typing import Any


async def has_ended(response: Any) -> bool:
    """Say whether an HTTP job has ended."""
    return bool(response.json()["job"]["done"])
