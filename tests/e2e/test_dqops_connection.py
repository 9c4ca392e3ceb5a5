"""The connection type `dqops` in a real Airflow: its form, and its Test button."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ork_provider.testing.local_airflow import LocalAirflow
from tests.e2e.conftest import Guarded


def call(airflow: LocalAirflow, method: str, path: str, **request: Any) -> Any:
    """Ask Airflow's API server as its pages do."""
    answer = httpx.request(method, f"{airflow.url}{path}", trust_env=False, timeout=60, **request)
    return answer.raise_for_status().json()


def test_form(airflow: LocalAirflow) -> None:
    """The form of a new connection offers DQOps, with the fields that it has and no others."""
    forms = {form["connection_type"]: form for form in call(airflow, "GET", "/ui/connections/hook_meta")}
    form = forms["dqops"]
    assert form["hook_name"] == "DQOps"
    assert form["standard_fields"]["host"]["title"] == "Base URL"
    assert form["standard_fields"]["password"]["title"] == "API key"
    assert form["standard_fields"]["login"]["hidden"] is True
    assert set(form["extra_fields"]) == {"data_domain", "verify"}


@pytest.mark.parametrize(
    ("password", "good", "said"),
    [("right", True, "DQOps"), ("wrong", False, "401"), ("", False, "API key")],
)
def test_button(airflow: LocalAirflow, guarded: Guarded, password: str, good: bool, said: str) -> None:
    """The Test button asks DQOps, and says what is wrong."""
    key = {"right": guarded.secrets["api_key"], "wrong": "another-key", "": None}[password]
    body = {"connection_id": "any", "conn_type": "dqops", "host": guarded.dqops.url, "password": key}
    answer = call(airflow, "POST", "/api/v2/connections/test", json=body)
    assert answer["status"] is good
    assert said in answer["message"]
