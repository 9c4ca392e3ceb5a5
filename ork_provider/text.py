"""Texts that others have written, as they may stand in one line of a log: cut, and without control characters."""

from __future__ import annotations

MESSAGE = 2000
"""Characters of a service's own words about a job."""

NAME = 500
"""Characters of a name that a service gives to something."""

WORD = 80
"""Characters of a service's word for a job's state."""


def one_line(text: str, limit: int = MESSAGE) -> str:
    """Return a text as one line of at most ``limit`` characters.

    Whoever can make a job fail can choose its message, and with a line break in it write lines of the log that look
    like Airflow's own; with a terminal's control sequences it can hide others. Line breaks and the spaces around them
    become one space, and what does not print (controls, marks that turn the direction of writing) is spelt out.
    """
    if not text.isprintable():
        text = " ".join("".join(map(_spell, text[: 4 * limit])).split())
    return text[:limit]


def _spell(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else ascii(character)[1:-1]
