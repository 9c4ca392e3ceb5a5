"""Tasks that start a job of so many seconds and wait for it: in the worker, rescheduled, and deferred."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG, BaseSensorOperator
from airflow.sdk.bases.hook import BaseHook

from ork_provider.http import HttpJobOperator

AT_ONCE = int(os.environ.get("ORK_BENCH_AT_ONCE", "2"))
TASKS = int(os.environ.get("ORK_BENCH_TASKS", "4"))
EVERY = float(os.environ.get("ORK_BENCH_EVERY", "5"))
WAITS = [int(text) for text in os.environ.get("ORK_BENCH_WAITS", "1,5,15,60").split(",")]
HTTP: dict[str, Any] = {
    "endpoint": "/jobs",
    "status_url": "/jobs/{job_id}",
    "idempotency_header": "Idempotency-Key",
    "poll_interval": EVERY,
}


class Rescheduled(BaseSensorOperator):
    """The least that a sensor in mode "reschedule" can do: one request per look, with a client that is loaded already.

    The first request starts the job; the same request again answers how it is, for its key is known.
    """

    def __init__(self, *, data: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(mode="reschedule", poke_interval=EVERY, **kwargs)
        self.data = data

    def poke(self, context: Any) -> bool:
        """Ask once."""
        import httpx

        connection = BaseHook.get_connection("http_default")
        key = f"{context['run_id']} {context['ti'].map_index}"
        url = f"http://{connection.host}:{connection.port}/jobs"
        answer = httpx.post(url, json=self.data, headers={"Idempotency-Key": key}).raise_for_status()
        return bool(answer.json()["status"] == "completed")


for seconds in WAITS:
    jobs = [{"n": n, "fake": {"pending": 0, "running": seconds}} for n in range(TASKS)]

    with DAG(f"worker_{seconds}", schedule=None, max_active_tasks=AT_ONCE):
        HttpJobOperator.partial(task_id="wait", deferrable=False, **HTTP).expand(data=jobs)

    with DAG(f"rescheduled_{seconds}", schedule=None, max_active_tasks=AT_ONCE):
        Rescheduled.partial(task_id="wait").expand(data=jobs)

    with DAG(f"deferred_{seconds}", schedule=None, max_active_tasks=AT_ONCE):
        HttpJobOperator.partial(task_id="wait", deferrable=True, **HTTP).expand(data=jobs)
