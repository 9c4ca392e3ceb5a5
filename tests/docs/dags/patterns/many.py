"""The same jobs as mapped tasks, in one task, and two of three of them, as docs/patterns.md shows; all are run."""

# [START mapped]
from airflow.sdk import DAG

from ork_provider.http import HttpJobOperator

TABLES = ["orders", "items", "customers"]

with DAG("mapped") as mapped:
    HttpJobOperator.partial(
        task_id="export",
        endpoint="/jobs",
        status_url="/jobs/{job_id}",
        cancel_url="/jobs/{job_id}",
        poll_interval=1,
    ).expand(data=[{"table": table} for table in TABLES])
# [END mapped]

# [START together]
from airflow.sdk import DAG, task  # noqa: E402

from ork_provider.http import HttpJob  # noqa: E402


def start(table):
    from airflow.providers.http.hooks.http import HttpHook

    url = f"/jobs/{HttpHook('POST').run('/jobs', json={'table': table}).json()['id']}"
    return HttpJob(url=url, cancel_url=url)


with DAG("together") as together:

    @task.deferred(poll_interval=1)
    def export(tables):
        for table in tables:
            yield start(table)

    export(TABLES)
# [END together]

# [START some]
with DAG("two_of_three") as two_of_three:

    @task.deferred(poll_interval=1, until=2, cancel_rest=True)
    def replicas():
        return [start(replica) for replica in ("east", "west", "north")]

    replicas()
# [END some]
