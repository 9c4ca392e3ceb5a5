"""`python -m ork_provider.testing` as a user starts it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ork_provider.testing import FakeBigQuery

COMMAND = [sys.executable, "-m", "ork_provider.testing"]
CONNECTIONS = ["AIRFLOW_CONN_DQOPS_DEFAULT", "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "AIRFLOW_CONN_HTTP_DEFAULT"]
LINE = re.compile(r"export (AIRFLOW_CONN_\w+)='(\{.*\})'\n")


@contextmanager
def started(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, dict[str, object]]]]:
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        matches = [LINE.fullmatch(process.stdout.readline()) for _ in CONNECTIONS]
        yield process, {match[1]: json.loads(match[2]) for match in matches if match}
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    """The printed connections reach the services; Ctrl-C and SIGTERM end it with 0 and nothing else is said."""
    with started("--running", "0.1", "--latency", "0.01") as (process, connections):
        bigquery = connections["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"]
        extra = bigquery["extra"]
        assert isinstance(extra, dict)
        endpoints = extra["api_endpoints"]
        url = endpoints["bigquery"]
        assert bigquery == {
            "conn_type": "google_cloud_platform",
            "extra": {"is_anonymous": True, "project": "ork-sandbox", "api_endpoints": endpoints},
        }
        assert httpx.get(f"{url}/bigquery/v2/projects/p/jobs").json()["kind"] == "bigquery#jobList"
        assert httpx.get(f"{endpoints['run']}/v2/projects/p/locations/r/jobs").json() == {}
        assert httpx.get(f"{endpoints['dataproc']}/v1/projects/p/regions/r/jobs").json() == {}
        http = connections["AIRFLOW_CONN_HTTP_DEFAULT"]
        assert http == {"conn_type": "http", "host": "127.0.0.1", "port": http["port"], "schema": "http"}
        assert httpx.post(f"http://127.0.0.1:{http['port']}/jobs").status_code == 202
        dqops = connections["AIRFLOW_CONN_DQOPS_DEFAULT"]
        assert httpx.get(f"{dqops['host']}/api/jobs/jobs").json()["jobs"] == []
        assert sorted(connections) == CONNECTIONS
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (0, "", "")


def test_data_folder_is_queried(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("n\n1\n2\n")
    with started("--data", str(tmp_path), "--running", "0") as (_, connections):
        extra = connections["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"]["extra"]
        assert isinstance(extra, dict)
        url = f"{extra['api_endpoints']['bigquery']}/projects/p/queries"
        answer = httpx.post(url, json={"query": "SELECT SUM(n) FROM t", "useLegacySql": False}).json()
        assert answer["rows"] == [{"f": [{"v": "3"}]}]


def test_stops_in_the_middle_of_a_query(tmp_path: Path) -> None:
    """Ctrl-C ends quietly also while the engine is at work."""
    (tmp_path / "t.csv").write_text("n\n" + "1\n" * 3000)
    slow = "SELECT SUM(a.n * b.n + c.n * d.n) FROM t a CROSS JOIN t b CROSS JOIN t c CROSS JOIN t d"
    with started("--data", str(tmp_path)) as (process, connections):
        extra = connections["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"]["extra"]
        assert isinstance(extra, dict)
        url = f"{extra['api_endpoints']['bigquery']}/projects/p/queries"
        body = {"query": slow, "useLegacySql": False, "timeoutMs": 700}
        assert httpx.post(url, json=body).json()["jobComplete"] is False
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (0, "", "")


def test_command_of_a_cloud_run_job() -> None:
    """Each task of the job runs the command, and its exit code decides."""
    with started("--cloud-run-job", "nightly=sh -c 'exit $CLOUD_RUN_TASK_INDEX'") as (_, connections):
        extra = connections["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"]["extra"]
        assert isinstance(extra, dict)
        url = f"{extra['api_endpoints']['run']}/v2/projects/p/locations/r"
        body = {"overrides": {"taskCount": 2}}
        operation = httpx.post(f"{url}/jobs/nightly:run", json=body).json()["name"]
        done = httpx.post(f"{url}/operations/{operation.rpartition('/')[2]}:wait", json={"timeout": "10s"}).json()
        counts = {name: done["metadata"].get(f"{name}Count") for name in ("succeeded", "failed")}
        assert (done["done"], counts) == (True, {"succeeded": 1, "failed": 1})
        assert "exit code 1" in done["error"]["message"]


def failed(*options: str) -> str:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_port_in_use() -> None:
    """One line says which port and what to do."""
    with FakeBigQuery() as other:
        message = failed("--http-port", str(other.port))
    assert re.fullmatch(rf"ork_provider.testing: .*127.0.0.1:{other.port}: the port is in use.*choose.*\n", message)


def test_bad_folder(tmp_path: Path) -> None:
    assert re.fullmatch(
        r"ork_provider.testing: .*/nowhere is not a folder.*\n", failed("--data", f"{tmp_path}/nowhere")
    )


@pytest.mark.parametrize(
    "options",
    [["--http-port", "99999"], ["--latency", "-1"], ["--nope"], ["--cloud-run-job", "nightly"]],
    ids=" ".join,
)
def test_bad_arguments(options: list[str]) -> None:
    assert "error:" in failed(*options)


def test_help_names_every_option() -> None:
    shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=20, check=True).stdout
    for option in (
        "--data",
        "--host",
        "--bigquery-port",
        "--cloud-run-job",
        "--cloud-run-port",
        "--dataproc-files",
        "--dataproc-port",
        "--dqops-port",
        "--http-port",
        "--latency",
        "--running",
        "[sandbox]",
    ):
        assert option in shown


def test_import_is_free() -> None:
    """Importing the fakes loads neither Airflow nor the sandbox's engine."""
    code = "import sys, ork_provider.testing as t; t.FakeBigQuery; t.FakeClock; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"airflow", "duckdb", "sqlglot", "googleapiclient", "google.auth"} & set(loaded) == set()
    assert "ork_provider.testing.bigquery" in loaded
