"""docs/metrics.md and docs/monitoring: every metric is really sent, and every query asks for what was sent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGTERM
from typing import Any

import promql_parser
import pytest
import yaml

from ork_provider.cli.names import CHECKS
from ork_provider.metrics import METRICS
from ork_provider.testing import FakeBigQuery, FakeHttpJobs, Fault, merged_connections
from ork_provider.testing.local_airflow import LocalAirflow
from tests.conftest import Tell
from tests.docs_airflow.receivers import Mapping, Received, otlp, series_of_otlp, statsd

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MONITORING = ROOT / "docs" / "monitoring"
TAGS_PAGE = (ROOT / "docs" / "metrics.md").read_text()
PREFIX = "airflow."
AIRFLOWS = {
    "triggers.running": ("gauge", ("hostname",)),
    "triggerer.capacity_left": ("gauge", ("hostname",)),
    "triggers.succeeded": ("counter", ()),
    "triggers.failed": ("counter", ()),
    "triggers.blocked_main_thread": ("counter", ()),
    "triggerer_heartbeat": ("counter", ()),
    "ti.deferred": ("gauge", ("queue", "dag_id", "task_id")),
    "pool.deferred_slots": ("gauge", ("pool_name",)),
    "ti.start": ("counter", ("dag_id", "task_id")),
    "ti.finish": ("counter", ("dag_id", "task_id", "state")),
}
"""Those of Airflow's own metrics that docs/metrics.md lists: type and tags."""

ALL = {**METRICS, **AIRFLOWS}
STATSD = {"STATSD_ON": "True", "STATSD_INFLUXDB_ENABLED": "True", "LEGACY_NAMES_ON": "False"}
SETTINGS = {
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__TI_METRICS_INTERVAL": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "PYTHONPATH": str(ROOT),
}
pytestmark = pytest.mark.timeout(300)


def rows(heading: str) -> dict[str, dict[str, str]]:
    """Return the rows of the table below a heading of docs/metrics.md, by the metric's name."""
    table = TAGS_PAGE.partition(f"\n## {heading}\n")[2].partition("\n| ")[2].partition("\n\n")[0]
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {cells[0].strip("`"): dict(zip(head, cells, strict=True)) for cells in lines}


PAGE = {**rows("What our operators send"), **rows("What Airflow sends of them")}


def run(env: dict[str, str], received: Received, wanted: set[str]) -> None:
    """Let an Airflow wait in every way, and take its triggerer away at the end, until all that is wanted has come."""
    with FakeHttpJobs() as http_jobs, FakeBigQuery(pending=0, running=15) as bigquery:
        http_jobs.fail(Fault.status(503), on="GET /jobs/*", nth=6, times=3)
        bigquery.fail(Fault.status(503), on="GET */jobs")
        env = {**merged_connections([http_jobs, bigquery]), **SETTINGS, **env}
        with LocalAirflow(HERE / "monitoring_dags", env=env, parallelism=8) as airflow:
            run_id = airflow.trigger_dag("monitored")
            assert airflow.wait("monitored", run_id, timeout=120) == "failed"
            states = {one["task_id"]: one["state"] for one in airflow.task_instances("monitored", run_id)}
            good = {task for task, state in states.items() if state == "success"}
            assert good == {"blocks", "good", "query", "waits"}
            airflow.kill("triggerer", SIGTERM)
            airflow.trigger_dag("patient")
            until(lambda: wanted <= received.samples.keys(), 60, lambda: f"missing: {wanted - received.samples.keys()}")


