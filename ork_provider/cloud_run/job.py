"""CloudRunJob, and how an execution reads: what it came to, how many of its tasks went well, in whose words.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from ork_provider.errors import TryAgain
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.stats import known, seconds_between

CONSOLE = "https://console.cloud.google.com/run/jobs/executions/details"

STATUS_FIELDS = (
    "name,startTime,completionTime,taskCount,runningCount,succeededCount,failedCount,cancelledCount,retriedCount,"
    "logUri,conditions(type,state,message,reason,executionReason)"
)
"""What a poll asks for; a whole execution would hold the container's settings every time."""


@dataclass(frozen=True, kw_only=True)
class CloudRunJob(Job):
    """One execution of a Cloud Run job.

    :param project: project that the job is in
    :param region: its region, such as ``europe-west1``
    :param job_name: the Cloud Run job that is executed
    :param execution_id: name of the execution, such as ``nightly-x7k2p``
    """

    kind: ClassVar[str] = "cloudrun"
    service: ClassVar[str] = "ork_provider.cloud_run:CloudRunService"

    project: str
    region: str
    job_name: str
    execution_id: str

    @property
    def remote_id(self) -> str:
        """Project, region, job and execution."""
        return f"{self.project}/{self.region}/{self.job_name}/{self.execution_id}"

    @property
    def link(self) -> str | None:
        """Page of the execution in the Google Cloud console."""
        region, execution = quote(self.region, safe=""), quote(self.execution_id, safe="")
        return f"{CONSOLE}/{region}/{execution}?project={quote(self.project, safe=':')}"

    @classmethod
    def read_aliases(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read full resource names too, and what is only in Ork's ``job_id``."""
        names = ("job_id", "job_name", "execution_id")
        parts = [_parts_of(data.get(name)) for name in names]
        known = {name: value for found in parts for name, value in found.items()}
        kept = {name: value for name, value in data.items() if name not in names or not _is_path(value)}
        return {**known, **kept}

    def __str__(self) -> str:
        return f"Cloud Run job {self.remote_id}"


_WIRE = ("project", "region", "job_name", "execution_id")
_FULL = {"projects": "project", "locations": "region", "jobs": "job_name", "executions": "execution_id"}


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "/" in value


def _parts_of(value: Any) -> dict[str, str]:
    """Return the fields that ``p/r/j/e`` or ``projects/p/locations/r/jobs/j/executions/e`` holds."""
    if not _is_path(value):
        return {}
    parts = value.strip("/").split("/")
    full = dict(zip(parts[::2], parts[1::2], strict=False))
    if set(full) <= set(_FULL):
        return {_FULL[name]: part for name, part in full.items()}
    return dict(zip(_WIRE, parts, strict=True)) if len(parts) == len(_WIRE) else {}


def read_job_name(name: str) -> dict[str, str]:
    """Return project, region and job_name out of a job's full resource name; the name alone if it is a short one."""
    return _parts_of(name) or {"job_name": name}


_COUNTS = {
    "task_count": "taskCount",
    "succeeded": "succeededCount",
    "failed": "failedCount",
    "cancelled": "cancelledCount",
    "retried": "retriedCount",
    "running": "runningCount",
}

_STOPPED = frozenset({"CANCELLED", "CANCELLING", "DELETED"})
"""Reasons of the Completed condition that mean: somebody ended it."""

_TERMINAL = frozenset({"CONDITION_SUCCEEDED", "CONDITION_FAILED"})
_OPEN = frozenset({"CONDITION_PENDING", "CONDITION_RECONCILING"})
"""States of the Completed condition: of an execution that has ended, and of one that has not."""


def read_execution(execution: Mapping[str, Any]) -> JobStatus:
    """Read an execution; it has ended when it or its condition says so, and well only if every task has.

    One that ends before it starts, cancelled or without an image, has no completionTime.
    """
    counts = {name: int(execution.get(field) or 0) for name, field in _COUNTS.items()}
    condition = _completed(execution)
    ended = execution.get("completionTime") or condition.get("state") in _TERMINAL
    state = _verdict(counts, condition) if ended else JobState.RUNNING
    remote = state.value.upper() if state.final else _phase(execution, condition)
    say = _MESSAGES.get(remote)
    return JobStatus(
        state=state,
        remote_state=remote,
        message=say(counts, condition) if say else "",
        stats=_stats(execution, counts),
    )


def _completed(execution: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the condition that says whether, and why, an execution has ended."""
    conditions = execution.get("conditions") or []
    return next((c for c in conditions if c.get("type") == "Completed"), {})


def _phase(execution: Mapping[str, Any], condition: Mapping[str, Any]) -> str:
    """Return in which state an execution is that has not ended."""
    if _reason(condition) == "CANCELLING":
        return "CANCELLING"
    return "RUNNING" if execution.get("startTime") else "PENDING"


def _reason(condition: Mapping[str, Any]) -> str:
    """Return the reason; one that ends with UNDEFINED is none."""
    reasons = (str(condition.get(name) or "") for name in ("executionReason", "reason"))
    return next((reason for reason in reasons if reason and not reason.endswith("UNDEFINED")), "")


def _verdict(counts: Mapping[str, int], condition: Mapping[str, Any]) -> JobState:
    """Return what an execution that has ended came to, by its own counts first."""
    total, succeeded = counts["task_count"], counts["succeeded"]
    if total > 0 and succeeded == total:
        return JobState.SUCCEEDED
    if _is_cancelled(counts, condition):
        return JobState.CANCELLED
    if condition.get("state") in _OPEN:
        raise TryAgain(f"The execution has ended, but its condition is still {condition['state']}")
    ended = succeeded + counts["failed"] + counts["cancelled"]
    if condition.get("state") == "CONDITION_SUCCEEDED" and ended < total:
        raise TryAgain(f"The execution is said to have succeeded, but {succeeded} of {total} tasks are counted so far")
    return JobState.FAILED


def _is_cancelled(counts: Mapping[str, int], condition: Mapping[str, Any]) -> bool:
    if reason := _reason(condition):
        return reason in _STOPPED
    said = "cancel" in str(condition.get("message") or "").lower()
    return counts["cancelled"] > 0 and (said or counts["cancelled"] == counts["task_count"])


def say_progress(counts: Mapping[str, int], _: Mapping[str, Any]) -> str:
    """Say how far an execution is, such as ``3 of 10 tasks done, 1 failed, 2 retried``."""
    return ", ".join([f"{counts['succeeded']} of {counts['task_count']} tasks done", *_others(counts)])


def say_failure(counts: Mapping[str, int], condition: Mapping[str, Any]) -> str:
    """Say how many tasks did not go well, and why in the service's own words."""
    said = str(condition.get("message") or "no message")
    reason = f" (reason: {_reason(condition)})" if _reason(condition) else ""
    done = f"{counts['succeeded']} of {counts['task_count']} tasks succeeded"
    return f"{', '.join([done, *_others(counts)])}: {said}{reason}"[:2000]


def _others(counts: Mapping[str, int]) -> list[str]:
    return [f"{counts[name]} {name}" for name in ("failed", "cancelled", "retried") if counts[name]]


_MESSAGES = {"RUNNING": say_progress, "CANCELLING": say_progress, "FAILED": say_failure, "CANCELLED": say_failure}


def _stats(execution: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what an execution did: its tasks by outcome, ``duration_seconds`` since its start, ``log_uri``."""
    found = {
        **counts,
        "duration_seconds": seconds_between(execution.get("startTime"), execution.get("completionTime")),
        "log_uri": execution.get("logUri") or None,
    }
    return known(found)
