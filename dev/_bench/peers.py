"""The peers in `./dev/bench waiting`: the triggers that others offer for the same wait, as they are installed.

All poll every `POLL_INTERVAL`, the interval of ours. Nothing is changed in what they do; three things in where:

- Google's hooks for Cloud Run and Dataproc take an endpoint from nowhere (no setting, no connection field), so
  `get_client_options` of their base class is replaced in the runner's process and returns the fake's. BigQuery's
  client honours BIGQUERY_EMULATOR_HOST by itself. The gRPC clients trust the fake's certificate by
  GRPC_DEFAULT_SSL_ROOTS_FILE_PATH.
- google-auth looks up a service account's allowed locations: one thread and one request to
  iamcredentials.googleapis.com for each credentials object. With a key file that request goes to the fake instead;
  anonymous access has none.
- No trigger of the http provider reads a status: HttpSensorTrigger waits while the answer is 404, so it asks for
  `/jobs/<id>/when-done`; HttpEventTrigger calls a function of the user's, here `http_check.has_ended`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Literal

from _bench.contenders import POLL_INTERVAL, Addresses, Contender, Trigger, Waiting
from ork_provider.testing.google_connection import PROJECT

# -- triggers ----------------------------------------------------------------------------------------------------


def _bigquery(waiting: Waiting, _: Addresses) -> Trigger:
    """Write down what `serialize` returns: the trigger logs a line each time that one is made."""
    return "airflow.providers.google.cloud.triggers.bigquery.BigQueryInsertJobTrigger", {
        "conn_id": "google_cloud_default",
        "job_id": waiting.job_id,
        "dataset_id": None,
        "project_id": waiting.project,
        "location": waiting.location,
        "table_id": None,
        "poll_interval": POLL_INTERVAL,
        "impersonation_chain": None,
        "cancel_on_kill": True,
    }


def _cloud_run(transport: Literal["rest", "grpc"]) -> Callable[[Waiting, Addresses], Trigger]:
    def trigger(waiting: Waiting, _: Addresses) -> Trigger:
        from airflow.providers.google.cloud.triggers import cloud_run  # noqa: TID251 - measured

        place = f"projects/{waiting.project}/locations/{waiting.region}"
        return cloud_run.CloudRunJobFinishedTrigger(
            operation_name=f"{place}/operations/{waiting.job_id}",
            job_name=waiting.job_name,
            project_id=waiting.project,
            location=waiting.region,
            polling_period_seconds=POLL_INTERVAL,
            transport=transport,
        ).serialize()

    return trigger


def _dataproc(waiting: Waiting, _: Addresses) -> Trigger:
    from airflow.providers.google.cloud.triggers.dataproc import DataprocSubmitTrigger  # noqa: TID251 - measured

    trigger: Any = DataprocSubmitTrigger(
        job_id=waiting.job_id,
        project_id=waiting.project,
        region=waiting.region,
        polling_interval_seconds=int(POLL_INTERVAL),
    )
    path, kwargs = trigger.serialize()
    return path, kwargs


def _http_sensor(waiting: Waiting, _: Addresses) -> Trigger:
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    return HttpSensorTrigger(endpoint=f"jobs/{waiting.job_id}/when-done", poke_interval=POLL_INTERVAL).serialize()


def _http_event(waiting: Waiting, _: Addresses) -> Trigger:
    from airflow.providers.http.triggers.http import HttpEventTrigger

    return HttpEventTrigger(
        response_check_path="_bench.http_check.has_ended",
        endpoint=f"jobs/{waiting.job_id}",
        poll_interval=POLL_INTERVAL,
    ).serialize()


def _bare_poll(waiting: Waiting, _: Addresses) -> Trigger:
    from _bench.floor import BarePoll

    return BarePoll(url=waiting.url, poll_interval=POLL_INTERVAL).serialize()


def _date_time(waiting: Waiting, _: Addresses) -> Trigger:
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger

    return DateTimeTrigger(moment=datetime.fromtimestamp(waiting.ends_at, timezone.utc)).serialize()


# -- environment -------------------------------------------------------------------------------------------------


def _google(addresses: Addresses, *, key: bool) -> dict[str, str]:
    """Return what all Google contenders need: the connection, the emulator of BigQuery and whom to trust."""
    access = {"key_path": addresses.key_file} if key else {"is_anonymous": True}
    connection = {"conn_type": "google_cloud_platform", "extra": {**access, "project": PROJECT}}
    return {
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "BIGQUERY_EMULATOR_HOST": addresses.bigquery,
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": addresses.ca_file,
    }


def _anonymous(addresses: Addresses) -> dict[str, str]:
    return _google(addresses, key=False)


def _with_key(addresses: Addresses) -> dict[str, str]:
    return _google(addresses, key=True)


def _http(addresses: Addresses) -> dict[str, str]:
    return {"AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({"conn_type": "http", "host": addresses.http})}


# -- in the runner's process -------------------------------------------------------------------------------------


def prepare_bigquery(addresses: Addresses) -> None:
    """Send the lookup of allowed locations to the fake."""
    from google.oauth2.service_account import Credentials

    def url(self: Any, request: Any = None) -> str:
        return f"{addresses.bigquery}/probe"  # what nobody counts; its 404 is taken for "no locations"

    setattr(Credentials, "_build_regional_access_boundary_lookup_url", url)  # noqa: B010 - for mypy


def prepare_cloud_run_rest(addresses: Addresses) -> None:
    """Let the hook find the fake Cloud Run."""
    prepare_bigquery(addresses)
    _send_to(addresses.cloud_run)


def prepare_grpc(addresses: Addresses) -> None:
    """Let the hooks of Cloud Run and Dataproc find the gRPC server."""
    prepare_bigquery(addresses)
    _send_to(f"localhost:{addresses.grpc_port}")


def _send_to(endpoint: str) -> None:
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook  # noqa: TID251 - measured
    from google.api_core.client_options import ClientOptions

    def get_client_options(self: Any, api_endpoint_override: str | None = None) -> ClientOptions:
        return ClientOptions(api_endpoint=endpoint)

    setattr(GoogleBaseHook, "get_client_options", get_client_options)  # noqa: B010 - a method, for mypy


PEERS: list[Contender] = [
    Contender(
        name="google BigQuery",
        peer=True,
        service="bigquery",
        trigger=_bigquery,
        environ=_anonymous,
        restart=_with_key,
        prepare="_bench.peers:prepare_bigquery",
        note="BigQueryInsertJobTrigger",
    ),
    Contender(
        name="google Cloud Run, REST",
        peer=True,
        service="cloud_run",
        trigger=_cloud_run("rest"),
        environ=_anonymous,
        restart=_with_key,
        prepare="_bench.peers:prepare_cloud_run_rest",
        grpc=True,  # for the operations, which are served with it
        note="CloudRunJobFinishedTrigger, transport rest",
    ),
    Contender(
        name="google Cloud Run, gRPC",
        peer=True,
        service="cloud_run",
        trigger=_cloud_run("grpc"),
        environ=_anonymous,
        restart=_with_key,
        prepare="_bench.peers:prepare_grpc",
        grpc=True,
        note="CloudRunJobFinishedTrigger, transport grpc (default)",
    ),
    Contender(
        name="google Dataproc",
        peer=True,
        service="dataproc",
        trigger=_dataproc,
        environ=_anonymous,
        restart=_with_key,
        prepare="_bench.peers:prepare_grpc",
        grpc=True,
        note="DataprocSubmitTrigger",
    ),
    Contender(
        name="http sensor",
        peer=True,
        service="http",
        trigger=_http_sensor,
        environ=_http,
        grpc=True,  # for /when-done, which is served with it
        note="HttpSensorTrigger, which waits while the answer is 404",
    ),
    Contender(
        name="http event",
        peer=True,
        service="http",
        trigger=_http_event,
        environ=_http,
        note="HttpEventTrigger with a function that reads the status",
    ),
    Contender(
        name="bare aiohttp",
        peer=True,
        service="http",
        trigger=_bare_poll,
        fair=False,
        note="the least that a poller of single jobs costs; it forgives nothing",
    ),
    Contender(
        name="standard DateTime",
        peer=True,
        service="none",
        trigger=_date_time,
        fair=False,
        note="DateTimeTrigger asks nobody: the floor of any trigger",
    ),
]
