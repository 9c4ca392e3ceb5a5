"""CPU-seconds that a worker spends per task start: our BigQuery operator and Google's, in one Airflow."""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from _bench.cloud import write_key
from ork_provider.testing import FakeBigQuery
from ork_provider.testing.local_airflow import LocalAirflow

DAGS = Path(__file__).resolve().parent.parent / "bench_dags"
OPERATORS = {"Ours": "ours", "Google": "google_provider"}
CONNECTIONS = {"anonymous": "google_cloud_default", "key file": "google_key"}


def measure() -> int:
    """Run both DAGs over both connections, one task at a time; print the medians."""
    with tempfile.TemporaryDirectory(prefix="ork-bench-") as scratch, FakeBigQuery(running=15) as bigquery:
        notes = Path(scratch, "notes")
        environ = {**_connections(bigquery, Path(scratch)), "ORK_BENCH_FILE": str(notes)}
        rows = []
        with LocalAirflow(DAGS, env=environ, quiet=False) as airflow:
            for connection, conn_id in CONNECTIONS.items():
                for operator, dag_id in OPERATORS.items():
                    notes.unlink(missing_ok=True)
                    run_id = airflow.trigger_dag(dag_id, conf={"conn": conn_id})
                    if airflow.wait(dag_id, run_id, timeout=400) != "success":
                        print(airflow.log(dag_id, run_id, "query", map_index=0))
                        return 1
                    rows.append((operator, connection, read(notes)))
    report(rows)
    return 0


def _connections(bigquery: FakeBigQuery, scratch: Path) -> dict[str, str]:
    """Return both connections, and where Google's client library looks for an emulator."""
    path = write_key(scratch / "key.json", f"{bigquery.url}/token")
    extra = {"key_path": str(path), "project": "ork-sandbox", "api_endpoints": {"bigquery": bigquery.url}}
    with_key = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
    return {
        **bigquery.connections(),
        "AIRFLOW_CONN_GOOGLE_KEY": with_key,
        "BIGQUERY_EMULATOR_HOST": bigquery.url,
    }


def read(notes: Path) -> dict[str, list[float]]:
    """Return the CPU-seconds by moment."""
    found: dict[str, list[float]] = {"defer": [], "resume": []}
    for line in notes.read_text().splitlines():
        noted: dict[str, Any] = json.loads(line)
        found[noted["moment"]].append(noted["cpu_seconds"])
    return found


def report(rows: list[tuple[str, str, dict[str, list[float]]]]) -> None:
    """Print medians with their range, and what they were measured with."""
    table = Table(title="CPU-seconds of a worker process per task start: median (least to most)")
    for column in ("operator", "connection", "until deferred", "resume to end", "starts"):
        table.add_column(column)
    for operator, connection, found in rows:
        table.add_row(operator, connection, *(spell(found[m]) for m in ("defer", "resume")), str(len(found["defer"])))
    console = Console(width=110)
    console.print(table)
    packages = ("apache-airflow", "apache-airflow-providers-google", "airflow-provider-ork")
    console.print(f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in packages))


def spell(seconds: list[float]) -> str:
    """Return a median and its range."""
    return f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
