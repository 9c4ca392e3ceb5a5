"""./dev/bench waiting cannot rot: small runs of it, in which no time is asserted, and its arithmetic."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

DEV = Path(__file__).resolve().parent.parent.parent / "dev"

FIGURES = {
    "name": "ours",
    "peer": False,
    "service": "http",
    "n": 100,
    "samples": 50,
    "p50": 1.0,
    "p95": 2.0,
    "worst": 2.5,
    "censored": 0,
    "failed": 0,
    "early": 0,
    "requests": {"get": 2.0},
    "ended": 1.0,
    "cpu": 0.01,
    "memory": 10.0,
    "sockets": 4,
    "threads": 2,
    "connections": 0.0,
    "lag_p99": 0.004,
    "lag_max": 0.1,
    "lines": 3.0,
    "started": 2.0,
    "cloud_cpu": 0.1,
    "cloud_late": 0.002,
    "busy": 0.2,
    "latencies": [1.0],
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the benchmark, where the project's own tools are installed."""
    for name in ("duckdb", "psutil", "rich"):
        pytest.importorskip(name, reason="dev's own requirement")
    monkeypatch.syspath_prepend(str(DEV))
    from _bench import contenders, plot, report, suite, waiting

    modules = (contenders, plot, report, suite, waiting)
    return SimpleNamespace(**{module.__name__.rpartition(".")[2]: module for module in modules})


@pytest.mark.timeout(180)  # Airflow's triggerer starts once; on a busy machine that alone takes a minute
def test_suite(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In Airflow's runner each way of ours reports its jobs, none before its end; the run ends with all its files."""
    ours = bench.contenders.OURS

    class Mixed(bench.waiting.Live):  # type: ignore[misc]
        """All ways of ours in one triggerer."""

        def hand_in(self, ends: Sequence[float | None]) -> range:
            triggers = []
            for one, end in zip(cycle(ours), ends, strict=False):
                (job,) = self.cloud.seed(one.service, [end], one_job=one.one_job)
                triggers.append(one.trigger(job, self.cloud.addresses))
            ids: range = self.triggerer.add(triggers)
            return ids

    n = 2 * len(ours)
    everything = bench.contenders.Contender(
        name="all of ours",
        peer=False,
        service="http",
        trigger=ours[0].trigger,
        environ=lambda addresses: {k: v for one in ours for k, v in one.environ(addresses).items()},
    )
    monkeypatch.setattr(bench.waiting, "Live", Mixed)
    monkeypatch.setattr(bench.waiting, "FIRST", len(ours))
    monkeypatch.setattr(bench.suite, "contenders", lambda: [everything])
    plan = bench.waiting.Plan(settle=2, window=2.5, cap=60, ending=n)
    settings = bench.suite.Settings(
        out=tmp_path / "out", only=["all_of"], sizes=[n, 10_000], minutes=1, plans={n: plan}, extras=False
    )

    assert bench.suite.measure(settings) == 0

    found = json.loads((tmp_path / "out" / "waiting.json").read_text())
    (live,) = found["live"]
    assert (live["name"], live["n"], live["samples"]) == ("all of ours", n, n)
    assert (live["censored"], live["failed"], live["early"]) == (0, 0, 0)
    assert min(live["requests"]["get"], live["lines"], live["sockets"]) > 0
    assert min(live["latencies"]) >= 0
    assert ET.parse(tmp_path / "out" / "waiting.svg").getroot().tag.endswith("svg")
    said = capsys.readouterr().out
    assert f"{n} triggers wait" in said
    assert "Left out for lack of time: 10,000 triggers, all of ours" in said


def test_percentile(bench: Any) -> None:
    """A percentile is one of the values."""
    values = [float(number) for number in range(1, 101)]
    assert [bench.waiting.percentile(values, percent) for percent in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert bench.waiting.percentile([], 95) == 0


def test_row_of_a_peer(bench: Any) -> None:
    """A peer's figures show how many times they are ours; what was not noticed in time makes them a lower bound."""
    ours = bench.waiting.Result(**FIGURES)
    peer = bench.waiting.Result(**{**FIGURES, "name": "theirs", "peer": True, "p50": 30.0, "p95": 5.0, "censored": 5})
    mine, theirs = bench.report.live_rows([peer, ours])
    assert mine[:4] == ["ours", "1.00", "2.00", "2.50"]
    assert theirs[:4] == ["theirs", "30.00 (x30)", ">5.00 (x2.5)", ">2.50"]
    assert bench.report.remarks(peer) == ["5 of 50 not noticed in time"]


def test_remarks(bench: Any) -> None:
    """A run that was disturbed says so."""
    result = bench.waiting.Result(
        **{**FIGURES, "cloud_late": 0.03, "busy": 1.5, "started": None, "failed": 1, "early": 2}
    )
    assert bench.report.remarks(result) == [
        "1 failed",
        "2 too early",
        "not all ran when the window opened",
        "the fake cloud answered 30 ms late",
        "other processes took 1.4 cores",
    ]


def test_restart_rows(bench: Any) -> None:
    """A peer's CPU shows how many times it is ours; one that did not get through in time shows a lower bound."""
    figures = {"service": "dataproc", "n": 1000, "started": 3.0, "seconds": 4.0, "tokens": 1, "parses": 1}
    ours = bench.waiting.Restart(**figures, name="ours", peer=False, cpu=2.0, asked=0, covered=True)
    peer = bench.waiting.Restart(**figures, name="theirs", peer=True, cpu=36.0, asked=900, covered=False)
    mine, theirs = bench.report.restart_rows([ours, peer])
    assert mine == ["ours", "3.0", "4.0", "2.0", "1", "1", ""]
    assert theirs == ["theirs", "3.0", ">4.0", ">36.0 (>x18)", "1", "1", "only 900 of 1000 asked for"]


def test_labels_of_the_plot(bench: Any) -> None:
    """Labels keep their distance and their order, and stay in the picture while there is room."""
    assert bench.plot.spread([10, 11, 50], 10, 0, 60) == [10, 20, 50]
    assert bench.plot.spread([55, 58, 60], 10, 0, 60) == [40, 50, 60]
