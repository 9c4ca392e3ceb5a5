"""# 51.2.6 ExternalTaskSensor Deferrable

Wait for another DAG without a worker, and compare with not waiting at all: a DAG that an asset starts.

## You will see

1. `ExternalTaskSensor(deferrable=True)`: it looks for the run of the other DAG that has the same logical date.
2. The wait in the triggerer beside the same wait in a worker: worker seconds, worker runs, and how late each noticed.
3. What matters if the other DAG runs for hours: what the wait costs by the hour, `timeout` (a week by default), and
   `failed_states`, without which a failed DAG is waited for until then.
4. The asset: the other DAG's task updates it, and the scheduler starts `51_02_06_by_asset`. No task waits for anything.

Task groups, whole lists of DAGs and a run of any date are easier with `DependencyWaitOperator` of this provider.

## Watch

Three DAGs: this one, `51_02_06_upstream`, which it starts, and `51_02_06_by_asset`, which the asset starts. Here,
`wait_blocking` is running and `wait_deferred` deferred until the upstream DAG ends. `report` has the four points.

## Expect

The run succeeds after about 20 s; `end_early` is skipped on purpose. Under `airflow dags test` nobody schedules the
other two DAGs: the first task runs the upstream DAG itself, the sensors find it ended, and no DAG follows the asset.

## Needs

The connection `airflow_api` to Airflow's REST API (the tutorial sets it).

## Next

51.3.1 writes an operator that defers.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import Asset, dag, get_current_context, task, timezone
from airflow.sdk.exceptions import AirflowException
from lesson_airflow import ask_airflow
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

UPSTREAM, BY_ASSET = "51_02_06_upstream", "51_02_06_by_asset"
WAIT = 8  # seconds that the upstream DAG takes
START = datetime(2026, 1, 1)
ARGS = {"retries": 1, "retry_delay": timedelta(seconds=2)}
loaded = Asset("lesson_51_02_06")
log = logging.getLogger(__name__)


@dag(dag_id=UPSTREAM, schedule=None, start_date=START, is_paused_upon_creation=False, default_args=ARGS)
def upstream() -> None:
    """Take some time, then update the asset."""

    @task(outlets=[loaded])
    def load() -> None:
        """Work."""
        time.sleep(WAIT)

    load()


@dag(dag_id=BY_ASSET, schedule=[loaded], start_date=START, is_paused_upon_creation=False, default_args=ARGS)
def by_asset() -> None:
    """Run when the asset was updated."""

    @task
    def use(triggering_asset_events: Any = None) -> str:
        """Say whose update this is."""
        return str(triggering_asset_events[loaded][-1].source_run_id)

    use()


upstream_dag = upstream()
by_asset()


class MeasuredWait(MeasuresSlot, ExternalTaskSensor):
    """An ExternalTaskSensor that notes when a worker has it."""


def seconds(moment: str) -> float:
    """Return a moment of the REST API as seconds since the epoch."""
    return timezone.parse(moment).timestamp()


def run_by_asset(source_run_id: str) -> tuple[str, float, float]:
    """Wait a little for the run that the asset has started; return its id, its delay and the seconds of its tasks."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        runs = ask_airflow(f"/dags/{BY_ASSET}/dagRuns", state="success", order_by="-run_after", limit=5)["dag_runs"]
        for run in runs:
            path = f"/dags/{BY_ASSET}/dagRuns/{run['dag_run_id']}"
            events = ask_airflow(f"{path}/upstreamAssetEvents")["asset_events"]
            updates = [seconds(event["timestamp"]) for event in events if event["source_run_id"] == source_run_id]
            if updates:
                tasks = ask_airflow(f"{path}/taskInstances")["task_instances"]
                return (
                    run["dag_run_id"],
                    seconds(run["start_date"]) - updates[-1],
                    sum(one["duration"] for one in tasks),
                )
        time.sleep(1)
    raise AirflowException(f"{BY_ASSET} did not succeed within 20 s of the asset's update")


@dag(
    dag_id="51_02_06_external_task_deferrable",
    schedule=None,
    start_date=START,
    tags=["reference", "core", "intermediate", "success"],
    default_args=ARGS,
    doc_md=__doc__,
)
def lesson() -> None:
    """Start another DAG, and wait for it in two ways."""

    @task(multiple_outputs=True, retries=3)  # a small database refuses now and then
    def start_upstream() -> dict[str, Any]:
        """Start the upstream DAG with this run's date, by which the sensors will find it."""
        context = get_current_context()
        run = context["dag_run"]
        date = context.get("logical_date") or run.run_after
        scheduled = ask_airflow(f"/dags/{run.dag_id}/dagRuns/{run.run_id}")["triggered_by"] != "test"
        if scheduled:
            body = {"logical_date": date.isoformat()}
            started = ask_airflow(f"/dags/{UPSTREAM}/dagRuns", "POST", json=body)["dag_run_id"]
        else:
            started = upstream_dag.test(logical_date=date).run_id
        return {"scheduled": scheduled, "upstream_run": started}

    @task(trigger_rule="none_failed")
    def report(scheduled: bool, upstream_run: str) -> None:
        """Print the four points."""
        context = get_current_context()
        blocked, deferred, early = (
            slot_spans(context, name) for name in ("wait_blocking", "wait_deferred", "end_early")
        )
        if len(deferred) != 2:
            raise AirflowException(f"Expected a deferral, hence 2 worker runs, and got {deferred}")
        run = ask_airflow(f"/dags/{UPSTREAM}/dagRuns/{upstream_run}")
        ended = seconds(run["end_date"])
        log.info("(1) waited for %s, logical date %s; state %s", upstream_run, run["logical_date"], run["state"])
        if not scheduled:
            log.info("(2) under `dags test` the upstream DAG had ended at %s, before the waits began", run["end_date"])
        for name, spans in (("blocking", blocked), ("deferrable", deferred)):
            held, late = slot_seconds(spans), spans[-1][1] - max(ended, spans[0][0])
            log.info("(2) %s: %.3f worker seconds in %d run(s), done %.1f s late", name, held, len(spans), late)
        log.info("(3) an hour's wait: blocking 3600 worker seconds, deferrable still %.3f", slot_seconds(deferred))
        log.info("(3) end_early ended %.1f s after its begin, with timeout=3600", early[-1][1] - early[0][0])
        if scheduled:
            follower, delay, worked = run_by_asset(upstream_run)
            log.info("(4) the asset started %s after %.1f s; worker seconds: %.1f, to work", follower, delay, worked)
        else:
            events = ask_airflow("/assets/events", source_dag_id=UPSTREAM, source_run_id=upstream_run)["asset_events"]
            times = [event["timestamp"] for event in events]
            log.info("(4) the asset was updated at %s; `dags test` starts no DAG for it", times)

    started = start_upstream()
    waits = [
        MeasuredWait(task_id="wait_blocking", external_dag_id=UPSTREAM, poke_interval=1),
        MeasuredWait(
            task_id="wait_deferred",
            external_dag_id=UPSTREAM,
            failed_states=["failed"],
            poke_interval=1,
            timeout=600,
            deferrable=True,
        ),
        MeasuredWait(
            task_id="end_early",
            external_dag_id=UPSTREAM,
            external_task_id="load",
            allowed_states=["failed"],  # which will not come
            failed_states=["success"],
            soft_fail=True,
            poke_interval=1,
            timeout=3600,
            deferrable=True,
        ),
    ]
    started >> waits >> report(started["scheduled"], started["upstream_run"])


lesson()
