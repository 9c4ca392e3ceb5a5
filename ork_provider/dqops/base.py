"""What the DQOps operators share: the server, the limit of one try, arguments, and how a job is started once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from ork_provider.attempt import Attempt, readable_id
from ork_provider.dqops.connection import DQOPS_CONNECTION
from ork_provider.dqops.job import DqopsJob, check_base_url
from ork_provider.dqops.outcome import DqopsQualityIssue, Gate
from ork_provider.dqops.requests import Call
from ork_provider.dqops.service import DqopsService
from ork_provider.dqops.trigger import DqopsJobTrigger
from ork_provider.dqops.values import Argument, RuleSeverityLevel, plain, read_text
from ork_provider.errors import InvalidJob, TryAgain, UnknownOutcome
from ork_provider.job import Job, JobStatus, describe, describe_job
from ork_provider.operator import JobOperator, WaitOperator
from ork_provider.operator.arguments import to_seconds
from ork_provider.templates import holds_template
from ork_provider.waiting import TIMEOUT

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.operator.job import Start
    from ork_provider.worker import Worker

WAIT_TIMEOUT = 120
"""Seconds that one try waits unless told otherwise."""

KEY_LIMIT = 150
"""Characters of a business key that we make; DQOps names no limit."""


class DqopsOperator(WaitOperator):
    """Waits for DQOps jobs, each try for so long; base of what starts a job and of what watches one.

    :param base_url: base URL of the server; default: the connection's
    :param dqops_conn_id: Airflow connection of type ``dqops``; ``dqops_default`` need not be defined
    :param wait_timeout: seconds or timedelta that one try waits; None: without a limit. A next try waits anew. If
        ``timeout`` is given, that counts instead
    :param fail_on_timeout: whether a try that has waited that long fails; if not, it succeeds and returns the
        job with the state ``running``. Not together with ``cancel_on_timeout=True``
    """

    trigger_class = DqopsJobTrigger
    job_type = DqopsJob

    def __init__(
        self,
        *,
        base_url: str | None = None,
        dqops_conn_id: str = DQOPS_CONNECTION["dqops_conn_id"],
        wait_timeout: timedelta | float | None = WAIT_TIMEOUT,
        fail_on_timeout: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.base_url = base_url
        self.dqops_conn_id = dqops_conn_id
        self.wait_timeout = wait_timeout
        self.fail_on_timeout = fail_on_timeout
        if wait_timeout is not None:
            self.check_seconds("wait_timeout", to_seconds(wait_timeout))
        if base_url is not None and not holds_template(base_url):
            check_base_url(base_url, f"{self}.base_url")
        if self.cancel_on_timeout and not fail_on_timeout:
            raise self.bad_argument("cancel_on_timeout", "False with fail_on_timeout=False", self.cancel_on_timeout)

    def _end_of_try(self, limit: datetime | None) -> datetime | None:
        """Return when a wait ends that begins now: after ``wait_timeout``, if that is before its limit."""
        if self.timeout is not None or self.wait_timeout is None:
            return limit
        ours = self.clock.now() + timedelta(seconds=to_seconds(self.wait_timeout))
        return min(limit, ours) if limit else ours

    @property
    def _job_conn_id(self) -> str | None:
        """The connection that a job names, so that whoever waits for it asks the right server; not the default."""
        return None if self.dqops_conn_id == DQOPS_CONNECTION["dqops_conn_id"] else self.dqops_conn_id

    def check_rendered(self) -> None:
        """Raise InvalidJob for what was a template when the DAG was parsed and makes no sense now."""
        if self.base_url is not None:
            check_base_url(self.base_url, f"{self}.base_url")

    def _complete(
        self,
        context: Context,
        verdict: str,
        message: str,
        jobs: Sequence[tuple[Job, JobStatus]],
        worker: Worker,
    ) -> Any:
        if verdict == TIMEOUT and not self.fail_on_timeout:
            verdict, message, jobs = self._time_out(message, jobs, worker)
            if verdict == TIMEOUT:
                self.log.warning("%s The task succeeds all the same (fail_on_timeout=False).", message)
                return self.result([describe_job(job, status) for job, status in jobs])
        return super()._complete(context, verdict, message, jobs, worker)

    def check_arguments(self, table: Mapping[str, Argument], *, rendered: bool = False) -> None:
        """Raise InvalidJob for an argument of the wrong kind; what is still a template is left for later."""
        check_arguments(self, table, rendered=rendered)


class DqopsGate(DqopsOperator):
    """An operator that fails if the checks of its job have found something.

    :param fail_at_severity: severity from which on the task fails; None: never
    :param fail_on_execution_errors: fail, too, if checks could not be run
    :param min_executed_checks: fail if fewer checks were run; DQOps calls a run of no checks at all valid
    """

    def __init__(
        self,
        *,
        fail_at_severity: RuleSeverityLevel | str | None = RuleSeverityLevel.FATAL,
        fail_on_execution_errors: bool = False,
        min_executed_checks: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.fail_at_severity = plain(fail_at_severity)
        self.fail_on_execution_errors = fail_on_execution_errors
        self.min_executed_checks = min_executed_checks
        check_gate(self)

    def check_rendered(self) -> None:
        """See DqopsOperator."""
        super().check_rendered()
        check_gate(self, rendered=True)

    async def finish(self, job: Job, status: JobStatus, worker: Worker) -> dict[str, Any]:
        """Hold the results against the gate; only of a job that has run checks."""
        ran_checks = str(status.stats.get("job_type", "")).startswith("run_checks")
        if ran_checks and (complaint := new_gate(self).complaint(status.stats)):
            raise DqopsQualityIssue(f"{job}: {complaint}", job=describe_job(job, status))
        return {}


class DqopsJobOperator(DqopsOperator, JobOperator):
    """Starts a job of DQOps and waits for it.

    A kill cancels the job. The end of ``wait_timeout`` leaves it running, for a DqopsWaitForJobOperator or the
    next try to wait on, unless ``cancel_on_timeout`` says otherwise.

    :param job_business_key: key under which others may ask for the job; DQOps does not see to it that it is
        unique. Without one the job gets a key of ours, which is
    """

    can_resubmit = False
    arguments: ClassVar[Mapping[str, Argument]]
    """What is sent, by the names of the operator's attributes."""

    def __init__(
        self, *, job_business_key: str | None = None, cancel_on_timeout: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(cancel_on_timeout=bool(cancel_on_timeout), **kwargs)
        self.job_business_key = job_business_key
        check_text(self, "job_business_key", job_business_key)

    @abstractmethod
    def new_call(self, arguments: Mapping[str, Any]) -> Call:
        """Return the request that starts the job, without a business key."""

    def check_rendered(self) -> None:
        """See DqopsOperator."""
        super().check_rendered()
        self.check_arguments(self.arguments, rendered=True)
        check_text(self, "job_business_key", self.job_business_key, rendered=True)

    def build_request(self, context: Context) -> dict[str, Any]:
        """See JobOperator; what was a template when the DAG was parsed is checked now."""
        self.check_rendered()
        _, path, params, body = self.new_call(read_arguments(self, self.arguments))
        return {"path": path, "params": params, "json": body}

    def _find_or_submit(self, start: Start) -> Attempt:
        """See JobOperator; every try waits for ``wait_timeout`` of its own, from when its job has been started."""
        limit = self._new_deadline()
        attempt = super()._find_or_submit(start)
        if self.timeout is not None or self.wait_timeout is None:
            return attempt
        return replace(attempt, deadline=self._end_of_try(limit))

    def _new_job(self, key: str | None) -> DqopsJob:
        return DqopsJob(job_business_key=key, base_url=self.base_url, conn_id=self._job_conn_id)

    async def name_job(self, context: Context, nonce: str, worker: Worker) -> DqopsJob | None:
        """Return the job under a key of ours or the user's; None if another job has the user's key already."""
        if self.job_business_key is None:
            return self._new_job(readable_id(context["ti"], nonce, limit=KEY_LIMIT))
        key = read_text(self.job_business_key)
        job = self._new_job(key)
        known = await (await service_of(job, worker)).find(job)
        if known is None:
            return job
        self.log.warning(
            "The business key %r is that of job %s; from now on it is the new job's. If the answer to the start is "
            "lost, the new job cannot be told from the old one: give each run a key of its own",
            key,
            known.job_id,
        )
        return None

    async def submit(self, attempt: Attempt, request: Mapping[str, Any], context: Context, worker: Worker) -> DqopsJob:
        """Start the job under its key."""
        job = attempt.job or self._new_job(read_text(self.job_business_key))
        assert isinstance(job, DqopsJob)
        params = {"jobBusinessKey": job.job_business_key, **request["params"]}
        try:
            return await (await service_of(job, worker)).submit(job, {**request, "params": params})
        except TryAgain as exc:
            if attempt.job is None and exc.processed:
                raise UnknownOutcome(str(exc)) from exc
            raise

    async def find_job(self, attempt: Attempt, request: Mapping[str, Any], worker: Worker) -> DqopsJob | None:
        """Look for the job by its key, once; what is found is known by its number from then on.

        DQOps lists a new job a moment after it has started it; JobOperator looks again.
        """
        if not isinstance(attempt.job, DqopsJob):
            return None
        return await (await service_of(attempt.job, worker)).find(attempt.job)


async def service_of(job: DqopsJob, worker: Worker) -> DqopsService:
    """Return the DQOps service of a job's connection, else of the operator's."""
    service = await worker.services.of(job)
    assert isinstance(service, DqopsService)
    return service


def check_arguments(operator: Any, table: Mapping[str, Argument], *, rendered: bool = False) -> None:
    """Raise InvalidJob for an argument of the wrong kind; what is still a template is left for later."""
    for name, argument in table.items():
        value = getattr(operator, name)
        if value is None or (holds_template(value) and not rendered):
            continue
        if not argument.accepts(argument.read(value) if rendered else value):
            raise _bad(operator, name, argument.expected(), value)


def read_arguments(operator: Any, table: Mapping[str, Argument]) -> dict[str, Any]:
    """Return an operator's arguments by name, from what their templates have rendered."""
    return {name: argument.read(getattr(operator, name)) for name, argument in table.items()}


GATE = {
    "fail_at_severity": Argument("fail_at_severity", RuleSeverityLevel),
    "fail_on_execution_errors": Argument("fail_on_execution_errors", bool),
    "min_executed_checks": Argument("min_executed_checks", int, least=0),
}
"""Arguments of a gate."""


def check_gate(operator: Any, *, rendered: bool = False) -> None:
    """Raise InvalidJob for a gate that makes no sense; what is still a template is left for later."""
    check_arguments(operator, GATE, rendered=rendered)


def new_gate(operator: Any) -> Gate:
    """Return an operator's gate, from its rendered arguments."""
    check_gate(operator, rendered=True)
    read = read_arguments(operator, GATE)
    return Gate(
        fail_at_severity=read["fail_at_severity"],
        fail_on_execution_errors=bool(read["fail_on_execution_errors"]),
        min_executed_checks=read["min_executed_checks"] or 0,
    )


def check_text(operator: Any, name: str, value: object, *, rendered: bool = False) -> None:
    """Raise InvalidJob for what is no text, nor will be."""
    if value is None or (holds_template(value) and not rendered):
        return
    text = read_text(value) if rendered else value
    if not isinstance(text, str) or not text:
        raise _bad(operator, name, "a text, or None", value)


def _bad(operator: Any, name: str, expected: str, value: object) -> InvalidJob:
    who = f"{type(operator).__name__}(task_id={operator.task_id!r})"
    return InvalidJob(f"{who}: {name} must be {expected}, got {describe(value)}.")
