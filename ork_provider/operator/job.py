"""JobOperator: starts one job and watches it, so that there are never two live jobs for one task instance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ork_provider.attempt import Attempt, AttemptStore, hash_request, new_nonce
from ork_provider.errors import BadRequest, Conflict, JobError, Killed, TryAgain, UnknownOutcome
from ork_provider.job import Job, JobState, JobStatus, describe_job
from ork_provider.operator import owner
from ork_provider.operator.owner import OwnerOperator, no_retry

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.worker import Worker

LOOK_INTERVAL = 2.0
"""Seconds between two looks for a job that may still appear."""

RESEND_AFTER = 10.0
"""Seconds after a failed request in which its job is looked for, before the request is sent again."""


@dataclass(kw_only=True)
class Start:
    """What it takes to start a job, and what has become of it.

    :param request: the rendered request
    :param store: where the attempt is remembered
    :param uncertain: whether a request has been sent that may have started a job nobody knows of yet
    """

    request: Mapping[str, Any]
    store: AttemptStore
    context: Context
    worker: Worker
    uncertain: bool = False
    failed_at: float = float("-inf")
    """When a request last failed, by a clock that only ever grows."""

    @property
    def max_tries(self) -> int:
        """The task instance's; it changes when a user clears the task."""
        return int(getattr(self.context["ti"], "max_tries", 0) or 0)