def until(true: Callable[[], bool], seconds: float, say: Callable[[], str]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, say()
        time.sleep(0.25)


@pytest.fixture(scope="module")
def by_statsd() -> Iterator[Received]:
    """Return what a StatsD server with tags was sent."""
    with statsd() as (received, port):
        settings = {f"AIRFLOW__METRICS__{name}": value for name, value in STATSD.items()}
        wanted = {PREFIX + name for name in ALL}
        run({**settings, "AIRFLOW__METRICS__STATSD_PORT": str(port)}, received, wanted)
        yield received


@pytest.fixture(scope="module")
def by_otlp() -> Iterator[Received]:
    """Return what a collector of OpenTelemetry was sent, as differences: a worker's process counts from 0."""
    with otlp() as (received, port):
        settings = {
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=airflow",
        }
        run(settings, received, {PREFIX + name for name in ALL})
        yield received


def check(received: Received, tell: Tell) -> None:
    """Compare what was received with what the page and METRICS say."""
    for name, (kind, tags) in ALL.items():
        assert received.types[PREFIX + name] == kind, name
        assert received.tags(PREFIX + name) == set(tags), name
    assert received.values("airflow.ork.wait.finished", "outcome") == {"success", "failed", "timeout"}
    assert received.values("airflow.ork.wait.errors", "error") == {"TryAgain"}
    assert received.values("airflow.ork.wait.in_flight", "service") == {"custom_http", "bigquery", "dependency"}
    assert received.values("airflow.ork.hub.errors", "service") == {"bigquery"}
    assert received.values("airflow.ti.finish", "state") >= {"deferred", "success", "failed"}
    ours = {name.removeprefix(PREFIX) for name in received.samples if name.startswith("airflow.ork.")}
    assert ours == set(METRICS)
    for task_id, outcome in {"good": "success", "bad": "failed", "late": "timeout", "query": "success"}.items():
        for name, more in (("started", {}), ("deferred", {}), ("finished", {"outcome": outcome})):
            assert received.total(f"airflow.ork.wait.{name}", task_id=task_id, **more) == 1, (name, task_id)
    tell(f"{len(ours)} / {len(METRICS)} metrics of ours received, {len(AIRFLOWS)} / {len(AIRFLOWS)} of Airflow's")


def test_page_lists_every_metric() -> None:
    """docs/metrics.md lists each metric, with its type and its tags, and no other."""
    assert set(PAGE) == set(ALL)
    for name, (kind, tags) in ALL.items():
        assert PAGE[name]["type"].split(",")[0] == kind, name
        assert re.findall(r"`(\w+)`", PAGE[name]["tags"]) == list(tags), name


def test_statsd(by_statsd: Received, tell: Tell) -> None:
    """Every metric of the page is received over StatsD, with the type and the tags that the page lists."""
    check(by_statsd, tell)


def test_otlp(by_otlp: Received, tell: Tell) -> None:
    """The same over OpenTelemetry; all processes of workers are one instance, so that their counts add up."""
    check(by_otlp, tell)
    assert len(by_otlp.processes["airflow.ork.wait.started"]) == 1


def series_by_statsd(received: Received) -> set[str]:
    """Return the series that statsd_exporter makes of what was received."""
    mapping = Mapping(MONITORING / "statsd-mapping.yaml")
    return {made for name, kind in received.types.items() for made in mapping.series(name, kind)}


def series_by_otlp(received: Received) -> set[str]:
    """Return the series that Prometheus makes of what OpenTelemetry sent."""
    return {made for name, kind in received.types.items() for made in series_of_otlp(name, kind)}


def alerts() -> list[dict[str, Any]]:
    """Return the alert rules."""
    return [
        rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
    ]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    return dict(json.loads((MONITORING / "grafana-dashboard.json").read_text()))


def queries() -> dict[str, str]:
    """Return every query of the dashboard and the alerts, without Grafana's variables."""
    found = {f"{p['title']} {t['refId']}": t["expr"] for p in dashboard()["panels"] for t in p["targets"]}
    found.update({rule["alert"]: rule["expr"] for rule in alerts()})
    return {name: query.replace("$__rate_interval", "5m").replace("$service", ".*") for name, query in found.items()}


def selectors(query: str) -> list[promql_parser.VectorSelector]:
    """Return what a query selects; one that is not PromQL raises ValueError."""
    found: list[promql_parser.VectorSelector] = []

    def collect(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(query), collect)
    return found


def labels_of(query: str) -> set[str]:
    """Return the labels by which a query groups and selects."""
    grouped = {label for group in re.findall(r"\bby \(([^)]*)\)", query) for label in re.findall(r"\w+", group)}
    return grouped | {matcher.name for one in selectors(query) for matcher in one.matchers.matchers}


def test_queries_are_promql() -> None:
    """Every query of the dashboard and of the alerts parses, and selects something."""
    for name, query in queries().items():
        assert selectors(query), name
    with pytest.raises(ValueError, match=r".+"):
        selectors("sum(rate(a[5m])")


def test_queries_ask_for_what_was_sent(by_statsd: Received, by_otlp: Received, tell: Tell) -> None:
    """Every name that a query selects is what the mapping, or OpenTelemetry, makes of a metric that was received."""
    made, by_collector = series_by_statsd(by_statsd), series_by_otlp(by_otlp)
    asked = {name: {str(one.name) for one in selectors(query)} for name, query in queries().items()}
    only_statsd, only_otlp = "airflow_ork_wait_duration_seconds_bucket", "airflow_ork_wait_duration_milliseconds"
    for name, wanted in asked.items():
        assert wanted <= made | {only_otlp}, f"{name}: {wanted - made}"
        assert wanted <= by_collector | {only_statsd}, f"{name}: {wanted - by_collector}"
    assert only_statsd in made
    assert only_otlp in by_collector
    tell(f"{len(asked)} queries, {len(set().union(*asked.values()))} names")


def test_queries_group_by_tags_that_were_sent(by_statsd: Received) -> None:
    """Every label by which a query groups or selects is a tag of one of its metrics."""
    mapping = Mapping(MONITORING / "statsd-mapping.yaml")
    tags: dict[str, set[str]] = {}
    for name, kind in by_statsd.types.items():
        for made in mapping.series(name, kind):
            tags.setdefault(made, {"le"} if made.endswith("_bucket") else set()).update(by_statsd.tags(name))
    for name, query in queries().items():
        known = {tag for one in selectors(query) for tag in tags.get(str(one.name), {"service"})}
        assert labels_of(query) <= known, f"{name}: {labels_of(query) - known}"


def test_every_metric_of_ours_is_shown() -> None:
    """No metric of ours is missing on the dashboard."""
    shown = {str(one.name) for name, query in queries().items() for one in selectors(query)}
    for metric, (kind, _) in METRICS.items():
        end = {"counter": "_total", "gauge": "", "timer": "_milliseconds"}[kind]
        assert f"airflow_{metric.replace('.', '_')}{end}" in shown, metric


def test_dashboard(tell: Tell) -> None:
    """The dashboard has what Grafana reads: a variable for the data source, which all use, and panels side by side."""
    whole = dashboard()
    variables = {one["name"]: one["type"] for one in whole["templating"]["list"]}
    assert variables == {"datasource": "datasource", "service": "query"}
    assert whole["id"] is None
    assert {"title", "uid", "schemaVersion", "panels", "time", "version"} <= whole.keys()
    panels = whole["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) == 23
    for panel in panels:
        assert panel["type"] in ("timeseries", "stat")
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    tell(f"{len(panels)} panels, {len(queries())} queries with those of {len(alerts())} alerts")


def test_alerts() -> None:
    """Each alert has a name of its own, a severity, a sentence, what to do, a row in the page and a test."""
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    tests = yaml.safe_load((MONITORING / "alerts-test.yaml").read_text())["tests"]
    fires = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert fires == set(names)
    for rule in alerts():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "do"}
        assert f"| {rule['alert']} |" in TAGS_PAGE
    commands = re.findall(r"airflow ork doctor ((?:--check [\w-]+ ?)+)", str(alerts()))
    checks = {check for command in commands for check in re.findall(r"--check ([\w-]+)", command)}
    assert checks <= set(CHECKS)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool of Prometheus is not on the PATH")
def test_alerts_fire() -> None:
    """Prometheus itself lets each alert fire when it should."""
    subprocess.run(["promtool", "test", "rules", str(MONITORING / "alerts-test.yaml")], check=True)
