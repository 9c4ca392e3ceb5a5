"""Starts jobs as any client does: one POST to the REST API of a service, whose answer names the job."""

import httpx
from airflow.sdk import Connection

PROJECT, REGION, CLUSTER = "ork-sandbox", "europe-west1", "demo"


def start_query(configuration):
    """Start a BigQuery job."""
    body = {"configuration": configuration}
    job = _post(f"{_google('bigquery')}/bigquery/v2/projects/{PROJECT}/jobs", body)["jobReference"]
    return {
        "service_type": "bigquery",
        "project": job["projectId"],
        "job_id": job["jobId"],
        "location": job["location"],
    }


def start_cloud_run(job_name, arguments, task_count):
    """Start an execution of a Cloud Run job."""
    url = f"{_google('run')}/v2/projects/{PROJECT}/locations/{REGION}/jobs/{job_name}:run"
    overrides = {"containerOverrides": [{"args": arguments}], "taskCount": task_count}
    return {"service_type": "cloudrun", "job_id": _post(url, {"overrides": overrides})["metadata"]["name"]}


def start_dataproc(pyspark_job):
    """Start a job on a Dataproc cluster."""
    url = f"{_google('dataproc')}/v1/projects/{PROJECT}/regions/{REGION}/jobs:submit"
    job = _post(url, {"job": {"placement": {"clusterName": CLUSTER}, "pysparkJob": pyspark_job}})
    found = {"project": PROJECT, "region": REGION, "job_id": job["reference"]["jobId"]}
    return {"service_type": "dataproc", **found}


def start_batch(pyspark_batch):
    """Start a serverless batch of Dataproc."""
    url = f"{_google('dataproc')}/v1/projects/{PROJECT}/locations/{REGION}/batches"
    operation = _post(url, {"pysparkBatch": pyspark_batch})
    batch_id = operation["metadata"]["batch"].rpartition("/")[2]
    found = {"project": PROJECT, "region": REGION, "batch_id": batch_id, "operation": operation["name"]}
    return {"service_type": "dataproc_batch", **found}


def start_checks(connection, full_table_name):
    """Start data quality checks in DQOps."""
    filters = {"connection": connection, "fullTableName": full_table_name}
    url = f"{Connection.get('dqops_default').host}/api/jobs/runchecks?wait=false"
    job = _post(url, {"check_search_filters": filters})["jobId"]
    return {"service_type": "dqops", "job_id": str(job["jobId"])}


def start_http(data):
    """Start a job behind an HTTP API."""
    connection = Connection.get("http_default")
    base = f"http://{connection.host}:{connection.port}"
    job = _post(f"{base}/jobs", data)
    return {"service_type": "custom_http", "url": f"{base}{job['links']['self']}"}


def _google(service):
    return Connection.get("google_cloud_default").extra_dejson["api_endpoints"][service]


def _post(url, body):
    return httpx.post(url, json=body, timeout=30, trust_env=False).raise_for_status().json()
