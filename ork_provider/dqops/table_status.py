"""DqopsAssertTableStatusOperator: fails if the latest results of a table's checks are too severe."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ork_provider.dqops import requests
from ork_provider.dqops.base import GATE, WAIT_TIMEOUT, check_arguments, check_gate, new_gate, read_arguments
from ork_provider.dqops.connection import DQOPS_CONNECTION
from ork_provider.dqops.job import check_base_url, read_counts
from ork_provider.dqops.outcome import DqopsQualityIssue
from ork_provider.dqops.service import DqopsService
from ork_provider.dqops.values import Argument, CheckTimeScale, RuleSeverityLevel, plain
from ork_provider.errors import MISSHAPEN, BadRequest, InvalidJob, NotFound, TryAgain
from ork_provider.job import describe
from ork_provider.operator.arguments import to_seconds
from ork_provider.templates import holds_template
from ork_provider.trigger import read_seconds
from ork_provider.waiting import Clock, Policy, SystemClock, keep_trying
from ork_provider.worker import Worker

if TYPE_CHECKING:
    from airflow.sdk import Context

_PLACE = {name: Argument(name, str) for name in ("connection_name", "schema_name", "table_name")}


class DqopsAssertTableStatusOperator(BaseOperator):
    """Asks once for the data quality status of a table, and fails if it is too severe.

    There is no job: DQOps answers at once, from results that it has stored. Returns the status as DQOps answers
    it. A status at or above ``fail_at_severity`` fails the task with DqopsQualityIssue, which Airflow does not
    retry.

    :param connection_name: name of the data source's connection in DQOps
    :param schema_name: schema of the table
    :param table_name: the table
    :param months: how many months back results count, the current one included; DQOps' default is 1
    :param since: results from this time on count
    :param profiling: whether results of profiling checks count; DQOps' default is no
    :param monitoring: whether results of monitoring checks count; DQOps' default is yes
    :param partitioned: whether results of partitioned checks count; DQOps' default is yes
    :param check_time_scale: only daily or only monthly checks
    :param data_group: only this data group
    :param check_name: only this check
    :param category: only this category of checks
    :param table_comparison: only this table comparison
    :param quality_dimension: only this data quality dimension
    :param base_url: base URL of the server; default: the connection's
    :param dqops_conn_id: Airflow connection of type ``dqops``; ``dqops_default`` need not be defined
    :param wait_timeout: seconds or timedelta for which a try waits for an answer, asking again after errors that may
        pass; None: 600 seconds
    :param timeout: the same, and counts instead of ``wait_timeout`` if it is given
    :param fail_on_timeout: whether the task fails if DQOps has not answered by then; if not, it returns None
    :param fail_at_severity: severity from which on the task fails; None: never
    :param fail_on_execution_errors: fail, too, if checks could not be run
    :param min_executed_checks: fail if fewer checks were run
    """

    template_fields: Sequence[str] = (
        *_PLACE,
        *requests.TABLE_STATUS,
        "base_url",
        "dqops_conn_id",
        *GATE,
    )
    ui_color = "#e3f3f1"
    clock: Clock = SystemClock()

    def __init__(
        self,
        *,
        connection_name: str,
        schema_name: str,
        table_name: str,
        months: int | None = None,
        since: datetime | str | None = None,
        profiling: bool | None = None,
        monitoring: bool | None = None,
        partitioned: bool | None = None,
        check_time_scale: CheckTimeScale | str | None = None,
        data_group: str | None = None,
        check_name: str | None = None,
        category: str | None = None,
        table_comparison: str | None = None,
        quality_dimension: str | None = None,
        base_url: str | None = None,
        dqops_conn_id: str = DQOPS_CONNECTION["dqops_conn_id"],
        wait_timeout: timedelta | float | None = WAIT_TIMEOUT,
        timeout: timedelta | float | None = None,
        fail_on_timeout: bool = True,
        fail_at_severity: RuleSeverityLevel | str | None = RuleSeverityLevel.FATAL,
        fail_on_execution_errors: bool = False,
        min_executed_checks: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connection_name = connection_name
        self.schema_name = schema_name
        self.table_name = table_name
        self.months = months
        self.since = since
        self.profiling = profiling
        self.monitoring = monitoring
        self.partitioned = partitioned
        self.check_time_scale = plain(check_time_scale)
        self.data_group = data_group
        self.check_name = check_name
        self.category = category
        self.table_comparison = table_comparison
        self.quality_dimension = quality_dimension
        self.base_url = base_url
        self.dqops_conn_id = dqops_conn_id
        self.wait_timeout = wait_timeout
        self.timeout = timeout
        self.fail_on_timeout = fail_on_timeout
        self.fail_at_severity = plain(fail_at_severity)
        self.fail_on_execution_errors = fail_on_execution_errors
        self.min_executed_checks = min_executed_checks
        self._check_arguments()

    def _check_arguments(self, *, rendered: bool = False) -> None:
        check_arguments(self, {**_PLACE, **requests.TABLE_STATUS}, rendered=rendered)
        check_gate(self, rendered=rendered)
        for name in ("wait_timeout", "timeout"):
            if (limit := getattr(self, name)) is not None:
                read_seconds(to_seconds(limit), f"{self}.{name}")
        for name in _PLACE:
            if not getattr(self, name):
                raise InvalidJob(f"{self}.{name}: it is empty.")
        if self.base_url is not None and (rendered or not holds_template(self.base_url)):
            check_base_url(self.base_url, f"{self}.base_url")

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Ask for the status and hold it against the gate."""
        self._check_arguments(rendered=True)
        gate = new_gate(self)
        try:
            status = self._ask()
        except NotFound as exc:
            raise BadRequest(f"DQOps does not know the table {self._table}: {exc}") from exc
        except TryAgain:
            if self.fail_on_timeout:
                raise
            self.log.warning("DQOps did not answer; the task succeeds all the same (fail_on_timeout=False)")
            return None
        counts = self._counts(status)
        if not counts["executed_checks"]:
            self.log.warning("No checks of table %s were run; min_executed_checks=1 fails the task then", self._table)
        if complaint := gate.complaint(counts):
            raise DqopsQualityIssue(f"Table {self._table}: {complaint}", job=status)
        return status

    def _ask(self) -> dict[str, Any]:
        with Worker({"dqops_conn_id": self.dqops_conn_id}) as worker:
            return worker.run(self._ask_in_time(worker))

    async def _ask_in_time(self, worker: Worker) -> dict[str, Any]:
        """Ask until there is an answer, in all no longer than the limit, however slow the server is."""
        limit = self.wait_timeout if self.timeout is None else self.timeout
        policy = Policy() if limit is None else Policy(error_budget=float(to_seconds(limit)))
        asking = keep_trying(
            lambda: self._ask_once(worker),
            policy=policy,
            clock=self.clock,
            log=self.log,
            what=f"Asking for the status of {self._table}",
        )
        try:
            return await asyncio.wait_for(asking, policy.error_budget)
        except asyncio.TimeoutError as exc:
            what = f"DQOps did not answer within {policy.error_budget:g} s what the status of {self._table} is"
            raise TryAgain(what) from exc

    async def _ask_once(self, worker: Worker) -> dict[str, Any]:
        connection, schema, table = read_arguments(self, _PLACE).values()
        call = requests.table_status(connection, schema, table, read_arguments(self, requests.TABLE_STATUS))
        service = await worker.services.open(DqopsService)
        assert isinstance(service, DqopsService)
        status = await service.call(call, self.base_url)
        self._counts(status)
        return status

    def _counts(self, status: Mapping[str, Any]) -> dict[str, Any]:
        """Return the severity and the counts of a status; without a severity nothing was run."""
        try:
            return {"executed_checks": 0, **read_counts(status, "current_severity")}
        except MISSHAPEN as exc:
            raise TryAgain(f"The answer is not the status of a table: {describe(status)}") from exc

    @property
    def _table(self) -> str:
        return f"{self.connection_name}.{self.schema_name}.{self.table_name}"

    def __str__(self) -> str:
        return f"{type(self).__name__}(task_id={self.task_id!r})"


class DqopsAssertProfilingTableStatusOperator(DqopsAssertTableStatusOperator):
    """Counts results of profiling checks only; see DqopsAssertTableStatusOperator."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "profiling": True, "monitoring": False, "partitioned": False})


class DqopsAssertMonitoringTableStatusOperator(DqopsAssertTableStatusOperator):
    """Counts results of monitoring checks only; see DqopsAssertTableStatusOperator."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "profiling": False, "monitoring": True, "partitioned": False})


class DqopsAssertPartitionedTableStatusOperator(DqopsAssertTableStatusOperator):
    """Counts results of partitioned checks only; see DqopsAssertTableStatusOperator."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "profiling": False, "monitoring": False, "partitioned": True})
