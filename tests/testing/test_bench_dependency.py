"""./dev/bench dependency cannot rot: a small run of it, in which no time is asserted, and its arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

DEV = Path(__file__).resolve().parent.parent.parent / "dev"

FIGURES = {
    "name": "ours",
    "peer": False,
    "n": 100,
    "samples": 100,
    "requests": {"GetDRCount": 4.0},
    "per_tick": 23,
    "any_tick": 27,
    "p50": 2.5,
    "p95": 4.8,
    "worst": 5.2,
    "written_p95": 5.6,
    "censored": 0,
    "failed": 0,
    "early": 0,
    "cpu": 0.01,
    "supervisor_cpu": 0.1,
    "start_heartbeat": 6.0,
    "heartbeat": 5.1,
    "started": 20.0,
    "running": 100,
    "lag": 0.01,
    "load": (0.1, 0.2),
    "others": 0.1,
    "before": {"GetDRCount": 60},
    "per_second": [20, 0],
    "latencies": [2.5],
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the benchmark, where the project's own tools are installed."""
    for name in ("duckdb", "psutil", "rich"):
        pytest.importorskip(name, reason="dev's own requirement")
    monkeypatch.syspath_prepend(str(DEV))
    from _bench import dependency, dependency_report

    return SimpleNamespace(dependency=dependency, report=dependency_report)


@pytest.mark.timeout(300)  # Airflow's triggerer starts once; on a busy machine that alone takes a minute
def test_measure(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a whole triggerer each of ours reports its run, none before its end, and the supervisor's requests count."""
    monkeypatch.setattr(bench.dependency, "DELAY", 1.0)
    plan = bench.dependency.Plan(start=60, settle=0, quiet=1, spacing=0.05, cap=60)
    settings = bench.dependency.Settings(out=tmp_path, only=["a task in"], sizes=[10], plan=plan)

    assert bench.dependency.measure(settings) == 0

    (found,) = json.loads((tmp_path / "dependency.json").read_text())["results"]
    assert (found["name"], found["n"], found["samples"]) == ("ours, a task in each run", 10, 10)
    assert (found["censored"], found["failed"], found["early"]) == (0, 0, 0)
    assert min(sum(found["per_second"]), found["start_heartbeat"], *found["latencies"]) > 0
    assert "10 tasks wait for 20 DAG runs" in capsys.readouterr().out


def test_peers(bench: Any) -> None:
    """Each of the peers waits for the run that it is given, every few seconds as ours do."""
    for contender in bench.dependency.CONTENDERS:
        scene = bench.dependency.scene_of(contender, 40)
        assert len({(run.dag_id, run.run_id) for run in scene.runs}) == bench.dependency.RUNS
        assert len({run.dag_id for run in scene.runs}) == contender.dags
        for path, kwargs in scene.triggers:
            intervals = [kwargs.get(name) for name in ("poke_interval", "poll_interval")]
            assert bench.report.DELAY in intervals, path


def test_no_time(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not fit into the time is left out, and said."""
    assert bench.dependency.measure(bench.dependency.Settings(out=tmp_path, sizes=[7], minutes=0)) == 0
    assert "Left out for lack of time: ours, runs of one DAG, 7 waits" in capsys.readouterr().out


def test_most_within(bench: Any) -> None:
    """The most of a tick is looked for at every moment."""
    assert bench.report.most_within(5, []) == 0
    assert bench.report.most_within(5, [0, 4, 4.5, 5, 8.9, 9]) == 4
    assert bench.report.each_second([0.5, 3.1, 3.9, 5.0], since=3) == [2, 0, 1]
    assert bench.report.each_second([], since=3) == []


def test_longest_gap(bench: Any) -> None:
    """Until the end, a heartbeat that does not come counts as well."""
    assert bench.report.longest_gap([0, 5, 11], 13) == 6
    assert bench.report.longest_gap([0, 5, 20], 11) == 6
    assert bench.report.longest_gap([0, 5, 11], 30) == 19
    assert bench.report.longest_gap([], 30) == 0


def test_row(bench: Any) -> None:
    """A figure that waits not noticed in time have cut off is a lower bound, and what disturbed the run is said."""
    fine = bench.report.Result(**FIGURES)
    late = bench.report.Result(**{**FIGURES, "per_tick": 40, "censored": 10, "heartbeat": 40.0, "started": None})
    assert bench.report.row(fine)[4:7] == ["2.50", "4.80", "5.20"]
    assert bench.report.row(late)[4:7] == ["2.50", ">4.80", ">5.20"]
    assert (fine.kept, late.kept) == (True, False)
    assert bench.report.remarks(fine) == []
    pushing = bench.report.Result(**{**FIGURES, "requests": {"GetDRCount": 4.0, "SetXCom": 3.3}})
    assert bench.report.remarks(pushing) == ["3.3 of its requests/s push progress"]
    assert bench.report.remarks(late) == [
        "10 of 100 not noticed in time",
        "no heartbeat for 40 s: others would have taken the triggers",
    ]
