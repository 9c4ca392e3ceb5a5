"""A sensor that polls in a worker, and the same wait deferred, as docs/patterns.md shows them; both are run."""

# [START before]
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import DAG, BaseSensorOperator


class JobSensor(BaseSensorOperator):  # noqa: D101
    template_fields = ("endpoint",)

    def __init__(self, *, endpoint, **kwargs):
        super().__init__(**kwargs)
        self.endpoint = endpoint

    def poke(self, context):
        status = HttpHook("GET").run(self.endpoint).json()["status"]
        if status == "failed":
            raise RuntimeError(f"{self.endpoint} has failed")
        return status == "completed"


with DAG("polling_before", params={"job": ""}) as before:
    JobSensor(task_id="wait", endpoint="/jobs/{{ params.job }}", poke_interval=1, timeout=3600)
# [END before]

# [START after]
from airflow.sdk import DAG  # noqa: E402

from ork_provider.http import HttpJobSensor  # noqa: E402

with DAG("polling_after", params={"job": ""}) as after:
    HttpJobSensor(
        task_id="wait",
        endpoint="/jobs/{{ params.job }}",
        completion_value="completed",
        failure_value="failed",
        poll_interval=1,
        timeout=3600,
    )
# [END after]
