"""The arithmetic of ./dev/bench slots: seconds that were held, and what they mean for 100 sensors of 30 minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

DEV = Path(__file__).resolve().parent.parent.parent / "dev"


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("duckdb", reason="dev's own requirement")
    monkeypatch.syspath_prepend(str(DEV))
    from _bench import slots

    return slots


def test_deferred(slots: Any) -> None:
    """What a deferred sensor uses does not depend on how long its job runs."""
    row = slots.Row(name="ours", heartbeat=5, blocks=False, spans=[[1.0, 0.5], [5.2, 0.3]])
    assert (row.per_sensor, row.used) == (pytest.approx(3.5), pytest.approx(350))
    assert row.saved == pytest.approx(1 - 350 / 180_000)
    assert (row.late, row.stuck, row.start(0), row.start(1)) == (0.25, 0, pytest.approx(3.1), pytest.approx(0.4))


def test_slots_that_are_held_for_longer_than_the_task(slots: Any) -> None:
    """A start is late from a whole heartbeat on, and stuck from the time that sockets are given to close."""
    row = slots.Row(name="ours", heartbeat=1, blocks=False, spans=[[0.9, 1.1], [61.2, 0.3]])
    assert (row.late, row.stuck) == (0.25, 1)


def test_in_the_worker(slots: Any) -> None:
    """A sensor that waits in the worker is given 30 minutes in place of its job's seconds."""
    row = slots.Row(name="in the worker", heartbeat=5, blocks=True, spans=[[slots.SECONDS + 3], [slots.SECONDS + 5]])
    assert row.per_sensor == pytest.approx(1804)


def test_report(slots: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The table names every way, what it saves, and what it was measured with."""
    rows = [
        slots.Row(name="in the worker", heartbeat=5, blocks=True, spans=[[slots.SECONDS + 3]]),
        slots.Row(name="ours", heartbeat=1, blocks=False, spans=[[1.0, 0.8]]),
    ]
    slots.report(rows, 60)
    said = capsys.readouterr().out
    assert "99.90%" in said
    assert "1,002" in said
    assert "apache-airflow " in said
    shown = slots.to_json(rows)["rows"]
    assert [row["saved"] for row in shown] == [None, pytest.approx(0.999)]
