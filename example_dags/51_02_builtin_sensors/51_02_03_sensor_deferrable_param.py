"""# 51.2.3 Sensor deferrable Parameter

Many sensors wait in the triggerer if they are given `deferrable=True`. `BaseSensorOperator` itself knows nothing of it:
each sensor brings the parameter, and the trigger that goes with it.

## You will see

1. A sensor of our own on `BaseSensorOperator` with the parameter; what a sensor without it says to `deferrable=True`.
2. Which sensors of Airflow's standard and HTTP providers have the parameter: read from their signatures.
3. The trigger is chosen by the sensor: three sensors, and the trigger and arguments with which each defers.
4. What falls back to what: a wait that is over already is not deferred; the parameter's default is a setting; without
   a triggerer nothing falls back to a worker, the task stays deferred.

## Watch

The log of each `wait_` task says with which trigger it defers. `wait_for_old_file` never turns purple. `report` has
(1), (2) and (4).

## Expect

The run succeeds after about 15 s. Under `airflow dags test` there is no triggerer; triggers run in line.

## Needs

The connection `airflow_api` to Airflow's REST API (the tutorial sets it), to ask for the triggerer's health.

## Next

51.2.4 looks at one of these sensors: files.
"""

from __future__ import annotations

import inspect
import logging
import os
import pkgutil
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseSensorOperator, dag, get_current_context, task, timezone
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException
from lesson_51_02 import deliver_later
from lesson_airflow import ask_airflow
from lesson_slots import MeasuresSlot, slot_spans

os.environ.setdefault("AIRFLOW_CONN_FS_DEFAULT", "fs://")  # no base folder: file names are absolute
log = logging.getLogger(__name__)


class NamesTrigger(MeasuresSlot):
    """Put before a sensor's class, this logs the trigger with which the sensor defers."""

    def defer(self, *, trigger: Any, **kwargs: Any) -> None:
        """Leave the worker."""
        name, arguments = trigger.serialize()
        log.info("(3) %s defers with %s %s", self.task_id, name.rpartition(".")[2], arguments)
        super().defer(trigger=trigger, **kwargs)  # type: ignore[misc]


class MomentSensor(BaseSensorOperator):
    """A sensor of our own: both ways to wait, and the parameter that chooses."""

    template_fields = ("moment",)

    def __init__(
        self,
        *,
        moment: str,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.moment = moment
        self.deferrable = deferrable

    def poke(self, context: Any) -> bool:
        """Ask once."""
        return timezone.utcnow() >= timezone.parse(self.moment)

    def execute(self, context: Any) -> None:
        """Wait here, or ask once and let the triggerer wait."""
        if not self.deferrable:
            super().execute(context)
        elif not self.poke(context):
            trigger = DateTimeTrigger(moment=timezone.parse(self.moment))
            self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=self.timeout))

    def execute_complete(self, context: Any, event: Any = None) -> None:
        """End the wait."""


class WaitForMoment(NamesTrigger, MomentSensor):
    """Our sensor."""


class WaitForFile(NamesTrigger, FileSensor):
    """Airflow's sensor of files."""


class WaitForUpload(WaitForFile):
    """One whose file arrives some seconds after it has begun to wait."""

    def execute(self, context: Any) -> None:
        """Let the upload begin, and wait for it."""
        deliver_later(self.path, seconds=6)
        super().execute(context)


class WaitForDelta(NamesTrigger, TimeDeltaSensor):
    """Airflow's sensor of a time after the run's begin."""


def sensors(package: str) -> Iterator[type[BaseSensorOperator]]:
    """List the sensors that a package's modules define."""
    for module in pkgutil.iter_modules(import_module(package).__path__):
        for _, found in inspect.getmembers(import_module(f"{package}.{module.name}"), inspect.isclass):
            if issubclass(found, BaseSensorOperator) and found.__module__ == f"{package}.{module.name}":
                yield found


def in_seconds(seconds: int) -> str:
    """Return the moment in so many seconds; a macro, so that a worker computes it when the wait begins."""
    return str(timezone.utcnow() + timedelta(seconds=seconds))


@dag(
    dag_id="51_02_03_sensor_deferrable_param",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "beginner", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
    user_defined_macros={"in_seconds": in_seconds},
)
def lesson() -> None:
    """Defer four sensors, of which one has nothing to wait for."""

    @task
    def make_folder() -> str:
        """Make a folder with one file."""
        folder = Path(tempfile.mkdtemp(prefix="lesson-51-02-03-"))
        (folder / "old.csv").touch()
        return str(folder)

    @task
    def report() -> None:
        """Print what was seen of the sensors."""
        context = get_current_context()
        runs = {name: len(slot_spans(context, f"wait_for_{name}")) for name in ("moment", "file", "old_file")}
        if (runs["file"], runs["old_file"]) != (2, 1):
            raise AirflowException(f"The new file's wait was to be deferred, the old one's not; worker runs: {runs}")
        log.info("(1) our MomentSensor: %d worker runs", runs["moment"])
        try:
            PythonSensor(task_id="probe", python_callable=bool, deferrable=True)
        except TypeError as exc:
            log.info("(1) PythonSensor(deferrable=True): %s", " ".join(str(exc).split()))
        log.info("(1) BaseSensorOperator has it: %s", has_parameter(BaseSensorOperator))
        for package in ("airflow.providers.standard.sensors", "airflow.providers.http.sensors"):
            found = sorted(sensors(package), key=lambda sensor: sensor.__name__)
            log.info("(2) %s with it: %s", package, [one.__name__ for one in found if has_parameter(one)])
            log.info("(2) %s without: %s", package, [one.__name__ for one in found if not has_parameter(one)])
        log.info("(4) the file that was there: %d worker run, no deferral", runs["old_file"])
        default = FileSensor(task_id="probe", filepath="x").deferrable
        log.info("(4) [operators] default_deferrable makes deferrable=%s of no parameter", default)
        health = ask_airflow("/monitor/health")["triggerer"]
        log.info("(4) triggerer: %s; without one, deferred tasks stay so", health["status"] or "none here: `dags test`")

    folder = make_folder()
    waits = [
        WaitForMoment(task_id="wait_for_moment", moment="{{ in_seconds(6) }}", deferrable=True),
        WaitForDelta(task_id="wait_for_delta", delta=timedelta(seconds=15), deferrable=True),
        WaitForUpload(task_id="wait_for_file", filepath=f"{folder}/new.csv", poke_interval=1, deferrable=True),
        WaitForFile(task_id="wait_for_old_file", filepath=f"{folder}/old.csv", deferrable=True),
    ]
    folder >> waits >> report()


def has_parameter(sensor: type[BaseSensorOperator]) -> bool:
    """Say if a sensor can be given `deferrable`."""
    return "deferrable" in inspect.signature(sensor.__init__).parameters


lesson()
