"""The lines on top of docs/dependency-wait.md, and the DAG that they wait for."""

# [START totals]
from airflow.sdk import DAG, task

from ork_provider.dependency import TaskDependency

with DAG("totals", schedule="@daily"):

    @task.dependency_wait(depends_on=TaskDependency(dag_id="sales", task_ids=["load"]), timeout=3600)
    def total(output) -> int:
        amount = sum(shop["amount"] for shop in output["load"])
        print(amount, "sold")
        return amount

    total()
# [END totals]

with DAG("sales", schedule="@daily"):

    @task
    def load(shop: str) -> dict:
        return {"shop": shop, "amount": len(shop)}

    load.expand(shop=["north", "south", "west"])