class JobOperator(OwnerOperator):
    """Starts one job, waits for it without holding a worker, and returns what it came to.

    What a next try does with the job of an earlier one says ``on_existing``; a request that has changed since ends
    that job too.
    """

    # What a subclass says ------------------------------------------------------------------------

    @abstractmethod
    def build_request(self, context: Context) -> dict[str, Any]:
        """Return the rendered request as JSON; another request on a later try means another job."""

    @abstractmethod
    async def name_job(self, context: Context, nonce: str, worker: Worker) -> Job | None:
        """Return the job that the request will start, or None if the service chooses the id."""

    @abstractmethod
    async def submit(self, attempt: Attempt, request: Mapping[str, Any], context: Context, worker: Worker) -> Job:
        """Start the job; called again after errors that may pass."""

    async def find_job(self, attempt: Attempt, request: Mapping[str, Any], worker: Worker) -> Job | None:
        """Return the job that an earlier request of this attempt has started, if it can be found.

        It is asked for before a request is sent again whose answer was lost. A service that knows a repeated
        request by itself (an id of ours, an idempotency key) needs no more than ``submit``.
        """
        return None

    can_find: bool = False
    """Whether ``find_job`` knows for certain: None from it means that there is no job."""

    lost_answer: ClassVar[str] = (
        "The answer to the request that starts the job was lost, so a job may be running that nobody knows, and the "
        "request cannot be repeated without the risk of a second one. Nothing was sent again. Look for the job in the "
        "service; clear the task to start another."
    )

    can_resubmit: bool = True
    """Whether a request whose answer was lost may be sent again: ``submit`` or ``find_job`` sees to it that there
    is no second job. Read for jobs that the service names; one that we name is known by its id."""

    def wanted_jobs(self, context: Context) -> Sequence[Job]:
        """See WaitOperator; a JobOperator starts its own."""
        return ()

    # The life of the task ------------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Find the job of an earlier try or start one; wait for it."""
        with self._worker() as worker:
            request = self.build_request(context)
            start = Start(request=request, store=AttemptStore(context, self.log), context=context, worker=worker)
            attempt = self._find_or_submit(start)
            self._guard.check()
            assert attempt.job is not None
            return self._watch(context, [attempt.job], attempt.deadline, worker)

    def _find_or_submit(self, start: Start) -> Attempt:
        """Return the attempt to wait for.

        | an earlier try's job | then |
        |---|---|
        | there is none | submit |
        | request changed since, or task cleared (``max_tries`` differs) | see that it has ended; submit |
        | running | by ``on_existing`` |
        | succeeded | take it: the finish step runs again |
        | failed, cancelled, no longer known to the service | submit anew |
        | intended, not known to the service | send the same request again, under the same id |
        """
        stored = start.store.load()
        if stored is None:
            return self._submit(self._new_attempt(start), start)
        reason = self._why_anew(stored, start)
        if not stored.submitted:
            stored = self._look_for_job(stored, reason, start)
        if stored.job is None:
            return self._after_lost_answer(stored, reason, start)
        job, _ = self.revive(stored.job, JobStatus(state=JobState.RUNNING))
        if reason is not None or self.on_existing != "fail":  # from here on a kill must end it
            self._guard.answer_for(job)
        status = self._status_of(stored, job, reason, start.worker)
        if status is not None and self._is_wanted(job, status, reason):
            self.log.info("%s of an earlier try is %s; it is not started again", job, status.state.value)
            return replace(stored, job=job)
        if status is not None and not status.state.final:
            self._retire([job], reason or "on_existing='new'", start.worker)
        self._guard.check()
        self._guard.answer_for()
        if status is None and reason is None and not stored.submitted:
            return self._send_again(stored, start)
        return self._submit(self._new_attempt(start), start)

    def _is_wanted(self, job: Job, status: JobStatus, reason: str | None) -> bool:
        """Whether an earlier job, running or succeeded, is the one to wait for; raise if there must be none."""
        if status.state is JobState.RUNNING and reason is None and self.on_existing == "fail":
            raise JobError(
                f"{job} of an earlier try still runs, and on_existing is 'fail'. {job.link or 'in the service'}",
                job=describe_job(job, status),
            )
        alive = status.state in (JobState.RUNNING, JobState.SUCCEEDED)
        return alive and reason is None and self.on_existing != "new"

    def _why_anew(self, stored: Attempt, start: Start) -> str | None:
        """Say why an earlier job is not the one that is wanted now, if it is not."""
        if stored.max_tries != start.max_tries:
            return "the task was cleared"
        if stored.request_hash != hash_request(start.request):
            return "the request has changed since"
        return None

    def _status_of(self, stored: Attempt, job: Job, reason: str | None, worker: Worker) -> JobStatus | None:
        """Ask for the stored job; None if its service does not know it."""
        if reason is None and not stored.submitted:  # sent again under its id: no need to know for certain
            return worker.run_interruptible(self._ender(worker).ask(job))
        return worker.run_interruptible(self._ask_for_certain(job, stored.at, worker))

    @property
    def _looks(self) -> bool:
        """Whether a second job is avoided by looking for the first, not by an id or a key that the service knows."""
        return type(self).find_job is not JobOperator.find_job

    def _look_for_job(self, stored: Attempt, reason: str | None, start: Start) -> Attempt:
        """Return the attempt with the job that its unanswered request has started, if there is one.

        A request may arrive long after its sender has died; so there is none for certain only when none is found
        ``INTENT_GRACE`` (operator/owner.py) seconds after the intent.
        """
        if not (self._looks and stored.findable and (stored.job is not None or self.can_find)):
            return stored
        try:
            found = start.worker.run_interruptible(self._find_for_certain(stored, start))
        except BadRequest as exc:
            if stored.max_tries == start.max_tries:
                raise
            self.log.warning("The task was cleared, so another job is started. %s (%s)", self.lost_answer, exc)
            return replace(stored, job=None)
        if found is None:
            start.uncertain = False
            return stored
        attempt = stored.confirmed(found, self.clock.now())
        start.store.save(attempt)
        return attempt

    async def _find_for_certain(self, stored: Attempt, start: Start) -> Job | None:
        while True:
            found = await self._keep_trying(
                lambda: self.find_job(stored, start.request, start.worker), "Looking for the job of an earlier try"
            )
            if found is not None or (self.clock.now() - stored.at).total_seconds() > owner.INTENT_GRACE:
                return found
            self.log.info("The job of an earlier try is not there; it may come yet")
            await self.clock.sleep(LOOK_INTERVAL)

    def _after_lost_answer(self, stored: Attempt, reason: str | None, start: Start) -> Attempt:
        """Go on from an intent of a service that names its jobs itself, and no job that is known to be ours."""
        found_none = self.can_find and stored.findable
        if self.can_resubmit and stored.findable and reason is None:
            return self._send_again(stored, start)
        if not found_none and stored.max_tries == start.max_tries:
            raise no_retry(UnknownOutcome(self.lost_answer))
        if not found_none:
            self.log.warning("The task was cleared, so another job is started. %s", self.lost_answer)
        return self._submit(self._new_attempt(start), start)

    def _send_again(self, stored: Attempt, start: Start) -> Attempt:
        """Send the request of an earlier try again, under its id: it may have arrived, or not."""
        start.uncertain = not self._looks
        return self._submit(replace(stored, at=self.clock.now(), deadline=self._new_deadline()), start)

    def _new_attempt(self, start: Start) -> Attempt:
        nonce = new_nonce()
        naming = self._keep_trying(lambda: self.name_job(start.context, nonce, start.worker), "Reading the connection")
        return Attempt(
            nonce=nonce,
            request_hash=hash_request(start.request),
            max_tries=start.max_tries,
            at=self.clock.now(),
            deadline=self._new_deadline(),
            job=start.worker.run(naming),
        )

    def _submit(self, attempt: Attempt, start: Start) -> Attempt:
        """Store the intent, start the job, store the job; a kill at any point leaves no job running."""
        start.store.save(attempt)
        try:
            self._guard.check()
            job = self._send(attempt, start)
        except Exception as exc:
            if isinstance(exc, Killed):
                self._guard.join()
            if not start.uncertain:  # certainly nothing was started
                start.store.forget()
                self._guard.answer_for()
            if isinstance(exc, UnknownOutcome):
                raise no_retry(exc) from exc
            raise
        attempt = attempt.confirmed(job, self.clock.now())
        start.store.save(attempt)
        self._guard.check()
        self.log.info("Started %s%s", job, f": {job.link}" if job.link else "")
        return attempt

    def _send(self, attempt: Attempt, start: Start) -> Job:
        """Send the request until it is answered, and not for longer than the job may take in all."""
        left = (attempt.deadline - self.clock.now()).total_seconds() if attempt.deadline else None
        guard = self._guard
        guard.answer_for(*([attempt.job] if attempt.job else []))
        guard.submitting = True
        try:
            sending = self._keep_trying(lambda: self._send_once(attempt, start), "Starting the job", left)
            job = start.worker.run(sending)
            guard.answer_for(job)
        except Conflict as taken:
            if not (attempt.job and taken.existing and taken.existing.remote_id == attempt.job.remote_id):
                raise
            job = taken.existing  # ours: the request had arrived
            guard.answer_for(job)
        finally:
            guard.submitting = False
        return job

    async def _send_once(self, attempt: Attempt, start: Start) -> Job:
        if start.uncertain:
            found = await self.find_job(attempt, start.request, start.worker)
            if found is not None:
                return found
        if self._guard.killed:
            raise Killed("The task was told to stop while it was starting its job.")
        if start.uncertain and self._looks and self.clock.monotonic() - start.failed_at < RESEND_AFTER:
            raise TryAgain("It is not there yet, and may come; only then the request is sent again")
        uncertain, start.uncertain = start.uncertain, True
        try:
            return await self.submit(attempt, start.request, start.context, start.worker)
        except TryAgain as exc:
            start.uncertain = uncertain or exc.processed
            start.failed_at = self.clock.monotonic()
            raise
        except UnknownOutcome:
            raise
        except BadRequest:
            start.uncertain = uncertain
            raise

    def stored_jobs(self, context: Context) -> Sequence[Job]:
        """See OwnerOperator."""
        stored = AttemptStore(context, self.log).load()
        return [stored.job] if stored and stored.job else []
