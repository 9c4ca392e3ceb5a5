"""Who is measured by ./dev/bench: one trigger class over one connection, and the jobs that it waits for.

What a contender needs of the fake cloud is in `Waiting` (one job) and `Addresses` (where the cloud is). Ours are
listed here, the peers in `peers.py`: `PEERS` for the waiting and `RESTARTS` for the restart with a key file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ork_provider.bigquery import BigQueryJob
from ork_provider.cloud_run import CloudRunJob
from ork_provider.dataproc import DataprocJob
from ork_provider.dqops import DqopsJob
from ork_provider.http import HttpJob
from ork_provider.job import Job
from ork_provider.testing.google_connection import PROJECT, REGION

POLL_INTERVAL = 4.0
"""Seconds between two asks of a job, for everyone who has such a setting."""

Service = Literal["bigquery", "cloud_run", "dataproc", "dqops", "http", "none"]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One job of the cloud as it is told to a trigger.

    `job_id` is the service's own id: the BigQuery or Dataproc job, the Cloud Run execution, the number of the DQOps
    job, the id of the HTTP job. `ends_at` is when it succeeds, in seconds since 1970. `job_name` is the Cloud Run job
    and `operation` the full name of the operation that stands for the execution.
    """

    job_id: str
    ends_at: float
    project: str = PROJECT
    region: str = REGION
    job_name: str = ""
    operation: str = ""


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the cloud is: base URLs without a trailing slash, `host:port` of the gRPC server, and files.

    `ca_file` is the certificate that the gRPC server's clients must trust; `key_file` is a service account's, with
    a `token_uri` at the fake BigQuery's `/token`.
    """

    bigquery: str
    cloud_run: str
    dataproc: str
    dqops: str
    http: str
    grpc: str = ""
    ca_file: str = ""
    key_file: str = ""

    def google(self, *, key: bool = False) -> str:
        """Return the JSON of a Google connection: anonymous, or with the key file; our endpoints are in its extra."""
        endpoints = {"bigquery": self.bigquery, "run": self.cloud_run, "dataproc": self.dataproc}
        who = {"key_path": self.key_file} if key else {"is_anonymous": True}
        extra = {**who, "project": PROJECT, "api_endpoints": endpoints}
        return json.dumps({"conn_type": "google_cloud_platform", "extra": extra})


Trigger = Callable[[Waiting, Addresses], tuple[str, dict[str, Any]]]
Environ = Callable[[Addresses], dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One trigger that is measured.

    `trigger` returns class path and kwargs for one job. `environ` returns what the triggerer's environment holds:
    Airflow connections, settings, an emulator's address. `prepare`, "module:function", is called with the `Addresses`
    in the runner's process before its event loop starts. `one_job` puts all executions into one Cloud Run job instead
    of one each. `note` is printed under the table.
    """

    name: str
    peer: bool
    service: Service
    trigger: Trigger
    environ: Environ
    prepare: str | None = None
    one_job: bool = False
    note: str = ""


def google_environ(addresses: Addresses) -> dict[str, str]:
    """Return the anonymous Google connection."""
    return {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": addresses.google()}


def key_environ(addresses: Addresses) -> dict[str, str]:
    """Return the Google connection with a key file."""
    return {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": addresses.google(key=True)}


def _faster(environ: Environ) -> Environ:
    return lambda addresses: {**environ(addresses), "AIRFLOW__ORK__SHARED_POLL_INTERVAL": "1"}


def _dqops_environ(addresses: Addresses) -> dict[str, str]:
    return {"AIRFLOW_CONN_DQOPS_DEFAULT": json.dumps({"conn_type": "dqops", "host": addresses.dqops})}


def _http_environ(addresses: Addresses) -> dict[str, str]:
    return {"AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({"conn_type": "http", "host": addresses.http})}


def _ours(classpath: str, job: Callable[[Waiting], Job]) -> Trigger:
    def trigger(waiting: Waiting, addresses: Addresses) -> tuple[str, dict[str, Any]]:
        return classpath, {"jobs": [job(waiting).to_dict()], "poll_interval": POLL_INTERVAL}

    return trigger


BIGQUERY = _ours(
    "ork_provider.bigquery.BigQueryJobTrigger", lambda w: BigQueryJob(project=w.project, job_id=w.job_id, location="US")
)
CLOUD_RUN = _ours(
    "ork_provider.cloud_run.CloudRunJobTrigger",
    lambda w: CloudRunJob(project=w.project, region=w.region, job_name=w.job_name, execution_id=w.job_id),
)
DATAPROC = _ours(
    "ork_provider.dataproc.DataprocJobTrigger",
    lambda w: DataprocJob(project=w.project, region=w.region, job_id=w.job_id),
)
DQOPS = _ours("ork_provider.dqops.DqopsJobTrigger", lambda w: DqopsJob(job_id=int(w.job_id)))
HTTP = _ours("ork_provider.http.HttpJobTrigger", lambda w: HttpJob(url=f"/jobs/{w.job_id}"))

OURS = [
    Contender(name="ork BigQuery", peer=False, service="bigquery", trigger=BIGQUERY, environ=google_environ),
    Contender(
        name="ork BigQuery, 1 s list", peer=False, service="bigquery", trigger=BIGQUERY, environ=_faster(google_environ)
    ),
    Contender(name="ork Dataproc", peer=False, service="dataproc", trigger=DATAPROC, environ=google_environ),
    Contender(name="ork DQOps", peer=False, service="dqops", trigger=DQOPS, environ=_dqops_environ),
    Contender(
        name="ork Cloud Run, many jobs", peer=False, service="cloud_run", trigger=CLOUD_RUN, environ=google_environ
    ),
    Contender(
        name="ork Cloud Run, one job",
        peer=False,
        service="cloud_run",
        trigger=CLOUD_RUN,
        environ=google_environ,
        one_job=True,
    ),
    Contender(name="ork HTTP", peer=False, service="http", trigger=HTTP, environ=_http_environ),
]
"""Ours, over anonymous connections."""

RESTARTS = [
    Contender(name="ork BigQuery", peer=False, service="bigquery", trigger=BIGQUERY, environ=key_environ),
    Contender(name="ork Cloud Run", peer=False, service="cloud_run", trigger=CLOUD_RUN, environ=key_environ),
    Contender(name="ork Dataproc", peer=False, service="dataproc", trigger=DATAPROC, environ=key_environ),
]
"""Ours, over the connection with a key file."""
