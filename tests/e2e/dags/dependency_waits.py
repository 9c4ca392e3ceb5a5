"""The DAGs of tests/e2e/test_dependency.py; what they wait for is named by their runs' conf."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, TaskGroup, task

from ork_provider.dependency import DependencyStatus, DependencyWaitOperator, TaskDependency

SOON = {"poll_timeout": 0, "reschedule_delay": 1}
PARAMS = {"run": "", "held": ""}


def parts(**more: Any) -> TaskDependency:
    """Return the four sub-tasks of a run."""
    return TaskDependency(dag_id="dependency_parts", run_id="{{ params.run }}", task_ids=["parts.part"], **more)


def held(**more: Any) -> TaskDependency:
    """Return tasks that the test lets end."""
    which = more or {"task_ids": ["load", "check"]}
    return TaskDependency(dag_id="dependency_held", run_id="{{ params.held }}", **which)


with DAG("dependency_parts", schedule=None), TaskGroup("parts"):

    @task
    def part(n: int) -> int:
        """Do one part of the work."""
        return n * 2

    part.expand(n=[1, 2, 3, 4])

with DAG("dependency_held", schedule=None, default_args={"pool": "held"}):
    # The pool has no slots: these tasks get their states from the test, and cost no worker.

    @task
    def load(n: int) -> None:
        """Never run."""

    @task
    def check() -> None:
        """Never run."""

    load.expand(n=[0, 1])
    check()

with DAG("dependency_blocking", schedule=None, params=PARAMS):

    @task.dependency_wait(depends_on=parts(), dependency_wait=SOON, timeout=600, deferrable=False)
    def total(output: Any) -> int:
        """Add up what the parts have come to."""
        return int(sum(output["parts.part"]))

    total()

with DAG("dependency_outcomes", schedule=None, params=PARAMS):
    DependencyWaitOperator(task_id="fails", depends_on=held(), dependency_wait=SOON)
    DependencyWaitOperator(task_id="skips", depends_on=held(), dependency_wait=SOON, on_failed="skip")
    DependencyWaitOperator(task_id="continues", depends_on=held(), dependency_wait=SOON, on_failed="continue")

with DAG("dependency_patient", schedule=None, params=PARAMS):
    DependencyWaitOperator(task_id="waits", depends_on=held(), dependency_wait=SOON, timeout=600)

with DAG("dependency_fallback", schedule=None, params=PARAMS):
    DependencyWaitOperator(task_id="waits", depends_on=held(), dependency_wait=SOON, timeout=600, fallback="reschedule")

with DAG("dependency_elsewhere", schedule=None, params=PARAMS):

    @task.dependency_wait(
        depends_on=[
            TaskDependency(dag_id="dependency_parts", run_id="{{ params.run }}"),
            parts(map_indexes=[3, 1]),
            TaskDependency(dag_id="dependency_parts", run_id="{{ params.run }}", task_group_id="parts"),
            held(map_indexes=[0], task_ids=["load"]),
        ],
        airflow_conn_id="airflow_self",
        dependency_wait=SOON,
        timeout=600,
    )
    def collect(output: Any) -> list[int]:
        """Return what two of the parts have returned, over the REST API."""
        return list(output["parts.part"])

    @task
    def look(params: Any = None) -> dict[str, Any]:
        """Look at a run of the other Airflow."""
        wanted = TaskDependency(dag_id="dependency_parts", run_id=params["run"])
        return DependencyStatus.fetch(wanted, airflow_conn_id="airflow_self").to_dict()

    collect() >> look()
    DependencyWaitOperator(
        task_id="unauthorized",
        depends_on=TaskDependency(dag_id="dependency_parts", run_id="any", conn_id="airflow_wrong"),
        dependency_wait=SOON,
    )
