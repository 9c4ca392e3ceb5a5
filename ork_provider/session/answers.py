"""What an HTTP answer means for the waiting loop: good, try again, or refused; sorted once for all services."""

from __future__ import annotations

import json
import math
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from ork_provider.errors import BadRequest, Conflict, NotFound, OrkError, Throttled, TryAgain, Unauthorized
from ork_provider.session.door import QUOTED, Request, Response
from ork_provider.session.secrets import show_url
from ork_provider.text import one_line


def check(request: Request, response: Response) -> Response:
    """Return a 2xx answer; raise any other as the error that says what the waiting loop shall do."""
    if 200 <= response.status < 300:
        return response
    raise refusal(request, response)


def refusal(request: Request, response: Response) -> OrkError:
    """Sort an answer that is not 2xx into our errors; see the table in docs/waiting.md."""
    status = response.status
    message = f"{request} answered {status}: {_quote(response)}"
    if status == 401:
        return Unauthorized(f"{message}. Check the credentials of the Airflow connection.")
    if status == 404:
        return NotFound(message)
    if status == 409:
        return Conflict(message)
    if status in (408, 429) or status >= 500 or (status == 403 and _reason(response) in PASSING_REASONS):
        throttled = status in (403, 429) and _reason(response) != "backendError"
        kind = Throttled if throttled else TryAgain
        return kind(message, retry_after=retry_after(response), processed=status not in (403, 429))
    if status in (301, 302, 303, 307, 308):
        target = show_url(response.headers.get("location", "no address"))
        return BadRequest(f"{message}. It redirects to {target!r}; use that address.")
    return BadRequest(message)


PASSING_REASONS = frozenset(
    {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "backendError", "jobRateLimitExceeded"}
)
"""Reasons of a Google 403 that pass by themselves; any other is a missing permission."""


def _reason(response: Response) -> str | None:
    try:
        return str(json.loads(response.body)["error"]["errors"][0]["reason"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _quote(response: Response) -> str:
    """Return the service's own message if there is one in the body, else the body's first characters; one line."""
    try:
        error = json.loads(response.body)["error"]
        said = error["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return repr(response.text[:QUOTED]) if response.body else "no body"
    reason = _reason(response)
    return one_line(str(said), QUOTED) + (f" (reason: {one_line(reason, 80)})" if reason else "")


LONGEST_PAUSE = 24 * 3600.0
"""Seconds that a service may ask us to wait; whoever asks for years has a fault."""


def retry_after(response: Response) -> float | None:
    """Seconds that the service asks us to wait (``Retry-After`` as seconds or as a date), if it does."""
    value = response.headers.get("retry-after")
    if not value:
        return None
    try:
        seconds = float(value)
        return min(max(0.0, seconds), LONGEST_PAUSE) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return min(max(0.0, (until - datetime.now(timezone.utc)).total_seconds()), LONGEST_PAUSE)
