"""Every error of this package, sorted by what the waiting loop does with it.

The tree::

    OrkError
    ├── TryAgain          the next ask may work: 429, 5xx, timeouts, resets, a malformed answer
    │   ├── NotFound      404: try again at first, job lost when it stays so
    │   └── Throttled     429: the service is asked too often
    ├── BadRequest        asking again cannot help; a person must change something
    │   ├── NoConnection  an Airflow connection that is not there
    │   ├── Unauthorized  401: the connection is read again once, then it is final
    │   ├── Conflict      409: an id is taken
    │   ├── UnknownOutcome a job may have been started, and the service cannot be asked
    │   └── InvalidJob    a job or an argument that does not make sense
    ├── JobError          what a job came to; carries the job, its state and its link
    │   ├── JobFailed
    │   ├── JobCancelled
    │   ├── JobLost
    │   └── TimedOut
    └── Killed            the task was told to stop while it was starting or watching a job
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ork_provider.job import Job

MISSHAPEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading JSON raises that is not of the expected shape; whoever reads answers turns it into an OrkError."""


class OrkError(Exception):
    """Base of all errors that this package raises on purpose."""


class TryAgain(OrkError):
    """Asking again may work.

    :param retry_after: seconds that the service asked us to wait, if it did
    :param processed: False when the request certainly had no effect (refused, never sent), True when it
        may have had one (the answer was lost)
    """

    def __init__(self, message: str, *, retry_after: float | None = None, processed: bool = True) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.processed = processed


class NotFound(TryAgain):
    """The service does not know the job (404); final only when it stays so."""


class Throttled(TryAgain):
    """The service is asked too often (429, or a 403 that says so): come again later, and less often."""


class BadRequest(OrkError):
    """The service refuses the request for good; the message names the call and what to change."""


class NoConnection(BadRequest):
    """An Airflow connection is not defined, or does not say where its service is."""


class Unauthorized(BadRequest):
    """The service does not accept our credentials (401)."""


class Conflict(BadRequest):
    """The id of a new job is taken (409).

    :param existing: the job that has it, where the service tells
    """

    def __init__(self, message: str, *, existing: Job | None = None) -> None:
        super().__init__(message)
        self.existing = existing


class UnknownOutcome(BadRequest):
    """The answer to a request that starts a job was lost, and sending it again could start a second job."""


class InvalidJob(BadRequest, ValueError):
    """A job dict or an argument that makes no sense; the message names the field."""


class JobError(OrkError):
    """What a job came to when that is not success.

    :param job: the job's dict with state, message, stats and link, as in the trigger's event
    :param jobs: the dicts of all jobs that the task waited for
    """

    def __init__(
        self, message: str, *, job: Mapping[str, Any] | None = None, jobs: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__(message)
        self.job = dict(job or {})
        self.jobs = [dict(one) for one in (jobs if jobs is not None else [self.job] if job else [])]

    @property
    def state(self) -> str | None:
        """How the job ended: ``failed``, ``cancelled``, ``running`` or ``lost``."""
        return self.job.get("state")

    @property
    def link(self) -> str | None:
        """Page of the job in the service's own console."""
        return self.job.get("link")


class JobFailed(JobError):
    """The job ran and failed."""


class JobCancelled(JobError):
    """Somebody cancelled the job."""


class JobLost(JobError):
    """The service no longer knows the job."""


class TimedOut(JobError):
    """The deadline of the wait passed."""


class Killed(OrkError):
    """The task was told to stop (SIGTERM, mark as failed, clear) while it worked on a job."""
