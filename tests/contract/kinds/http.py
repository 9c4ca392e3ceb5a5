"""HTTP jobs under the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ork_provider.http import HttpJobOperator
from ork_provider.testing import FakeHttpJobs, HttpOutcome
from tests.contract.kinds.kind import Kind


@contextmanager
def http() -> Iterator[Kind]:
    with FakeHttpJobs(pending=0.1) as fake:

        def operator(what: int = 1, **kwargs: Any) -> HttpJobOperator:
            urls = {"status_url": "/jobs/{job_id}", "cancel_url": "/jobs/{job_id}"}
            ours = {"task_id": "load", "endpoint": "/jobs", "data": {"what": what}, "poll_interval": 0.2}
            return HttpJobOperator(
                **{**ours, **urls, "idempotency_header": "Idempotency-Key", "message_field": "error", **kwargs}
            )

        def script(running: float, good: bool, pending: float = 0.1) -> None:
            outcome = "completed" if good else "failed"
            fake.script(lambda _: True, HttpOutcome(pending, running, outcome, {"rows": 1}, "Syntax error"))

        def watch(job: Any) -> Mapping[str, Any]:
            path = f"/jobs/{job.job_id}"
            return {"service_type": "custom_http", "url": path, "cancel_url": path, "message_field": "error"}

        yield Kind(
            name="custom_http",
            fake=fake,
            operator=operator,
            script=script,
            started=lambda: list(fake.created),
            on_submit="POST /jobs",
            on_status="GET /jobs/*",
            on_cancel="DELETE /jobs/*",
            watch=watch,
            result={"result_url": "/jobs/{job_id}/result"},
            on_result="GET */result",
        )
