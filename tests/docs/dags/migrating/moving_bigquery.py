"""A query with Google's operator and with ours, as docs/migrating.md shows them; migrating_tests.py runs both."""

# [START before]
from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator  # noqa: TID251 - the old one
from airflow.sdk import DAG, task

SQL = "SELECT weather, COUNT(*) AS days FROM weather.seattle GROUP BY weather ORDER BY days DESC"

with DAG("bigquery_before") as before:
    days = BigQueryInsertJobOperator(
        task_id="days",
        configuration={"query": {"query": SQL, "useLegacySql": False}},
        project_id="ork-sandbox",
        location="US",
        deferrable=True,
        force_rerun=False,
        reattach_states={"PENDING", "RUNNING"},
    )

    @task
    def report(job_id):
        from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook  # noqa: TID251

        client = BigQueryHook().get_client(project_id="ork-sandbox", location="US")
        return [[row["weather"], row["days"]] for row in client.get_job(job_id).result()]

    report(days.output)
# [END before]

# [START after]
from airflow.sdk import DAG, task  # noqa: E402

from ork_provider.bigquery import BigQueryJobOperator  # noqa: E402

with DAG("bigquery_after") as after:
    days = BigQueryJobOperator(
        task_id="days",
        configuration={"query": {"query": SQL, "useLegacySql": False}},
        project_id="ork-sandbox",
        location="US",
        max_results=10,
    )

    @task
    def report(job):
        return [[row["weather"], row["days"]] for row in job["rows"]]

    report(days.output)
# [END after]
