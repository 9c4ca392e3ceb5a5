"""# 51.2.5 HttpSensorAsync

Wait for an HTTP API without a worker. Airflow has no `HttpSensorAsync` (it came from another provider, which is no
longer maintained): it is `HttpSensor(deferrable=True)`. The worker asks once; then `HttpSensorTrigger` asks every
`poke_interval` for as long as the answer is 404.

## You will see

1. Waiting until an API has what we ask for: 404 means not yet, any 2xx means ready.
2. `response_check`, which looks into the answer. It is a Python function, and stays in the worker: with it, the
   sensor blocks, whatever `deferrable` says ([#40209](https://github.com/apache/airflow/issues/40209)).
3. `timeout`, which ends the wait, not the request; and errors other than 404: in the worker they fail the task, for
   Airflow to retry. In the triggerer the request is sent again without any pause, so do not rely on
   `response_error_codes_allowlist` there ([#69903](https://github.com/apache/airflow/issues/69903)).
4. An operation that takes long: `HttpJobOperator` starts it and reads its status in the triggerer.

## Watch

`wait_ready` is deferred (purple), `check_response` running (light green) all the time. `wait_missing` is skipped,
because of `soft_fail`, when its timeout has passed. `meet_errors` and `report` have the four points.

## Expect

The run succeeds after about 20 s. `airflow dags test` knows no timeouts: there `wait_missing` waits until the job
exists.

## Needs

An HTTP job service at the connection `http_default`, such as the one of `python -m ork_provider.testing`.

## Next

51.2.6 waits for another DAG.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.http.hooks.http import HttpAsyncHook, HttpHook
from airflow.providers.http.sensors import http
from airflow.providers.http.triggers.http import HttpSensorTrigger
from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException
from lesson_51_02 import submit_later
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

from ork_provider.http import HttpJobOperator

log = logging.getLogger(__name__)


class MeasuredWait(MeasuresSlot, http.HttpSensor):
    """An HttpSensor that notes when a worker has it."""


class MeasuredJob(MeasuresSlot, HttpJobOperator):
    """An HttpJobOperator that notes when a worker has it."""


class WaitForBatch(MeasuredWait):
    """Wait until the API knows the last job of a batch, which another system submits from now on."""

    def __init__(self, *, jobs: int, **kwargs: Any) -> None:
        super().__init__(endpoint="/jobs", **kwargs)
        self.jobs = jobs

    def execute(self, context: Any) -> Any:
        """Find out the last job's number, and wait for it."""
        hook = HttpHook("POST")
        number = int(start_job(hook).removeprefix("job-")) + self.jobs
        submit_later(hook.url_from_endpoint("/jobs"), self.jobs, pause=0.4)
        self.endpoint = f"/jobs/job-{number}"
        return super().execute(context)


class WaitForOwnJob(MeasuredWait):
    """Start a job, and wait for an answer that passes the `response_check`."""

    def execute(self, context: Any) -> Any:
        """Start it now."""
        self.endpoint = f"/jobs/{start_job(HttpHook('POST'))}"
        return super().execute(context)


class CountingHook(HttpAsyncHook):
    """Count how often a trigger asks."""

    asked = 0

    async def run(self, *args: Any, **kwargs: Any) -> Any:
        """Ask once."""
        CountingHook.asked += 1
        return await super().run(*args, **kwargs)


class CountingTrigger(HttpSensorTrigger):
    """Airflow's trigger, with a hook that counts."""

    def _get_async_hook(self) -> HttpAsyncHook:
        return CountingHook(method=self.method, http_conn_id=self.http_conn_id)


async def count_asks(endpoint: str, seconds: float) -> int:
    """Run Airflow's trigger for a moment; return how often it has asked."""
    CountingHook.asked = 0
    wait: Any = anext(CountingTrigger(endpoint=endpoint, poke_interval=5).run())
    try:
        await asyncio.wait_for(wait, timeout=seconds)
    except TimeoutError:
        return CountingHook.asked
    raise AirflowException(f"{endpoint} was expected to be refused, and was not")


@dag(
    dag_id="51_02_05_http_sensor_async",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Wait for jobs of an HTTP API in four ways."""

    @task
    def meet_errors() -> None:
        """Ask for the result of a job that was cancelled: 409, a conflict."""
        job = start_job(HttpHook("POST"))
        HttpHook("DELETE").run(f"/jobs/{job}")
        endpoint = f"/jobs/{job}/result"
        try:
            http.HttpSensor(task_id="probe", endpoint=endpoint).poke(get_current_context())
        except AirflowException as exc:
            log.info("(3) in the worker, an error other than 404 is raised: %s: %s", type(exc).__name__, exc)
        asked = asyncio.run(count_asks(endpoint, seconds=1))
        log.info("(3) in the triggerer it is not: asked %d times in 1 s, with poke_interval=5", asked)

    @task(trigger_rule="none_failed")
    def report() -> None:
        """Print what was seen of the waits."""
        context = get_current_context()
        names = ("wait_ready", "check_response", "wait_missing", "run_job")
        ready, checked, missing, job = (slot_spans(context, name) for name in names)
        if (len(ready), len(checked), len(job)) != (2, 1, 2):
            raise AirflowException(f"Expected 2, 1 and 2 worker runs, got {ready}, {checked} and {job}")
        log.info("(1) the provider has HttpSensorAsync: %s", hasattr(http, "HttpSensorAsync"))
        log.info("(1) 404 until the API was ready, %.1f s: %.3f worker seconds", whole(ready), slot_seconds(ready))
        log.info("(2) with response_check, of %.1f s: %.1f worker seconds", whole(checked), slot_seconds(checked))
        run_id = context["dag_run"].run_id
        states = context["ti"].get_task_states(context["dag"].dag_id, task_ids=["wait_missing"], run_ids=[run_id])
        log.info("(3) timeout=3: after %.1f s the task was %s", whole(missing), states[run_id]["wait_missing"])
        log.info("(4) a job of %.1f s: %.3f worker seconds", whole(job), slot_seconds(job))

    waits = [
        WaitForBatch(task_id="wait_ready", jobs=15, poke_interval=1, timeout=60, deferrable=True),
        WaitForOwnJob(
            task_id="check_response",
            endpoint="/jobs",
            response_check=lambda response: response.json()["status"] == "completed",
            poke_interval=1,
            deferrable=True,
        ),
        WaitForBatch(task_id="wait_missing", jobs=30, poke_interval=1, timeout=3, soft_fail=True, deferrable=True),
        MeasuredJob(
            task_id="run_job",
            endpoint="/jobs",
            status_url="/jobs/{job_id}",
            cancel_url="/jobs/{job_id}",
            poll_interval=1,
        ),
    ]
    waits[0] >> waits[2]
    [*waits, meet_errors()] >> report()


def start_job(hook: HttpHook) -> str:
    """Submit a job, which takes five seconds; return its id."""
    return str(hook.run("/jobs", json={"fake": {"pending": 1, "running": 4}}).json()["id"])


def whole(spans: list[tuple[float, float]]) -> float:
    """Return the seconds from the begin of the first span to the end of the last."""
    return spans[-1][1] - spans[0][0]


lesson()
