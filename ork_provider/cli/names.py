"""The names of the doctor's checks, in the order in which they are made; apart, because the parser needs them alone."""

from __future__ import annotations

CHECKS = (
    "database",
    "versions",
    "triggerer-alive",
    "trigger-row",
    "trigger-owner",
    "capacity",
    "deadline",
    "trigger-class",
    "triggerer-log",
    "event-loop",
    "open-files",
    "heartbeat-interval",
    "connections",
)
