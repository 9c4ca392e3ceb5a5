"""JSON paths to one place: ``status``, ``$.job.status``, ``$.items[0]['the state']`` (RFC 9535, singular queries)."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ork_provider.errors import InvalidJob
from ork_provider.job import show
from ork_provider.templates import is_template

_STEP = re.compile(
    r"""\.?(?P<name>[A-Za-z_\u0080-\U0010FFFF][\w\u0080-\U0010FFFF-]*)
      | \[(?P<index>-?[0-9]{1,9})\]
      | \['(?P<single>[^']*)'\]
      | \["(?P<double>[^"]*)"\]""",
    re.VERBOSE,
)

MISSING: Any = object()
"""What ``find`` returns where there is nothing; None is a JSON null."""


def parse_path(path: object, where: str = "path") -> tuple[str | int, ...]:
    """Return the steps of a path; raise InvalidJob naming ``where`` if it is none."""
    steps = _steps(path) if isinstance(path, str) else None
    if steps is None:
        raise InvalidJob(
            f"{where}: {show(path)} is not a path to one value; write for example 'status', '$.job.status' "
            "or '$.items[0].state'."
        )
    return steps


@cache
def _steps(path: str) -> tuple[str | int, ...] | None:
    rest = path.removeprefix("$")
    steps: list[str | int] = []
    while rest:
        match = _STEP.match(rest)
        if match is None or (steps and match["name"] and not rest.startswith(".")):
            return None
        steps.append(_step(match))
        rest = rest[match.end() :]
    return tuple(steps) if path else None


def check_path(path: object, where: str) -> None:
    """Raise InvalidJob naming ``where`` for what is no path; None, a template and an XComArg are left for later."""
    if path is not None and not is_template(path):
        parse_path(path, where)


def _step(match: re.Match[str]) -> str | int:
    if match["index"] is not None:
        return int(match["index"])
    return next(text for text in (match["name"], match["single"], match["double"]) if text is not None)


def find(document: Any, path: str) -> Any:
    """Return the value at the path, or MISSING. A plain name that is a key of the document is that key."""
    if isinstance(document, dict) and path in document:
        return document[path]
    for step in parse_path(path):
        document = _take(document, step)
    return document


def _take(document: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return document.get(step, MISSING) if isinstance(document, dict) else MISSING
    if isinstance(document, list) and -len(document) <= step < len(document):
        return document[step]
    return MISSING
