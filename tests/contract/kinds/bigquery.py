"""BigQuery under the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ork_provider.bigquery import BigQueryJobOperator
from ork_provider.testing import FakeBigQuery, Outcome
from tests.contract.kinds.kind import Kind

JOBS = "/bigquery/v2/projects/*/jobs"


@contextmanager
def bigquery() -> Iterator[Kind]:
    with FakeBigQuery(pending=0.1) as fake:

        def operator(what: int = 1, **kwargs: Any) -> BigQueryJobOperator:
            return BigQueryJobOperator(**{"task_id": "load", "sql": f"SELECT {what}", "poll_interval": 0.2, **kwargs})

        def script(running: float, good: bool, pending: float = 0.1) -> None:
            error = None if good else {"reason": "invalidQuery", "message": "Syntax error: Unexpected end"}
            fake.script(lambda _: True, Outcome(pending=pending, running=running, error=error))

        def watch(job: Any) -> Mapping[str, Any]:
            return {
                "service_type": "bigquery",
                "project": job.project,
                "job_id": job.job_id,
                "location": job.location,
            }

        yield Kind(
            name="bigquery",
            fake=fake,
            operator=operator,
            script=script,
            started=lambda: list(fake.inserted),
            on_submit=f"POST {JOBS}",
            on_status=f"GET {JOBS}/*",
            on_shared=f"GET {JOBS}",
            on_cancel=f"POST {JOBS}/*/cancel",
            watch=watch,
            result={"max_results": 1},
            on_result="GET */queries/*",
        )
