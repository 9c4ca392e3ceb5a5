"""How the fake DQOps reads a request, and how it refuses one: with Spring's error body and its stack trace."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from ork_provider.testing.faults import Answer, Refused
from ork_provider.testing.server import RecordedRequest

_REASONS = {400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}
_FRAMES = 120


def spring_error(request: RecordedRequest, status: int, message: str) -> Refused:
    """Build an error in the shape of Spring Boot's default, where stack traces are switched on.

    Source: https://docs.spring.io/spring-boot/reference/web/reactive.html
    """
    frames = "".join(f"\n\tat fake.server.Step{n}.run(Step{n}.java:{n})" for n in range(1, _FRAMES + 1))
    body = {
        "timestamp": dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds"),
        "path": request.path,
        "status": status,
        "error": _REASONS[status],
        "requestId": "fake-1",
        "message": message,
        "trace": f"java.lang.RuntimeException: {message}{frames}\n",
    }
    return Refused(Answer.json(body, status))


def json_object(request: RecordedRequest) -> dict[str, Any]:
    """Return the body, or refuse one that is no JSON object."""
    try:
        body = request.json
    except json.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise spring_error(request, 400, "Failed to read HTTP message")
    return body


def flag(request: RecordedRequest, name: str, default: bool) -> bool:
    """Return a query parameter that is true or false."""
    text = request.query.get(name, "").lower()
    if text not in ("", "true", "false"):
        raise spring_error(request, 400, f"Type mismatch: {name}")
    return text == "true" if text else default


def number(request: RecordedRequest, name: str, default: int) -> int:
    """Return a query parameter that is a whole number."""
    return _whole(request, name, request.query.get(name) or str(default))


def sequence(request: RecordedRequest, text: str) -> int:
    """Return the sequence number from the path of the feed."""
    return _whole(request, "sequenceNumber", text)


def _whole(request: RecordedRequest, name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as exc:
        raise spring_error(request, 400, f"Type mismatch: {name}") from exc
