"""What can go wrong between a client and a service, as values that a fake server acts out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

HTML_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: status, body bytes and headers."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """Build an answer whose body is `value` as JSON."""
        body = json.dumps(value, separators=(",", ":")).encode()
        return cls(status, body, {"Content-Type": "application/json; charset=UTF-8", **(headers or {})})

    @classmethod
    def google_error(cls, code: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Build an error in the JSON shape of Google's APIs.

        Source: https://cloud.google.com/bigquery/docs/error-messages
        """
        error: dict[str, Any] = {
            "code": code,
            "message": message,
            "errors": [{"message": message, "domain": "global", "reason": reason}],
        }
        if status := _GOOGLE_STATUS.get(code):
            error["status"] = status
        return cls.json({"error": error}, code, headers)


_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Refused(Exception):
    """A handler of a fake gives `answer` instead of its usual one."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status, answer.body[:200])
        self.answer = answer


@dataclass(frozen=True)
class Fault:
    """One misbehaviour of the network or of the service; use the factories below.

    `after=True` means that the service does the work (a job is really created) and only the answer
    goes wrong; otherwise the request has no effect.
    """

    kind: str
    ending: Literal["reply", "reset", "truncate"] = "reply"
    answer: Answer | None = None
    seconds: float = 0.0
    after: bool = False

    @classmethod
    def status(
        cls,
        status: int,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        after: bool = False,
    ) -> Fault:
        """Answer with `status`; `body` is bytes, text or a JSON value."""
        if isinstance(body, (str, bytes)) or body is None:
            raw = body.encode() if isinstance(body, str) else body or b""
            answer = Answer(status, raw, {"Content-Type": "text/plain; charset=utf-8", **(headers or {})})
        else:
            answer = Answer.json(body, status, headers)
        return cls(f"status {status}", answer=answer, after=after)

    @classmethod
    def google(cls, code: int, reason: str, message: str = "", *, after: bool = False) -> Fault:
        """Answer with an error in Google's JSON shape, e.g. `google(403, "rateLimitExceeded")`."""
        answer = Answer.google_error(code, reason, message or f"Scripted fault: {reason}")
        return cls(f"google {code} {reason}", answer=answer, after=after)

    @classmethod
    def retry_after(cls, status: int = 429, seconds: float = 1) -> Fault:
        """Answer with `status` and a `Retry-After` header of `seconds`."""
        headers = {"Retry-After": f"{seconds:g}"}
        answer = Answer.google_error(status, "rateLimitExceeded", "Slow down.", headers)
        return cls(f"retry after {seconds:g} s", answer=answer)

    @classmethod
    def reset(cls, *, after: bool = False) -> Fault:
        """Cut the connection with a TCP reset before a single byte of the answer."""
        return cls("reset", ending="reset", after=after)

    @classmethod
    def hang(cls, seconds: float, *, after: bool = False) -> Fault:
        """Say nothing for `seconds`, then answer; nothing is done if the client has left by then."""
        return cls(f"hang {seconds:g} s", seconds=seconds, after=after)

    @classmethod
    def malformed(cls, *, after: bool = False) -> Fault:
        """Answer 200 with an HTML page, as a captive portal or a proxy does."""
        answer = Answer(200, HTML_PAGE, {"Content-Type": "text/html; charset=utf-8"})
        return cls("malformed", answer=answer, after=after)

    @classmethod
    def truncated(cls) -> Fault:
        """Do the work, send the first half of the answer, then close the connection."""
        return cls("truncated", ending="truncate", after=True)
