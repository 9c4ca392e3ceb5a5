"""The DAG of docs/quickstart.md."""

# [START quickstart]
from airflow.sdk import DAG, task

from ork_provider.bigquery import BigQueryJobOperator

with DAG("quickstart", schedule=None, is_paused_upon_creation=False):
    days = BigQueryJobOperator(
        task_id="days",
        sql="SELECT weather, COUNT(*) AS days FROM weather.seattle GROUP BY weather ORDER BY days DESC",
        max_results=10,
    )

    @task
    def report(job):
        """Print what the query has found."""
        for row in job["rows"]:
            print(f"{row['days']} days of {row['weather']}")

    report(days.output)
# [END quickstart]
