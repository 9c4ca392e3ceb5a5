"""docs/configuration.md: every setting of ours, and what it says of Airflow's is what Airflow says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from airflow.configuration import retrieve_configuration_description

from ork_provider.provider_info import get_provider_info
from tests.conftest import Tell
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/configuration.md").read_text()
OURS, AIRFLOWS = PAGE.partition("\n## Airflow: ")[::2]
ROWS = re.findall(r"^\| `\[(\w+)\] (\w+)`(?:, `(\w+)`)? \| (.+?) \|", AIRFLOWS, re.MULTILINE)
SETTINGS = [
    (section, key, default)
    for section, first, second, defaults in ROWS
    for key, default in zip([first, second] if second else [first], defaults.split(", ") * 2, strict=False)
]
DESCRIBED = retrieve_configuration_description(include_providers=False)
WANTED = """
triggerer: capacity max_trigger_to_select_per_loop job_heartbeat_sec triggerer_health_check_threshold
triggerer: runner_health_check_threshold blocked_main_thread_warning_threshold on_kill_timeout queues_enabled
scheduler: trigger_timeout_check_interval task_instance_heartbeat_timeout
workers: min_heartbeat_interval socket_cleanup_timeout state_store_backend
state_store: backend default_retention_days clear_on_success
logging: logging_level trigger_log_server_port remote_logging
metrics: statsd_on otel_on statsd_datadog_enabled statsd_influxdb_enabled metrics_allow_list metrics_block_list
core: parallelism max_active_tasks_per_dag default_task_execution_timeout fernet_key
operators: default_deferrable
"""
"""Airflow's settings that a wait depends on."""


def test_ours(tell: Tell) -> None:
    """The table of `[ork]` has each setting that Airflow is told of, with its default, and no other."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", OURS, re.MULTILINE))
    options: dict[str, Any] = get_provider_info()["config"]["ork"]["options"]
    assert rows == {
        key: f"`{option['default']}`" if option["default"] else "empty: any" for key, option in options.items()
    }
    tell(f"[ork] settings in docs/configuration.md: {len(rows)} of {len(options)}")


def test_airflows_settings_are_there(tell: Tell) -> None:
    """Each of Airflow's settings that a wait depends on has a row."""
    lines = [line.partition(": ") for line in WANTED.strip().splitlines()]
    wanted = {(section, key) for section, _, keys in lines for key in keys.split()}
    missing = wanted - {(section, key) for section, key, _ in SETTINGS}
    assert missing == set()
    tell(f"settings of Airflow in docs/configuration.md: {len(SETTINGS)}")


@pytest.mark.parametrize(("section", "key", "default"), SETTINGS)
def test_default(section: str, key: str, default: str) -> None:
    """The default in the table is the one in Airflow's own configuration."""
    option = DESCRIBED[section]["options"][key]
    said = re.match(r"`([^`]*)`", default)
    if said:
        assert _same(said[1], str(option["default"]))
    else:
        assert default.startswith("empty" if not option["default"] else "generated")


def _same(said: str, real: str) -> bool:
    try:
        return float(said) == float(real)
    except ValueError:
        return said.lower() == real.lower()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(?:\w+\.)?(\w+)` in `(airflow/[\w/]+\.py)`", PAGE))), ids=str)
def test_named_code(name: tuple[str, str]) -> None:
    """A function that the page names is in the file that it names."""
    import airflow

    function, file = name
    source = Path(next(iter(airflow.__path__))).parent / file
    assert f"def {function}(" in source.read_text()


def test_no_setting_without_a_row() -> None:
    """No setting of Airflow that the running text names is one that there is not."""
    for section, key in re.findall(r"\[(\w+)\] (\w+)", PAGE):
        known = {**DESCRIBED, **get_provider_info()["config"]}
        assert key in known[section]["options"], (section, key)
