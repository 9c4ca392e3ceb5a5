"""How a wait's outcome travels from the trigger to the task: reading the event, and the error it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from ork_provider.errors import MISSHAPEN, InvalidJob, JobCancelled, JobError, JobFailed, JobLost, TimedOut
from ork_provider.job import Job, JobState, JobStatus, describe, describe_job, job_from_dict, show
from ork_provider.waiting import ERROR, FAILED, STOPPED, SUCCESS, TIMEOUT, Until, needed


def read_event(event: Any, kind: type[Any] = Job, until: Until = "any") -> tuple[str, str, list[tuple[Job, JobStatus]]]:
    """Read a trigger's event, of this release or another; what cannot be understood is never a success.

    :param kind: what jobs it may be about
    :param until: how many of them must have succeeded for a success
    """
    if not isinstance(event, Mapping):
        return (
            ERROR,
            f"The trigger sent {describe(event)} instead of an event; nothing is known of the job.",
            [],
        )
    message = _text(event.get("message"))
    try:
        jobs = [(_read_job(listed, kind), read_status(listed)) for listed in event.get("jobs") or []]
    except MISSHAPEN as exc:  # an InvalidJob is a ValueError
        return ERROR, f"The trigger's event names a job that cannot be read: {exc}. {message}", []
    status = event.get("status")
    if status not in (SUCCESS, FAILED, TIMEOUT, STOPPED, ERROR):
        return ERROR, f"The trigger's event has the unknown status {describe(status)}. {message}", jobs
    if status == SUCCESS and not _are_enough(jobs, until):
        good = sum(s.state is JobState.SUCCEEDED for _, s in jobs)
        said = f"{good} of {len(jobs)} jobs" if good else "no job"
        return ERROR, f"The trigger reported success, but {said} that succeeded. {message}", jobs
    return str(status), message, jobs


def _read_job(listed: Any, kind: type[Any]) -> Job:
    job = job_from_dict(listed)
    is_ours = isinstance(job, kind)
    if not is_ours:
        raise InvalidJob(f"{job} is not a {kind.__name__}")
    return job


def _are_enough(jobs: Sequence[tuple[Job, JobStatus]], until: Until) -> bool:
    good = sum(status.state is JobState.SUCCEEDED for _, status in jobs)
    try:
        return good >= needed(until, len(jobs)) > 0
    except InvalidJob:
        return False


def _text(value: Any) -> str:
    """Return a text; what is none is shown, and None is empty."""
    return value if isinstance(value, str) else show(value) if value else ""


def read_status(listed: Mapping[str, Any]) -> JobStatus:
    """Read what an event says of one job."""
    states = {state.value: state for state in JobState}
    stats = listed.get("stats")
    return JobStatus(
        state=states.get(_text(listed.get("state")), JobState.RUNNING),
        message=_text(listed.get("message")),
        stats=stats if isinstance(stats, Mapping) else {},
    )


def failure(verdict: str, message: str, jobs: Sequence[tuple[Job, JobStatus]]) -> JobError:
    """Return the exception for a wait that did not end in success."""
    listed = [describe_job(*one) for one in jobs]
    bad = [one for one in listed if one["state"] != JobState.SUCCEEDED.value]
    if verdict == TIMEOUT:
        return TimedOut(message, job=bad[0] if bad else {}, jobs=listed)
    ended = sorted((one for one in bad if one["state"] in _ERRORS), key=lambda one: list(_ERRORS).index(one["state"]))
    kind = _ERRORS[ended[0]["state"]] if ended and verdict == FAILED else JobError
    return kind(message, job=(ended or bad or [{}])[0], jobs=listed)


_ERRORS: dict[str, type[JobError]] = {
    JobState.FAILED.value: JobFailed,
    JobState.LOST.value: JobLost,
    JobState.CANCELLED.value: JobCancelled,
}
"""In the order in which they name the failure of many: a cancelled job may be one that we have ended ourselves."""


class FailedForGood(JobFailed, AirflowFailException):
    """The job failed, and asking again would find the same: Airflow does not try again."""


class CancelledForGood(JobCancelled, AirflowFailException):
    """The job was cancelled, and asking again would find the same: Airflow does not try again."""


class LostForGood(JobLost, AirflowFailException):
    """The service does not know the job any more, and will not again: Airflow does not try again."""


_FOR_GOOD: dict[type[JobError], type[JobError]] = {
    JobFailed: FailedForGood,
    JobCancelled: CancelledForGood,
    JobLost: LostForGood,
}


def for_good(error: JobError) -> JobError:
    """Return an error that stays true as one after which Airflow tries no more; for tasks that only watch."""
    kind = _FOR_GOOD.get(type(error))
    return kind(str(error), job=error.job, jobs=error.jobs) if kind else error
