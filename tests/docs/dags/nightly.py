"""The DAG that docs/testing.md tests."""

# [START nightly]
from airflow.sdk import DAG

from ork_provider.bigquery import BigQueryJobOperator

with DAG("nightly") as nightly:
    BigQueryJobOperator(
        task_id="load",
        sql="SELECT region, SUM(amount) AS total FROM shop.sales GROUP BY region",
        poll_interval=1,
    )
# [END nightly]
