"""Dataproc jobs under the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ork_provider.dataproc import DataprocJobOperator
from ork_provider.testing import DataprocOutcome, FakeDataproc
from tests.contract.kinds.kind import Kind

JOBS = "/v1/projects/*/regions/*/jobs"


@contextmanager
def dataproc() -> Iterator[Kind]:
    with FakeDataproc(pending=0.1) as fake:

        def operator(what: int = 1, **kwargs: Any) -> DataprocJobOperator:
            job = {"pysparkJob": {"mainPythonFileUri": "gs://b/main.py", "args": [str(what)]}}
            ours = {"task_id": "load", "job": job, "region": "us-east1", "cluster_name": "c", "poll_interval": 0.2}
            return DataprocJobOperator(**{**ours, **kwargs})

        def script(running: float, good: bool, pending: float = 0.1) -> None:
            error = None if good else "Job failed with message [Syntax error]"
            fake.script(lambda _: True, DataprocOutcome(pending, running, error, setup=0.0))

        def watch(job: Any) -> Mapping[str, Any]:
            place = {"project": job.project, "region": job.region}
            return {"service_type": "dataproc", "job_id": job.job_id, **place, "cluster_name": "c"}

        yield Kind(
            name="dataproc",
            fake=fake,
            operator=operator,
            script=script,
            started=lambda: list(fake.started),
            on_submit=f"POST {JOBS}:submit",
            on_status=f"GET {JOBS}/*",
            on_shared=f"GET {JOBS}",
            on_cancel=f"POST {JOBS}/*:cancel",
            watch=watch,
        )
