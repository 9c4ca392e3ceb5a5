"""DQOps under the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ork_provider.dqops import DqopsRunChecksOperator
from ork_provider.testing import DqopsOutcome, FakeDqops
from tests.contract.kinds.kind import Kind

JOBS = "/api/jobs/jobs"


@contextmanager
def dqops() -> Iterator[Kind]:
    with FakeDqops(pending=0.1) as fake:

        def operator(what: int = 1, **kwargs: Any) -> DqopsRunChecksOperator:
            # As other kinds, and not as DQOps' users know it: one limit for all tries, at which the job is cancelled.
            limits = {"wait_timeout": None, "cancel_on_timeout": True}
            ours = {"task_id": "load", "connection": "c", "full_table_name": f"s.t{what}", "poll_interval": 0.2}
            return DqopsRunChecksOperator(**{**ours, **limits, **kwargs})

        def script(running: float, good: bool, pending: float = 0.1) -> None:
            status = "finished" if good else "failed"
            outcome = DqopsOutcome(pending, running, status, error_message="Syntax error: Unexpected end")
            fake.script(lambda _: True, outcome)

        def watch(job: Any) -> Mapping[str, Any]:
            return {"service_type": "dqops", "job_id": job.job_id}

        yield Kind(
            name="dqops",
            fake=fake,
            operator=operator,
            script=script,
            started=lambda: list(fake.started),
            on_submit="POST /api/jobs/runchecks",
            on_status=f"GET {JOBS}/*",
            on_shared="GET /api/jobs/jobchangessince/*",
            on_cancel=f"DELETE {JOBS}/*",
            watch=watch,
            on_search=f"GET {JOBS}/*",
        )
