"""What the fake Cloud Run checks in a request before it believes it, and what overrides make of a job's template."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ork_provider.testing.faults import Answer, Refused
from ork_provider.testing.server import RecordedRequest

LARGEST_PAGE = 1000
_TOP = {"containerOverrides", "taskCount", "timeout", "delayExecution"}
_PART = {"name", "args", "env", "clearArgs"}
_CODES = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "PERMISSION_DENIED": 403, "NOT_FOUND": 404}


def refuse(status: str, message: str) -> Refused:
    """Build the exception that answers with an error as Cloud Run gives it, e.g. `refuse("NOT_FOUND", ...)`."""
    code = _CODES[status]
    return Refused(Answer.json({"error": {"code": code, "message": message, "status": status}}, code))


def checked_overrides(request: RecordedRequest) -> dict[str, Any]:
    """Return the overrides of a request to run a job."""
    body = request.json or {}
    if not isinstance(body, dict) or set(body) - {"overrides", "validateOnly", "etag"}:
        raise refuse("INVALID_ARGUMENT", "Invalid JSON payload received.")
    overrides = body.get("overrides") or {}
    parts = overrides.get("containerOverrides") or []
    unknown = sorted((set(overrides) - _TOP).union(*(set(part) - _PART for part in parts)))
    if unknown:
        message = f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at 'overrides': Cannot find field."
        raise refuse("INVALID_ARGUMENT", message)
    count = overrides.get("taskCount", 1)
    if type(count) is not int or not 0 <= count <= 10_000:
        raise refuse("INVALID_ARGUMENT", "overrides.task_count: must be between 1 and 10000.")
    return dict(overrides)


def overridden(template: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's task template with what an execution overrides."""
    made: dict[str, Any] = copy.deepcopy(dict(template))
    for part in overrides.get("containerOverrides") or []:
        container = _container(made["containers"], part)
        if part.get("args") or part.get("clearArgs"):
            container["args"] = list(part.get("args") or [])
        variables = {v["name"]: v for v in [*container.get("env", []), *part.get("env", [])]}
        if variables:
            container["env"] = list(variables.values())
    if "timeout" in overrides:
        made["timeout"] = overrides["timeout"]
    return made


def _container(containers: list[dict[str, Any]], part: Mapping[str, Any]) -> dict[str, Any]:
    name = part.get("name")
    if not name and len(containers) > 1:
        message = "overrides.container_overrides.name: must be set, because the job has more than one container."
        raise refuse("INVALID_ARGUMENT", message)
    for container in containers:
        if name in (None, "", container["name"]):
            return container
    raise refuse("INVALID_ARGUMENT", f"overrides.container_overrides.name: the job has no container {name!r}.")


def page_asked(request: RecordedRequest, largest: int = LARGEST_PAGE) -> tuple[int, int | None]:
    """Return `pageSize` within the service's limits, and the number that `pageToken` stands for."""
    try:
        size, token = int(request.query.get("pageSize") or 0), request.query.get("pageToken")
        return min(size, largest) if size > 0 else 100, int(token) if token else None
    except ValueError as exc:
        raise refuse("INVALID_ARGUMENT", f"Invalid page: {exc}") from exc


def seconds(duration: str) -> float:
    """Return a duration such as `600s` in seconds."""
    try:
        return float(duration.removesuffix("s"))
    except ValueError as exc:
        raise refuse("INVALID_ARGUMENT", f"Invalid duration: {duration}") from exc
