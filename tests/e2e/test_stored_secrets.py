"""No secret is seen: neither one of a connection nor a header that a user put into a job by hand."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from ork_provider.testing import DqopsOutcome, Outcome
from ork_provider.testing.local_airflow import LocalAirflow
from tests.e2e.conftest import Guarded
from tests.e2e.test_jobs import until
from tests.support.cloud import Cloud

TASKS = ("typed", "returned", "dqops", "basic", "bigquery")


def files(airflow: LocalAirflow) -> Iterator[Path]:
    """Every file of Airflow's: the metadata database with its deleted rows, and all logs."""
    return (path for path in airflow.home.rglob("*") if path.is_file() and path.suffix != ".cfg")


def seen(airflow: LocalAirflow, texts: dict[str, str]) -> list[str]:
    """Return which texts are found, and where."""
    found = []
    for path in files(airflow):
        content = path.read_bytes()
        for name, text in texts.items():
            if (at := content.find(text.encode())) >= 0:
                found.append(f"{name} in {path}: {content[max(at - 200, 0) : at + 100]!r}")
    return found


def test_no_secret_is_seen(airflow: LocalAirflow, cloud: Cloud, guarded: Guarded) -> None:
    """Planted keys, passwords, tokens and headers reach the services, and nothing that Airflow keeps or shows."""
    guarded.bigquery.script("secrets", Outcome(running=12))
    guarded.dqops.script(lambda _: True, DqopsOutcome(running=12))
    run_id = airflow.trigger_dag("secrets", conf={"http": cloud.http_jobs.url})
    pem = guarded.private_key.splitlines()
    basic = base64.b64encode(f"robot:{guarded.secrets['password']}".encode()).decode()
    secrets = {**guarded.secrets, "basic": basic, "token": "fake-token-", "private key": pem[5]}
    for task_id in TASKS:
        airflow.wait_task("secrets", run_id, task_id, "deferred", timeout=120)
        until(lambda t=task_id: "Waiting for " in airflow.log("secrets", run_id, t))  # type: ignore[misc]
    assert seen(airflow, secrets) == []  # while the trigger kwargs, where they are, are in the database
    assert airflow.wait("secrets", run_id, timeout=120) == "success"
    assert seen(airflow, secrets) == []
    assert_they_were_used(cloud, guarded)
    assert seen(airflow, {"a header that is none": "X-Team"}), "the search finds nothing at all"
    shown = "".join(airflow.log("secrets", run_id, task_id) for task_id in TASKS)
    assert not [name for name, text in secrets.items() if text in shown]
    assert airflow.xcom("secrets", run_id, "returned")["jobs"][0]["withheld_headers"] == ["Authorization"]


def assert_they_were_used(cloud: Cloud, guarded: Guarded) -> None:
    """See that the services have really been asked with them, from the worker and from the triggerer."""
    sent = [request.headers for request in cloud.http_jobs.calls("GET", "/jobs/*")]
    assert sum(headers.get("x-api-key") == guarded.secrets["typed"] for headers in sent) > 2
    assert sum(headers.get("authorization") == f"Bearer {guarded.secrets['returned']}" for headers in sent) > 2
    assert len([r for r in guarded.bigquery.calls("GET") if "fake-token-" in r.headers["authorization"]]) > 2
    assert guarded.dqops.calls("GET", "*/jobs/*")
    assert guarded.http_jobs.calls("GET", "/jobs/*")
