"""WaitForJobsOperator: one task, and one trigger, for any number of jobs of any kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ork_provider.errors import InvalidJob
from ork_provider.forms import read_jobs
from ork_provider.job import Job, JobStatus
from ork_provider.operator.outcome import failure, for_good
from ork_provider.operator.wait import WaitOperator
from ork_provider.service import CONNECTIONS
from ork_provider.session import Headers, hide_headers
from ork_provider.trigger import JobsTrigger
from ork_provider.waiting import Until

if TYPE_CHECKING:
    from airflow.sdk import Context


class JobsOperator(WaitOperator):
    """What all that wait for many jobs share: how many are enough, and a connection for each service.

    :param until: ``"all"``, ``"any"`` or the number of jobs that must succeed
    :param fail_fast: end at the first job that did not succeed, instead of following the others to their end
    :param cancel_rest: cancel what still runs when the wait ends without it (``fail_fast``, ``"any"``, a number)
    :param gcp_conn_id: Airflow connection for Google's services
    :param impersonation_chain: service account to act as there, or a chain of them
    :param http_conn_id: Airflow connection for HTTP jobs
    :param dqops_conn_id: Airflow connection for DQOps
    :param airflow_conn_id: HTTP connection of another Airflow, for dependencies; a job's own ``conn_id`` comes before
        any of these
    """

    trigger_class = JobsTrigger

    def __init__(
        self,
        *,
        until: Until = "all",
        fail_fast: bool = False,
        gcp_conn_id: str = CONNECTIONS["gcp_conn_id"],
        impersonation_chain: str | Sequence[str] | None = None,
        http_conn_id: str = CONNECTIONS["http_conn_id"],
        dqops_conn_id: str = CONNECTIONS["dqops_conn_id"],
        airflow_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.until = until
        self.fail_fast = fail_fast
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.http_conn_id = http_conn_id
        self.dqops_conn_id = dqops_conn_id
        self.airflow_conn_id = airflow_conn_id
        self._check_until()

    def _check_until(self) -> None:
        good = self.until in ("all", "any") or (type(self.until) is int and self.until >= 1)
        if not good:
            raise self.bad_argument("until", '"all", "any" or a number of jobs', self.until)

    def result(self, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the task's result: all jobs, also when there is only one."""
        return {"jobs": list(jobs)}


class WaitForJobsOperator(JobsOperator):
    """Waits for any number of jobs of any kinds, started by somebody else, in one task and one trigger.

    Returns ``{"jobs": [...]}``: each job's dict with ``state``, ``message``, ``stats`` and ``link``. A wait that fails
    pushes the same list as XCom ``ork_job``. Whoever only watches cancels nothing, unless ``cancel_on_kill``,
    ``cancel_on_timeout`` or ``cancel_rest`` says otherwise; and a job that has failed is not asked for again, so
    that retries are left for waits that could not be made.

    :param jobs: jobs in any form that a task returns (see ``ork_provider.forms``): job values, dicts, lists of them,
        the output of another task, also of a mapped one
    """

    template_fields: Sequence[str] = ("jobs", *CONNECTIONS)
    template_fields_renderers: ClassVar[dict[str, str]] = {"jobs": "json"}
    ui_color = "#f3e8fd"

    def __init__(self, *, jobs: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.jobs = jobs
        if isinstance(jobs, Sequence | Mapping) and not isinstance(jobs, str) and not jobs:
            raise self.bad_argument("jobs", "at least one job", jobs)

    @property
    def jobs(self) -> Any:
        """The jobs as dicts, for Airflow to render; secret headers are not shown."""
        return self._jobs

    @jobs.setter
    def jobs(self, value: Any) -> None:
        self._jobs = _shown(value)

    def wanted_jobs(self, context: Context) -> Sequence[Job]:
        """See WaitOperator."""
        try:
            return read_jobs(_as_json(_revealed(self.jobs)))
        except InvalidJob as exc:
            raise InvalidJob(f"{self}: {exc}") from exc

    def failure(self, verdict: str, message: str, jobs: Sequence[tuple[Job, JobStatus]]) -> Exception:
        """Return the error; one that stays true makes Airflow try no more."""
        return for_good(failure(verdict, message, jobs))


def _shown(value: Any) -> Any:
    """Turn job values into dicts, which Airflow renders, and keep their secret headers from being shown."""
    if isinstance(value, Job):
        value = value.to_dict()
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {key: hide_headers(item) if key == "headers" else _shown(item) for key, item in value.items()}
    return value


def _revealed(value: Any) -> Any:
    """Undo ``_shown`` for the headers."""
    if isinstance(value, Headers):
        return dict(value)
    if isinstance(value, list):
        return [_revealed(item) for item in value]
    if isinstance(value, dict):
        return {key: _revealed(item) for key, item in value.items()}
    return value


def _as_json(value: Any) -> Any:
    """Read a template that was rendered to JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
