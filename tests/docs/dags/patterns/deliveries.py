"""A DAG with the operator of delivery.py; patterns_tests.py runs it."""

# [START dag]
from airflow.sdk import DAG
from delivery import DeliveryOperator

with DAG("deliveries", params={"folder": "/data"}) as dag:
    DeliveryOperator(task_id="orders", path="{{ params.folder }}/orders.csv", timeout=60, poll_interval=0.2)
# [END dag]
