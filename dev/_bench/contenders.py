"""Who waits in `./dev/bench waiting`: our triggers here, their peers in `_bench.peers`.

A contender says how its trigger for one seeded job is made, and with which environment Airflow's triggerer runs.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ork_provider.testing.google_connection import PROJECT, REGION

Service = Literal["bigquery", "cloud_run", "dataproc", "dqops", "http", "none"]

POLL_INTERVAL = 4.0
"""Seconds between two asks of a job, of ours and of the peers."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One job that is waited for.

    :param number: which of the jobs, from 0
    :param ends_at: when it ends, in seconds since 1970; far away for those that go on
    :param job_id: what its service calls it: a BigQuery or Dataproc job id, the id of a Cloud Run execution, the number
        of a DQOps job, the id of an HTTP job
    :param job_name: the Cloud Run job that is executed
    :param url: the whole URL of an HTTP job's status
    """

    number: int
    ends_at: float
    job_id: str
    job_name: str = ""
    url: str = ""
    project: str = PROJECT
    region: str = REGION
    location: str = "US"


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the fake cloud is.

    The URLs have no trailing slash. `grpc_port` is the TLS port of `_bench.grpc_front` on 127.0.0.1 (0: it does not
    run), `ca_file` the PEM file to trust for it. `key_file` is a service account's key whose `token_uri` is the fake
    BigQuery's.
    """

    bigquery: str
    cloud_run: str
    dataproc: str
    dqops: str
    http: str
    key_file: str
    grpc_port: int = 0
    ca_file: str = ""


Trigger = tuple[str, dict[str, Any]]
"""Class path and kwargs, as `BaseTrigger.serialize()` returns them."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to wait.

    :param name: how tables call it
    :param peer: whether it is somebody else's
    :param service: the fake whose jobs it waits for; "none" needs no service
    :param trigger: makes the trigger of one job; called in the process of the benchmark
    :param environ: variables of the triggerer; AIRFLOW_CONN_* are kept from the runner, which asks its supervisor
        for connections, as in production
    :param prepare: "module:function" that is called with the Addresses in the runner's process before it starts
    :param restart: environment with a key file instead of anonymous access; None: it is not in the restart table
    :param one_job: of Cloud Run: all are executions of one Cloud Run job; otherwise each is of a job of its own
    :param grpc: whether it needs `_bench.grpc_front`
    :param sizes: how many triggers wait at once
    :param fair: whether it does the whole work; what does not is a floor to compare with, and no fault is sent to it
    :param note: what a reader of the table must know
    """

    name: str
    peer: bool
    service: Service
    trigger: Callable[[Waiting, Addresses], Trigger]
    environ: Callable[[Addresses], dict[str, str]] = field(default=lambda addresses: {})
    prepare: str | None = None
    restart: Callable[[Addresses], dict[str, str]] | None = None
    one_job: bool = False
    grpc: bool = False
    sizes: tuple[int, ...] = (100, 1000)
    fair: bool = True
    note: str = ""


def google_connection(addresses: Addresses, *, key: bool = False) -> dict[str, str]:
    """Return the Google connection of ours: anonymous, or with the key file."""
    urls = {"bigquery": addresses.bigquery, "dataproc": addresses.dataproc, "run": addresses.cloud_run}
    access: dict[str, Any] = {"key_path": addresses.key_file} if key else {"is_anonymous": True}
    extra = {**access, "project": PROJECT, "api_endpoints": urls}
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    return {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection)}


def _with_key(addresses: Addresses) -> dict[str, str]:
    return google_connection(addresses, key=True)


def _every_second(addresses: Addresses) -> dict[str, str]:
    return {**google_connection(addresses), "AIRFLOW__ORK__SHARED_POLL_INTERVAL": "1"}


def _dqops_connection(addresses: Addresses) -> dict[str, str]:
    return {"AIRFLOW_CONN_DQOPS_DEFAULT": json.dumps({"conn_type": "dqops", "host": addresses.dqops})}


