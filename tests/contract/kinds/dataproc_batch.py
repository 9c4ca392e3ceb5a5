"""Dataproc serverless batches under the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ork_provider.dataproc import DataprocBatchOperator
from ork_provider.testing import DataprocOutcome, FakeDataproc
from tests.contract.kinds.kind import Kind

BATCHES = "/v1/projects/*/locations/*/batches"


@contextmanager
def dataproc_batch() -> Iterator[Kind]:
    with FakeDataproc(pending=0.1) as fake:

        def operator(what: int = 1, **kwargs: Any) -> DataprocBatchOperator:
            batch = {"sparkBatch": {"mainClass": "org.example.Main", "args": [str(what)]}}
            ours = {"task_id": "load", "batch": batch, "region": "us-east1", "poll_interval": 0.2}
            return DataprocBatchOperator(**{**ours, **kwargs})

        def script(running: float, good: bool, pending: float = 0.1) -> None:
            error = None if good else "Job failed with message [Syntax error]"
            fake.script(lambda _: True, DataprocOutcome(pending, running, error))

        def watch(batch: Any) -> Mapping[str, Any]:
            place = {"project": batch.project, "region": batch.region}
            return {"service_type": "dataproc_batch", "batch_id": batch.batch_id, **place}

        yield Kind(
            name="dataproc_batch",
            fake=fake,
            operator=operator,
            script=script,
            started=lambda: list(fake.started_batches),
            on_submit=f"POST {BATCHES}",
            on_status=f"GET {BATCHES}/*",
            on_shared=f"GET {BATCHES}",
            on_cancel="POST /v1/projects/*/operations/*:cancel",
            watch=watch,
        )
