"""Airflow's own REST API, for lessons that look at Airflow from a task: tasks cannot reach its database.

The connection `airflow_api` (type HTTP) says where it is; `./dev/tutorial` sets it. In another Airflow:
`airflow connections add airflow_api --conn-type http --conn-host http://HOST:8080 --conn-login ...`
"""

from __future__ import annotations

from typing import Any

import httpx
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

CONNECTION = "airflow_api"


class NoAirflowApi(AirflowException):
    """The REST API is not there, or refuses."""


def ask_airflow(path: str, method: str = "GET", json: Any = None, **params: Any) -> Any:
    """Return the JSON that the API answers to `/api/v2{path}`; raise NoAirflowApi, in one line, if it does not."""
    url, login = _address()
    try:
        with httpx.Client(base_url=url, timeout=10, trust_env=False) as http:
            if login:
                token = _answer(http.post("/auth/token", json=login))["access_token"]
                http.headers["Authorization"] = f"Bearer {token}"
            return _answer(http.request(method, f"/api/v2{path}", params=params, json=json))
    except httpx.TransportError as exc:
        raise NoAirflowApi(f"No Airflow API answers at {url} (connection {CONNECTION}): {exc}") from exc


def _address() -> tuple[str, dict[str, str] | None]:
    try:
        connection = BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException as exc:
        raise NoAirflowApi(f"This lesson asks Airflow's REST API: add the HTTP connection {CONNECTION}.") from exc
    host = connection.host or "localhost"
    url = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    if connection.port:
        url = f"{url}:{connection.port}"
    login = {"username": connection.login, "password": connection.password or ""} if connection.login else None
    return url, login


def _answer(response: httpx.Response) -> Any:
    if response.is_error:
        raise NoAirflowApi(f"{response.request.method} {response.url}: {response.status_code} {response.text[:300]}")
    return response.json() if response.content else None
