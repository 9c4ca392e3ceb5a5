"""DqopsJob, and how a job's history entry reads: what it came to, and what its checks have found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ork_provider.errors import InvalidJob, TryAgain
from ork_provider.job import Job, JobState, JobStatus, check_type, describe
from ork_provider.session import read_origin, show_url
from ork_provider.stats import known, seconds_between

LARGEST_ID = 10**18
"""No number of a job is as large; what is read as a text of up to 18 digits can be written as one."""


@dataclass(frozen=True, kw_only=True)
class DqopsJob(Job):
    """A job of a DQOps server, of any type; it needs an id or a key.

    :param job_id: the number that DQOps has given it
    :param job_business_key: the key that whoever started it has given it; DQOps does not see to it that it is unique
    :param base_url: base URL of the server; default: the connection's
    """

    kind: ClassVar[str] = "dqops"
    service: ClassVar[str] = "ork_provider.dqops:DqopsService"

    job_id: int | None = None
    job_business_key: str | None = None
    base_url: str | None = None

    def __post_init__(self) -> None:
        if self.job_id is not None and (type(self.job_id) is not int or not 0 <= self.job_id < LARGEST_ID):
            raise InvalidJob(f"DqopsJob.job_id: expected a number, got {describe(self.job_id)}.")
        for name in ("conn_id", "job_business_key", "base_url"):
            check_type(getattr(self, name), str | None, f"DqopsJob.{name}")
        if self.job_id is None and not self.job_business_key:
            raise InvalidJob("A DQOps job needs job_id or job_business_key.")
        if self.base_url is not None:
            check_base_url(self.base_url, "DqopsJob.base_url")

    @property
    def remote_id(self) -> str:
        """The id as a text; the business key of a job whose id is not known."""
        return str(self.job_business_key) if self.job_id is None else str(self.job_id)

    def to_dict(self) -> dict[str, Any]:
        """See Job; the id is a text, like that of every kind."""
        return {**super().to_dict(), "job_id": self.remote_id}

    @classmethod
    def read_aliases(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read an id that is written as a text; one that is the business key is none."""
        job_id = data.get("job_id")
        if isinstance(job_id, str) and job_id == data.get("job_business_key"):
            return {**data, "job_id": None}
        if isinstance(job_id, str) and re.fullmatch("[0-9]{1,18}", job_id):
            return {**data, "job_id": int(job_id)}
        return data

    def __str__(self) -> str:
        return f"DQOps job {self.remote_id}"


def check_base_url(value: object, where: str) -> None:
    """Raise InvalidJob for what is no base URL of a server; a login in it is not quoted."""
    wanted = f"{where}: expected a URL such as 'http://dqops:8888'"
    if not isinstance(value, str):
        raise InvalidJob(f"{wanted}, got {describe(value)}.")
    try:
        read_origin(value)
    except ValueError as exc:
        raise InvalidJob(f"{wanted}, got {describe(show_url(value))}: {exc}.") from None


STATES = {
    "queued": JobState.RUNNING,
    "running": JobState.RUNNING,
    "waiting": JobState.RUNNING,
    "cancel_requested": JobState.RUNNING,
    "finished": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}
"""DQOps' words for a job's status, and what they mean."""

COUNTS = ("executed_checks", "valid_results", "warnings", "errors", "fatals", "execution_errors")
"""What DQOps counts of the checks of a job or a table."""

MESSAGE_LIMIT = 2000


def read_job(entry: Mapping[str, Any]) -> JobStatus:
    """Read a job's history entry."""
    word = entry.get("status")
    state = STATES.get(word) if isinstance(word, str) else None
    if state is None:
        raise TryAgain(f"DQOps answered a job with the unknown status {describe(word)}")
    bad = state in (JobState.FAILED, JobState.CANCELLED)
    return JobStatus(
        state=state,
        remote_state=str(word),
        message=say_error(entry.get("errorMessage")) if bad else "",
        stats=read_stats(entry),
    )


def say_error(message: object) -> str:
    """Return DQOps' own words for a failure, without the stack trace that may follow."""
    if not message:
        return ""
    said, _, _ = re.sub(r"\n\s*(?=at )", "\x00", str(message)).partition("\x00")
    return said.strip()[:MESSAGE_LIMIT]


def read_id(entry: Mapping[str, Any]) -> int | None:
    """Return the number under which an answer names its job, if it does."""
    named = entry.get("jobId") or {}
    number = named.get("jobId")
    return number if type(number) is int else None


def read_stats(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job was and has found.

    ``job_type``, ``duration_seconds`` (of an ended job, from its creation), and of a job that ran checks
    ``highest_severity``, ``executed_checks``, ``valid_results``, ``warnings``, ``errors``, ``fatals`` and
    ``execution_errors``.
    """
    all_parameters = entry.get("parameters") or {}
    parameters = all_parameters.get("runChecksParameters") or all_parameters.get("runChecksOnTableParameters") or {}
    found = {
        "job_type": entry.get("jobType"),
        "duration_seconds": _duration(entry),
        **read_counts(parameters.get("run_checks_result") or {}, "highest_severity"),
    }
    return known(found)


def read_counts(result: Mapping[str, Any], severity: str) -> dict[str, Any]:
    """Return the severity, under the name ``highest_severity``, and the counts of a result."""
    counts = {name: int(result[name]) for name in COUNTS if result.get(name) is not None}
    return {"highest_severity": result.get(severity), **counts}


def _duration(entry: Mapping[str, Any]) -> float | None:
    if STATES.get(str(entry.get("status"))) is JobState.RUNNING:
        return None
    try:
        return seconds_between((entry.get("jobId") or {}).get("createdAt"), entry.get("statusChangedAt"))
    except ValueError:
        return None
