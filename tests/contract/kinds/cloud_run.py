"""Cloud Run jobs under the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ork_provider.cloud_run import CloudRunJobOperator
from ork_provider.cloud_run import operator as cloud_run_operator
from ork_provider.testing import ExecutionOutcome, FakeCloudRun
from tests.contract.kinds.kind import Kind

JOBS = "/v2/projects/*/locations/*/jobs"


@contextmanager
def cloud_run() -> Iterator[Kind]:
    patient, cloud_run_operator.LOOK_AGAIN = cloud_run_operator.LOOK_AGAIN, 0.05
    try:
        with FakeCloudRun(pending=0.1) as fake:
            yield _kind(fake)
    finally:
        cloud_run_operator.LOOK_AGAIN = patient


def _kind(fake: FakeCloudRun) -> Kind:
    def operator(what: int = 1, **kwargs: Any) -> CloudRunJobOperator:
        ours = {"task_id": "load", "region": "europe-west1", "job_name": "nightly", "poll_interval": 0.2}
        return CloudRunJobOperator(**{**ours, "overrides": {"args": [f"--what={what}"]}, **kwargs})

    def script(running: float, good: bool, pending: float = 0.1) -> None:
        message = "" if good else "Task nightly-task0 failed with message: Syntax error."
        outcome = ExecutionOutcome(pending=pending, running=running, failed=0 if good else 1, message=message)
        fake.script(lambda _: True, outcome)

    def watch(job: Any) -> Mapping[str, Any]:
        return {
            "service_type": "cloudrun",
            "project": job.project,
            "region": job.region,
            "job_name": job.job_name,
            "execution_id": job.execution_id,
        }

    return Kind(
        name="cloudrun",
        fake=fake,
        operator=operator,
        script=script,
        started=lambda: list(fake.started),
        on_submit=f"POST {JOBS}/*:run",
        on_status=f"GET {JOBS}/*/executions/*",
        on_cancel=f"POST {JOBS}/*/executions/*:cancel",
        watch=watch,
        on_search=f"GET {JOBS}/*/executions",
    )
