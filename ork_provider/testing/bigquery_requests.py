"""What the fake BigQuery checks in a request before it believes it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ork_provider.testing import bigquery_jobs as bq
from ork_provider.testing.faults import Answer, Refused
from ork_provider.testing.server import RecordedRequest

LARGEST_PAGE = 1000
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def refuse(code: int, reason: str, message: str) -> Refused:
    """Build the exception that answers with Google's JSON error."""
    return Refused(Answer.google_error(code, reason, message))


def json_object(request: RecordedRequest) -> dict[str, Any]:
    """Return the body, which has to be a JSON object."""
    body = request.json
    if not isinstance(body, dict):
        raise refuse(400, "parseError", "The body is not a JSON object.")
    return body


def checked_configuration(configuration: Any) -> dict[str, Any]:
    """Return a job's configuration if it names a kind of job, has its SQL and valid labels."""
    if not isinstance(configuration, dict) or not bq.job_type(configuration):
        raise refuse(400, "required", "Required parameter is missing: configuration")
    if "query" in configuration and not bq.sql_of(configuration).strip():
        raise refuse(400, "required", "Required parameter is missing: query")
    for key, value in configuration.get("labels", {}).items():
        if not _LABEL_KEY.fullmatch(key):
            raise refuse(400, "invalid", f'Label key "{key}" has invalid characters or length.')
        if not _LABEL_VALUE.fullmatch(value):
            raise refuse(400, "invalid", f'Label value "{value}" has invalid characters or length.')
    return configuration


def checked_job_id(job_id: str) -> str:
    """Return a job id that the service would take."""
    if not _JOB_ID.fullmatch(job_id):
        rule = "It must be alphanumeric (plus underscores and dashes) and at most 1024 characters long."
        raise refuse(400, "invalid", f'Invalid job ID "{job_id}". {rule}')
    return job_id


def wanted_states(request: RecordedRequest) -> Collection[str]:
    """Return the states that `stateFilter`, which may be repeated, lets pass."""
    return {state.upper() for state in request.values("stateFilter")} or ("PENDING", "RUNNING", "DONE")


def integer(query: Mapping[str, Any], name: str, default: int) -> int:
    """Return an integer parameter."""
    value = query.get(name)
    if value in (None, ""):
        return default
    try:
        return int(str(value))
    except ValueError as exc:
        raise refuse(400, "invalidParameter", f"Invalid value for {name}: {value}") from exc


def page_size(request: RecordedRequest, default: int) -> int:
    """Return `maxResults` within the service's limits."""
    return max(1, min(integer(request.query, "maxResults", default), LARGEST_PAGE))


def int64_timestamps(request: RecordedRequest) -> bool:
    """Whether the client asks for timestamps as microseconds."""
    return request.query.get("formatOptions.useInt64Timestamp", "").lower() == "true"
