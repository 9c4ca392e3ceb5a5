"""Fakes of the services that ork_provider talks to, over real HTTP, for tests without a cloud.

For example::

    from ork_provider.testing import FakeBigQuery, Fault, Outcome

    with FakeBigQuery(running=0.5) as bigquery:
        bigquery.script("FROM t", Outcome(error={"reason": "notFound", "message": "Not found: Table p:d.t"}))
        bigquery.fail(Fault.status(503), on="GET */jobs/*", nth=2)
        ...  # point the connection at bigquery.url, run the DAG
        assert not bigquery.live()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ork_provider.testing.bigquery import FakeBigQuery
    from ork_provider.testing.bigquery_jobs import FakeJob, Outcome
    from ork_provider.testing.clock import FakeClock
    from ork_provider.testing.cloud_run import FakeCloudRun
    from ork_provider.testing.cloud_run_jobs import ExecutionOutcome, FakeExecution
    from ork_provider.testing.dataproc import FakeDataproc
    from ork_provider.testing.dataproc_jobs import DataprocOutcome, FakeDataprocBatch, FakeDataprocJob
    from ork_provider.testing.dqops import FakeDqops
    from ork_provider.testing.dqops_jobs import DqopsOutcome, FakeDqopsJob
    from ork_provider.testing.faults import Answer, Fault, Refused
    from ork_provider.testing.google_connection import google_connections, merged_connections
    from ork_provider.testing.http_jobs import FakeHttpJob, FakeHttpJobs, HttpOutcome
    from ork_provider.testing.server import FakeServer, FaultRule, PortInUse, RecordedRequest, Route
    from ork_provider.testing.trigger_runner import TriggerResult, run_trigger

_HOMES = {
    "bigquery": ("FakeBigQuery",),
    "bigquery_jobs": ("FakeJob", "Outcome"),
    "clock": ("FakeClock",),
    "cloud_run": ("FakeCloudRun",),
    "cloud_run_jobs": ("ExecutionOutcome", "FakeExecution"),
    "dataproc": ("FakeDataproc",),
    "dataproc_jobs": ("DataprocOutcome", "FakeDataprocBatch", "FakeDataprocJob"),
    "dqops": ("FakeDqops",),
    "dqops_jobs": ("DqopsOutcome", "FakeDqopsJob"),
    "faults": ("Answer", "Fault", "Refused"),
    "google_connection": ("google_connections", "merged_connections"),
    "http_jobs": ("FakeHttpJob", "FakeHttpJobs", "HttpOutcome"),
    "server": ("FakeServer", "FaultRule", "PortInUse", "RecordedRequest", "Route"),
    "trigger_runner": ("TriggerResult", "run_trigger"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "DataprocOutcome",
    "DqopsOutcome",
    "ExecutionOutcome",
    "FakeBigQuery",
    "FakeClock",
    "FakeCloudRun",
    "FakeDataproc",
    "FakeDataprocBatch",
    "FakeDataprocJob",
    "FakeDqops",
    "FakeDqopsJob",
    "FakeExecution",
    "FakeHttpJob",
    "FakeHttpJobs",
    "FakeJob",
    "FakeServer",
    "Fault",
    "FaultRule",
    "HttpOutcome",
    "Outcome",
    "PortInUse",
    "RecordedRequest",
    "Refused",
    "Route",
    "TriggerResult",
    "google_connections",
    "merged_connections",
    "run_trigger",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
