"""JobChanges: one long poll of a DQOps server tells of the changes of all its jobs.

The server answers after 20 seconds at the latest. It keeps changes for 20 minutes, those of the caller's data domain;
some of them carry the whole job, others only its new status.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from ork_provider.dqops import requests
from ork_provider.dqops.job import STATES, DqopsJob, read_job
from ork_provider.errors import TryAgain
from ork_provider.job import JobState, JobStatus, describe
from ork_provider.service import Feed

if TYPE_CHECKING:
    from ork_provider.dqops.service import DqopsService

FEED_LIMIT = 16 * 1024 * 1024
"""Bytes of changes that are read at most."""

FEED_TIMEOUT = 25.0
"""Seconds after which a feed that says nothing is given up: a server that is well answers after 20."""


class JobChanges(Feed):
    """The changes of the jobs of one server, over one connection."""

    interval: ClassVar[float] = 1.0

    def __init__(self, service: DqopsService, conn_id: str, base_url: str | None) -> None:
        self._service = service
        self._conn_id = conn_id
        self._base_url = base_url

    @property
    def key(self) -> Hashable:
        """See Shared."""
        return type(self).__name__, self._conn_id, (self._base_url or "").rstrip("/")

    def name(self, job: DqopsJob) -> Hashable:
        """See Shared."""
        return job.job_id

    async def start(self) -> int:
        """See Feed: the number of the newest change."""
        return _last(await self._call(requests.get_all_jobs()))

    async def changes(self, position: int) -> tuple[Iterable[tuple[Hashable, Any]], int]:
        """See Feed."""
        answer = await self._call(requests.get_changes(position))
        changes = answer.get("jobChanges") or []
        if not isinstance(changes, list):
            raise TryAgain(f"DQOps' changes of jobs are not a list: {describe(changes)}")
        return [(_name(change), change) for change in changes], _last(answer)

    def read(self, told: Any) -> JobStatus | None:
        """See Shared; a whole job that fits its change is as good as the service's own answer."""
        word, whole = told["status"], told.get("updatedModel")
        if whole and whole["status"] == word and _name(whole) == _name(told):
            status = read_job(whole)
            ran_checks = status.state is JobState.SUCCEEDED and status.stats.get("job_type") == "run_checks"
            return None if ran_checks and "highest_severity" not in status.stats else status
        return JobStatus(state=JobState.RUNNING, remote_state=word) if STATES[word] is JobState.RUNNING else None

    async def _call(self, call: requests.Call) -> dict[str, Any]:
        return await self._service.call(call, self._base_url, shared=True, max_body=FEED_LIMIT, timeout=FEED_TIMEOUT)

    def __str__(self) -> str:
        return f"The feed of changes of DQOps ({self._base_url or self._conn_id})"


def _last(answer: dict[str, Any]) -> int:
    number = answer.get("lastSequenceNumber")
    if type(number) is not int:
        raise TryAgain(f"DQOps' changes of jobs have no lastSequenceNumber: {describe(answer)}")
    return number


def _name(change: Any) -> int | None:
    """Return the number of the job that a change is about; None, which no job has, if it cannot be read."""
    try:
        number = change["jobId"]["jobId"]
    except (TypeError, LookupError):
        return None
    return number if type(number) is int else None
