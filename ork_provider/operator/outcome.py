"""How a wait's outcome travels from the trigger to the task: reading the event, and the error it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ork_provider.errors import JobCancelled, JobError, JobFailed, JobLost, TimedOut
from ork_provider.job import Job, JobState, JobStatus, describe, describe_job, job_from_dict
from ork_provider.waiting import ERROR, FAILED, SUCCESS, TIMEOUT


def read_event(event: Any) -> tuple[str, str, list[tuple[Job, JobStatus]]]:
    """Read a trigger's event, of this release or another; what cannot be understood is never a success."""
    if not isinstance(event, Mapping):
        return (
            ERROR,
            f"The trigger sent {describe(event)} instead of an event; nothing is known of the job.",
            [],
        )
    jobs = []
    for listed in event.get("jobs") or []:
        job = job_from_dict(listed)
        jobs.append((job, read_status(listed)))
    status = event.get("status")
    message = str(event.get("message") or "")
    if status not in (SUCCESS, FAILED, TIMEOUT, ERROR):
        return ERROR, f"The trigger's event has the unknown status {describe(status)}. {message}", jobs
    if status == SUCCESS and not any(s.state is JobState.SUCCEEDED for _, s in jobs):
        return ERROR, f"The trigger reported success, but no job that succeeded. {message}", jobs
    return str(status), message, jobs


def read_status(listed: Mapping[str, Any]) -> JobStatus:
    """Read what an event says of one job."""
    states = {state.value: state for state in JobState}
    return JobStatus(
        state=states.get(str(listed.get("state")), JobState.RUNNING),
        message=str(listed.get("message") or ""),
        stats=listed.get("stats") or {},
    )


def failure(verdict: str, message: str, jobs: Sequence[tuple[Job, JobStatus]]) -> JobError:
    """Return the exception for a wait that did not end in success."""
    bad = next(((j, s) for j, s in jobs if s.state is not JobState.SUCCEEDED), None)
    job = describe_job(*bad) if bad else {}
    if verdict == TIMEOUT:
        return TimedOut(message, job=job)
    kinds = {JobState.FAILED: JobFailed, JobState.CANCELLED: JobCancelled, JobState.LOST: JobLost}
    kind = kinds.get(bad[1].state, JobError) if bad else JobError
    return kind(message, job=job)


def said_of_cancel(job: Job, status: JobStatus | None) -> str:
    """Say what became of a job that was asked to stop."""
    if status is None:
        return f"{job} could not be seen to end; see {job.link or 'the service'}."
    if status.state is JobState.CANCELLED:
        return f"{job} was cancelled, and the service confirms it."
    if status.state.final:
        return f"{job} had ended by then: {status.state.value}."
    return f"{job} was asked to stop but still runs; see {job.link or 'the service'}."
