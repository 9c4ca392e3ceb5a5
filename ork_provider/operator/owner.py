"""OwnerOperator: what all operators share that start jobs, and so must see to those of an earlier try."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from ork_provider.errors import JobError
from ork_provider.job import Job, JobStatus
from ork_provider.operator.wait import WaitOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.worker import Worker

ON_EXISTING = ("reattach", "new", "fail")

INTENT_GRACE = 60.0
"""Seconds after an intent in which a job that the service does not know may still appear."""

CLEAR_GRACE = 5.0
"""Seconds that a cleared task leaves the triggerer to cancel the old jobs, before it does so itself."""


def no_retry(exc: Exception) -> Exception:
    """Return an error after which Airflow does not try again: only a person can know what to do."""
    from airflow.sdk.exceptions import AirflowFailException

    return AirflowFailException(str(exc))


class OwnerOperator(WaitOperator):
    """Base of the operators that start jobs; there are never two live jobs where one was meant.

    :param on_existing: what to do with a job of an earlier try that still runs: ``"reattach"`` waits for it
        (unless the task was cleared: then it is cancelled first), ``"new"`` cancels it and starts another,
        ``"fail"`` fails
    """

    submits: ClassVar[bool] = True

    def __init__(self, *, on_existing: str = "reattach", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_existing = on_existing
        self.check_choice("on_existing", on_existing, ON_EXISTING)

    def wanted_jobs(self, context: Context) -> Sequence[Job]:
        """See WaitOperator; the jobs do not exist before the task starts them."""
        return ()

    def _retire(self, jobs: Sequence[Job], reason: str, worker: Worker) -> None:
        """See that old jobs have ended: leave a kill that is under way its time, then cancel."""
        for job in jobs:
            self.log.info("%s of an earlier try still runs, but %s: it must end first", job, reason)
        ends = worker.run_interruptible(self._settle_all(jobs, worker))
        left = [(job, end) for job, end in zip(jobs, ends, strict=True) if end is not None and not end.state.final]
        stopped, _ = worker.run(self._ender(worker).stop_all(left))
        alive = [job for job, end in stopped if not end.state.final]
        if alive:
            raise JobError(
                f"{', '.join(map(str, alive))} of an earlier try could not be seen to end, and two must not run at "
                f"once. Cancel by hand and clear the task: {' '.join(job.link or 'in the service' for job in alive)}"
            )

    async def _settle_all(self, jobs: Sequence[Job], worker: Worker) -> list[JobStatus | None]:
        return list(await asyncio.gather(*(self._settle(job, worker) for job in jobs)))

    async def _settle(self, job: Job, worker: Worker) -> JobStatus | None:
        """Leave a job its time to end; None if its service has forgotten it meanwhile, which is an end too."""
        end = await self._ender(worker).settle(job, CLEAR_GRACE)
        if end is None:
            await self.clock.sleep(1.0)
            end = await self._ender(worker).ask(job)
        return end

    async def _ask_for_certain(self, job: Job, at: datetime, worker: Worker) -> JobStatus | None:
        """Ask for a job; None if its service does not know it, twice in a row and not for its youth."""
        misses = 0
        while True:
            status = await self._ender(worker).ask(job)
            misses += 1
            if status is not None:
                return status
            if misses > 1 and (self.clock.now() - at).total_seconds() > INTENT_GRACE:
                return None
            self.log.info("%s is not known to its service; asking again", job)
            await self.clock.sleep(2.0)
