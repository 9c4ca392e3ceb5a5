"""A clock that only the test moves."""

from __future__ import annotations


class Ticks:
    """The time of a fake; it stands still until the test adds to ``seconds``."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds
