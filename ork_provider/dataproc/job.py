"""DataprocJob, and how a job resource reads: what it came to, how far it is, where its driver's output is.

Source: https://cloud.google.com/dataproc/docs/reference/rest/v1/projects.regions.jobs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ork_provider.errors import TryAgain
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.stats import known, read_int, seconds_between

CONSOLE = "https://console.cloud.google.com/dataproc"


@dataclass(frozen=True, kw_only=True)
class DataprocJob(Job):
    """A job of any type on a Dataproc cluster.

    :param project: project of the cluster
    :param region: region of the cluster
    :param job_id: its id, unique in the project
    :param cluster_name: the cluster that runs it; for the reader, nothing needs it
    """

    kind: ClassVar[str] = "dataproc"
    service: ClassVar[str] = "ork_provider.dataproc:DataprocJobService"

    project: str
    region: str
    job_id: str
    cluster_name: str | None = None

    @property
    def remote_id(self) -> str:
        """The job id."""
        return self.job_id

    @property
    def link(self) -> str | None:
        """Page of the job in the Google Cloud console; it shows the driver's output."""
        return f"{CONSOLE}/jobs/{self.job_id}?region={self.region}&project={self.project}"

    def __str__(self) -> str:
        return f"Dataproc job {self.project}:{self.region}.{self.job_id}"


_STATES = {
    "PENDING": JobState.RUNNING,
    "SETUP_DONE": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "CANCEL_PENDING": JobState.RUNNING,
    "CANCEL_STARTED": JobState.RUNNING,
    "ATTEMPT_FAILURE": JobState.RUNNING,  # of a restartable job: Dataproc starts the driver again
    "DONE": JobState.SUCCEEDED,
    "ERROR": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
}


def read_job(resource: Mapping[str, Any]) -> JobStatus:
    """Read a job resource; only the state says what it came to, never the text of its details."""
    status = resource.get("status") or {}
    remote_state = status.get("state")
    if remote_state not in _STATES:
        raise TryAgain(f"Dataproc answered a job with the unknown state {remote_state!r}")
    state = _STATES[remote_state]
    stats = read_stats(resource, state)
    details = str(status.get("details") or "")[:2000]
    if state is JobState.RUNNING:
        message = say_progress(resource.get("yarnApplications") or []) if remote_state == "RUNNING" else ""
        return JobStatus(state=state, remote_state=remote_state, message=message or details, stats=stats)
    if state is JobState.FAILED and "driver_output_uri" in stats:
        details = f"{details or 'no details'} (driver output: {stats['driver_output_uri']})"
    return JobStatus(state=state, remote_state=remote_state, message=details, stats=stats)


def say_progress(applications: Sequence[Mapping[str, Any]]) -> str:
    """Say how far the YARN applications of a job are: ``Spark Pi 45 %``; of many, the newest three."""
    return ", ".join(f"{app.get('name') or 'application'} {percent(app):.0f} %" for app in applications[-3:])


def percent(application: Mapping[str, Any]) -> float:
    """Return an application's progress; the service reports a fraction where its reference says percent."""
    progress = float(application.get("progress") or 0)
    return round(progress * 100 if progress <= 1 else progress, 1)


def read_stats(resource: Mapping[str, Any], state: JobState) -> dict[str, Any]:
    """Return what is known of a job beside its state.

    ``duration_seconds`` (from the first RUNNING to the end), ``driver_output_uri``, ``driver_control_files_uri``,
    ``failed_attempts`` of a restartable job, ``yarn_applications`` (``name``, ``state``, ``progress_percent``,
    ``tracking_url``, ``vcore_seconds``, ``memory_mb_seconds``).
    """
    status, history = resource.get("status") or {}, resource.get("statusHistory") or []
    started = next((s.get("stateStartTime") for s in [*history, status] if s.get("state") == "RUNNING"), None)
    failures = sum(s.get("state") == "ATTEMPT_FAILURE" for s in [*history, status])
    found = {
        "duration_seconds": seconds_between(started, status.get("stateStartTime")) if state.final else None,
        "driver_output_uri": resource.get("driverOutputResourceUri"),
        "driver_control_files_uri": resource.get("driverControlFilesUri"),
        "failed_attempts": failures or None,
        "yarn_applications": [_read_application(app) for app in resource.get("yarnApplications") or []] or None,
    }
    return known(found)


def _read_application(application: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "name": application.get("name"),
        "state": application.get("state"),
        "progress_percent": percent(application),
        "tracking_url": application.get("trackingUrl"),
        "vcore_seconds": read_int(application.get("vcoreSeconds")),
        "memory_mb_seconds": read_int(application.get("memoryMbSeconds")),
    }
    return known(found)