def _http_connection(addresses: Addresses) -> dict[str, str]:
    return {"AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({"conn_type": "http", "host": addresses.http})}


def _bigquery(waiting: Waiting, _: Addresses) -> Trigger:
    from ork_provider.bigquery import BigQueryJob, BigQueryJobTrigger

    job = BigQueryJob(project=waiting.project, job_id=waiting.job_id, location=waiting.location)
    return BigQueryJobTrigger(jobs=[job.sealed_dict()], poll_interval=POLL_INTERVAL).serialize()


def _cloud_run(waiting: Waiting, _: Addresses) -> Trigger:
    from ork_provider.cloud_run import CloudRunJob, CloudRunJobTrigger

    job = CloudRunJob(
        project=waiting.project, region=waiting.region, job_name=waiting.job_name, execution_id=waiting.job_id
    )
    return CloudRunJobTrigger(jobs=[job.sealed_dict()], poll_interval=POLL_INTERVAL).serialize()


def _dataproc(waiting: Waiting, _: Addresses) -> Trigger:
    from ork_provider.dataproc import DataprocJob, DataprocJobTrigger

    job = DataprocJob(project=waiting.project, region=waiting.region, job_id=waiting.job_id)
    return DataprocJobTrigger(jobs=[job.sealed_dict()], poll_interval=POLL_INTERVAL).serialize()


def _dqops(waiting: Waiting, _: Addresses) -> Trigger:
    from ork_provider.dqops import DqopsJob, DqopsJobTrigger

    job = DqopsJob(job_id=int(waiting.job_id))
    return DqopsJobTrigger(jobs=[job.sealed_dict()], poll_interval=POLL_INTERVAL).serialize()


def _http(waiting: Waiting, _: Addresses) -> Trigger:
    from ork_provider.http import HttpJob, HttpJobTrigger

    job = HttpJob(url=waiting.url)
    return HttpJobTrigger(jobs=[job.sealed_dict()], poll_interval=POLL_INTERVAL).serialize()


_LARGE = (100, 1000, 10_000)

OURS: list[Contender] = [
    Contender(
        name="ork BigQuery",
        peer=False,
        service="bigquery",
        trigger=_bigquery,
        environ=google_connection,
        restart=_with_key,
        sizes=_LARGE,
        note="shared poll every 2 s, the default",
    ),
    Contender(
        name="ork BigQuery, 1 s",
        peer=False,
        service="bigquery",
        trigger=_bigquery,
        environ=_every_second,
        note="shared poll every second",
    ),
    Contender(
        name="ork Cloud Run, own jobs",
        peer=False,
        service="cloud_run",
        trigger=_cloud_run,
        environ=google_connection,
        restart=_with_key,
        note="one execution of each Cloud Run job",
    ),
    Contender(
        name="ork Cloud Run, one job",
        peer=False,
        service="cloud_run",
        trigger=_cloud_run,
        environ=google_connection,
        one_job=True,
        note="all are executions of one Cloud Run job",
    ),
    Contender(
        name="ork Dataproc",
        peer=False,
        service="dataproc",
        trigger=_dataproc,
        environ=google_connection,
        restart=_with_key,
        sizes=_LARGE,
    ),
    Contender(
        name="ork DQOps",
        peer=False,
        service="dqops",
        trigger=_dqops,
        environ=_dqops_connection,
        sizes=_LARGE,
        note="feed",
    ),
    Contender(name="ork HTTP", peer=False, service="http", trigger=_http, environ=_http_connection),
]


def contenders() -> list[Contender]:
    """Return ours and, where they are written and installed, the peers."""
    if importlib.util.find_spec("_bench.peers") is None:
        return list(OURS)
    peers: list[Contender] = importlib.import_module("_bench.peers").PEERS
    return [*OURS, *peers]
