"""The same tasks with our operator and with Google's, for what happens to them in `_bench.reliability`."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator  # noqa: TID251 - the peer
from airflow.sdk import DAG

from ork_provider.bigquery import BigQueryJobOperator

PLAN = json.loads(Path(os.environ["ORK_BENCH_PLAN"]).read_text())
IN_THE_AIR = 0.7
"""Seconds after which a request has been sent for certain, and not answered: the fake is slow on purpose."""

STRUCK = {
    "SIGKILL before the request": "before",
    "SIGKILL, request sent": "sent",
    "SIGKILL, answer not stored": "answered",
}
STOPPED = "SIGTERM, request sent"


def strike(point: str, scenario: str) -> None:
    """Kill this process at a point of its first try; the request in the air goes on in the thread that called."""
    if point == STRUCK.get(scenario):
        if point == "sent":
            time.sleep(IN_THE_AIR)
        os.kill(os.getpid(), signal.SIGKILL)
    if point == "sent" and scenario == STOPPED:
        time.sleep(IN_THE_AIR)
        os.kill(os.getpid(), signal.SIGTERM)


def watch_request(scenario: str) -> None:
    """Strike from beside while the request is in the air."""
    threading.Thread(target=strike, args=("sent", scenario), daemon=True).start()


class Ours(BigQueryJobOperator):
    """Ours, which dies where the scenario says."""

    def __init__(self, *, scenario: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scenario = scenario

    async def submit(self, attempt: Any, request: Any, context: Any, worker: Any) -> Any:
        """Start the job."""
        if context["ti"].try_number > 1:
            return await super().submit(attempt, request, context, worker)
        strike("before", self.scenario)
        watch_request(self.scenario)
        job = await super().submit(attempt, request, context, worker)
        strike("answered", self.scenario)
        return job


class Googles(BigQueryInsertJobOperator):
    """Google's, which dies where the scenario says."""

    def __init__(self, *, scenario: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scenario = scenario
        self._first = False

    def execute(self, context: Any) -> Any:
        """Remember which try it is."""
        self._first = context["ti"].try_number == 1
        return super().execute(context)

    def _submit_job(self, hook: Any, job_id: str) -> Any:
        if not self._first:
            return super()._submit_job(hook, job_id)
        strike("before", self.scenario)
        watch_request(self.scenario)
        job = super()._submit_job(hook, job_id)
        strike("answered", self.scenario)
        return job


def start(who: str, scenario: dict[str, Any]) -> None:
    """Make the mapped task of a scenario."""
    tags = [f"{who}/{scenario['id']}/{n}" for n in range(PLAN["tasks"])]
    common: dict[str, Any] = {
        "task_id": f"{who}_{scenario['id']}",
        "scenario": scenario["name"],
        "poll_interval": 2,
        "retries": scenario["retries"],
        "retry_delay": timedelta(seconds=1),
        "execution_timeout": timedelta(seconds=scenario["timeout"]) if scenario["timeout"] else None,
    }
    if who == "ours":
        Ours.partial(**common).expand(sql=[f"SELECT '{tag}'" for tag in tags])
        return
    reattach = {"force_rerun": False, "reattach_states": {"PENDING", "RUNNING"}} if who == "reattach" else {}
    Googles.partial(**common, **reattach, project_id="ork-sandbox", deferrable=True).expand(
        configuration=[{"query": {"query": f"SELECT '{tag}'", "useLegacySql": False}} for tag in tags]
    )


with DAG("reliability", schedule=None, max_active_tasks=1000):
    for who in PLAN["who"]:
        for scenario in PLAN["scenarios"]:
            start(who, scenario)
