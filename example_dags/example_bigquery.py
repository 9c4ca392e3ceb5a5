"""BigQuery jobs: a query with parameters, a query per year, an estimate, a table made by SQL, a load job.

To run it without a cloud, over a folder ``data/weather`` that holds ``seattle.csv`` (the load job then only
takes its time; the queries are real):

    python -m ork_provider.testing --data data      # prints the connections to export, serves until Ctrl-C
    airflow dags test example_bigquery 2015-12-31
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from ork_provider.bigquery import BigQueryJobOperator

PROJECT = "my-project"


@dag(
    schedule="@daily",
    start_date=datetime(2012, 1, 1),
    catchup=False,
    default_args={"retries": 2, "poll_interval": 5},
    tags=["example", "bigquery"],
)
def example_bigquery() -> None:
    """Run BigQuery jobs of several kinds; none holds a worker while it runs."""
    # [START query]
    coldest = BigQueryJobOperator(
        task_id="coldest_days",
        sql="""
            SELECT date, temp_min
            FROM weather.seattle
            WHERE date > DATE_SUB(@day, INTERVAL 30 DAY) AND date <= @day AND weather IN UNNEST(@kinds)
            ORDER BY temp_min, date
        """,
        parameters={"day": {"type": "DATE", "value": "{{ ds }}"}, "kinds": ["sun", "fog"]},
        max_results=3,
    )
    # [END query]

    # [START rows]
    @task
    def report(job: dict[str, Any]) -> str:
        """Say what a query has found, and what it cost."""
        days = [f"{row['date']}: {row['temp_min']} °C" for row in job["rows"]]
        return f"{', '.join(days)} ({job['stats']['bytes_billed']} bytes billed)"

    report(coldest.output)
    # [END rows]

    # [START mapped]
    BigQueryJobOperator.partial(
        task_id="rain_of_a_year",
        sql="""
            SELECT @year AS year, ROUND(SUM(precipitation)) AS mm
            FROM weather.seattle
            WHERE EXTRACT(YEAR FROM date) = @year
        """,
        max_results=1,
    ).expand(parameters=[{"year": 2012}, {"year": 2013}, {"year": 2014}])
    # [END mapped]

    # [START estimate]
    estimate = BigQueryJobOperator(task_id="estimate", sql="SELECT * FROM weather.seattle", dry_run=True)

    @task.short_circuit
    def affordable(estimate: dict[str, Any]) -> bool:
        """Go on only if the query would read less than 10 GiB."""
        return int(estimate["stats"]["bytes_processed"]) < 10 * 1024**3

    # [END estimate]

    # [START configuration]
    monthly = BigQueryJobOperator(
        task_id="monthly",
        configuration={
            "query": {
                "query": """
                    SELECT EXTRACT(MONTH FROM date) AS month, AVG(temp_max) AS high
                    FROM weather.seattle
                    GROUP BY month
                """,
                "useLegacySql": False,
                "destinationTable": {"projectId": PROJECT, "datasetId": "weather", "tableId": "monthly"},
                "writeDisposition": "WRITE_TRUNCATE",
            }
        },
        labels={"team": "weather"},
    )
    # [END configuration]

    # [START load]
    load = BigQueryJobOperator(
        task_id="load",
        configuration={
            "load": {
                "sourceUris": ["gs://my-bucket/weather/{{ ds }}/*.parquet"],
                "sourceFormat": "PARQUET",
                "destinationTable": {"projectId": PROJECT, "datasetId": "weather", "tableId": "raw${{ ds_nodash }}"},
                "writeDisposition": "WRITE_TRUNCATE",
            }
        },
        timeout=timedelta(hours=1),  # then the job is cancelled, and the task fails with TimedOut
    )

    affordable(estimate.output) >> monthly >> load
    # [END load]


example_bigquery()
