"""# 51.4.5 Convert a blocking sensor to a deferrable one

A sensor of one's own, with a `poke()` that many DAGs use. Three steps make it deferrable: a trigger that asks as
`poke()` does, an `execute()` that defers, and a method that turns the trigger's event into what the sensor used to
return or raise. The argument `deferrable` decides; DAGs that do not name it go on as before.

## You will see

1. The sensor as it was: a worker sleeps between its pokes.
2. The trigger (`ExportTrigger` in `plugins/lesson_51_04.py`): the same question in a coroutine. It is in a module of
   its own because a triggerer cannot import DAG files (51.3.3).
3. The new `execute()`: it asks once, and defers if it must wait. Its two runs of a worker are short.
4. Compatibility: the same arguments, result, and end at a timeout; without the new argument it blocks as ever; and
   the old class is there for those who import it.

## Watch

`before` and `after_default` stay light green, `after_deferrable` turns purple; (2) is in its log and was written by
the triggerer. The two `late_` tasks end skipped, for the same reason.

## Expect

The run succeeds after about 30 seconds. Who looks at its export when that is done already has nothing to wait for:
under `airflow dags test`, where one sensor comes after the other, that is true of `before` or `after_default`, and on
a very busy machine perhaps of `after_deferrable`, which does not defer then ((3) lists no wait).

The default of `deferrable` is Airflow's setting `[operators] default_deferrable` (False), as in the operators of
Airflow's providers. With `deferrable=True` the argument `mode` has no meaning any more. `timeout` is kept by the
trigger, because `execution_timeout` does not count while a task is deferred (51.5.4).

## Needs

The HTTP job service, as connection `http_default`.

## Next

51.5.1 looks for what is wrong with a deferred task.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, cross_downstream, dag, get_current_context, task, timezone
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout
from lesson_51_04 import ExportTrigger, call_api
from lesson_slots import MeasuresSlot, slot_seconds, slot_spans

WAITS = ("before", "after_default", "after_deferrable")
LATE = ("late_before", "late_after")

log = logging.getLogger(__name__)


class BlockingExportSensor(BaseSensorOperator):
    """Before: wait in a worker until an export is done, and return its output."""

    template_fields = ("job_id",)

    def __init__(self, *, job_id: str, http_conn_id: str = "http_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.http_conn_id = http_conn_id

    def poke(self, context: Any) -> PokeReturnValue:
        """Ask once."""
        export = call_api("GET", f"/jobs/{self.job_id}", conn_id=self.http_conn_id).json()
        return self.read(export["status"], export["output"])

    def read(self, status: str, output: Any) -> PokeReturnValue:
        """Say what a status means; both ways of waiting go by this."""
        if status in ("failed", "cancelled"):
            raise AirflowFailException(f"Export {self.job_id} has {status}.")
        return PokeReturnValue(status == "completed", output)


class ExportSensor(BlockingExportSensor):
    """After: the same, and with `deferrable=True` without a worker."""

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable

    def execute(self, context: Any) -> Any:
        """Wait as before, or ask once and defer."""
        if not self.deferrable:
            return super().execute(context)
        first = self.poke(context)
        if first.is_done:
            return first.xcom_value
        deadline = timezone.utcnow() + timedelta(seconds=self.timeout)
        self.defer(
            trigger=ExportTrigger(self.job_id, self.poke_interval, deadline.isoformat(), self.http_conn_id),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + 60),  # if no triggerer runs
        )

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Return or raise what the old sensor would have; `soft_fail` is seen to by Airflow's base class."""
        if event["status"] == "timeout":
            raise AirflowSensorTimeout(f"Export {self.job_id} was not done within {self.timeout} s.")
        return self.read(event["status"], event["output"]).xcom_value


class Before(MeasuresSlot, BlockingExportSensor):
    """Measures the old sensor."""


class After(MeasuresSlot, ExportSensor):
    """Measures the new one."""


@dag(
    dag_id="51_04_05_converting_to_deferrable",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2), "poke_interval": 1},
    doc_md=__doc__,
)
def lesson() -> None:
    """Use the sensor before and after."""

    @task(multiple_outputs=True)
    def submit() -> dict[str, str]:
        """Start three exports: a short one, a longer one for the sensor that defers, and an endless one."""
        seconds = {"short": 8, "longer": 14, "endless": 600}
        return {
            name: call_api("POST", "/jobs", {"fake": {"pending": 0, "running": s, "output": {"rows": 12}}}).json()["id"]
            for name, s in seconds.items()
        }

    @task(trigger_rule="none_failed")
    def report() -> None:
        """Compare the sensors."""
        context = get_current_context()
        ti, run_id = context["ti"], context["run_id"]
        spans = {name: slot_spans(context, name) for name in (*WAITS, *LATE)}
        held = {name: f"{len(span)} x a worker, {slot_seconds(span):.2f} s" for name, span in spans.items()}
        results = {name: ti.xcom_pull(task_ids=name) for name in WAITS}
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[run_id])[run_id]
        late = {name: states[name] for name in LATE}
        if len(spans["late_after"]) != 2:
            raise AirflowException(f"late_after was to defer once: {held}")
        if len({str(result) for result in results.values()}) > 1 or len(set(late.values())) > 1:
            raise AirflowException(f"The sensors differ: {results}, {late}")
        log.info("(1) before: %s; result: %s", held["before"], results["before"])
        for name in ("after_deferrable", "late_after"):
            waits = [round(back - left, 1) for (_, left), (back, _) in pairwise(spans[name])]
            log.info("(3) %s: %s; waits without a worker: %s s", name, held[name], waits)
        log.info("(4) after, without the argument: %s", held["after_default"])
        log.info("(4) results: %s; at a timeout: %s", results, late)

    jobs = submit()
    waits = [
        Before(task_id="before", job_id=jobs["short"]),
        After(task_id="after_default", job_id=jobs["short"]),
        After(task_id="after_deferrable", job_id=jobs["longer"], deferrable=True),
    ]
    late = [
        Before(task_id="late_before", job_id=jobs["endless"], timeout=4, soft_fail=True),
        After(task_id="late_after", job_id=jobs["endless"], timeout=4, soft_fail=True, deferrable=True),
    ]
    cross_downstream(waits, late)
    late >> report()


lesson()
