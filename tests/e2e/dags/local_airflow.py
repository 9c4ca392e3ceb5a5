"""What the tests of LocalAirflow run: Airflow's own operators only."""

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import dag, task


@dag(schedule=None)
def local_airflow_small():
    """Run in a worker, once and mapped."""

    @task
    def double(number: int) -> int:
        print(f"doubling {number}")
        return 2 * number

    BashOperator(task_id="greet", bash_command="echo hello") >> double.expand(number=[1, 2])


@dag(schedule=None)
def local_airflow_defers():
    """Wait in the triggerer, longer than any test."""
    TimeDeltaSensor(task_id="wait", delta=timedelta(days=1000), deferrable=True)


@dag(schedule=None)
def local_airflow_sleeps():
    """Hold a worker with a child process."""
    BashOperator(task_id="sleep", bash_command="sleep 1000")


local_airflow_small()
local_airflow_defers()
local_airflow_sleeps()
