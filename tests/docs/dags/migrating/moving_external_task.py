"""A wait for another DAG with ExternalTaskSensor and with ours, as docs/migrating.md shows them; both are run."""

# [START before]
from datetime import timedelta

from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG, task

with DAG("external_before") as before:
    ExternalTaskSensor(
        task_id="wait",
        external_dag_id="sales",
        external_task_id="load",
        execution_delta=timedelta(days=1),
        failed_states=["failed"],
        poke_interval=5,
        timeout=3600,
        deferrable=True,
    )
# [END before]

# [START after]
from airflow.sdk import DAG

from ork_provider.dependency import DependencyWaitOperator, TaskDependency

with DAG("external_after") as after:
    DependencyWaitOperator(
        task_id="wait",
        depends_on=TaskDependency(dag_id="sales", task_ids=["load"], date_offset=timedelta(days=-1)),
        reschedule_delay=5,
        timeout=3600,
    )
# [END after]

with DAG("sales") as sales:

    @task
    def load():
        """Do nothing, successfully."""

    load()
