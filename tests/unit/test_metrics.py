"""What metrics are told of waits: names, tags of few values, errors at once, gauges again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.observability import stats

from ork_provider import errors, metrics
from ork_provider.bigquery import BigQueryJob, BigQueryJobTrigger
from ork_provider.errors import BadRequest, NotFound, OrkError, Throttled, TryAgain
from ork_provider.http import HttpJobTrigger
from ork_provider.job import KINDS
from ork_provider.testing import FakeBigQuery, Fault, run_trigger

Told = list[tuple[str, Any, dict[str, str]]]
TI = SimpleNamespace(dag_id="reports", task_id="report")
TAGS = {"service": "bigquery", "dag_id": "reports", "task_id": "report"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Keep what the metrics are told, by name and value."""
    told: Told = []

    def hear(name: str, value: Any = 1, *_: Any, tags: Any = None) -> None:
        assert set(tags) <= set(metrics.METRICS[name][1]), name
        told.append((name, value, dict(tags)))

    for function in ("incr", "gauge", "timing"):
        monkeypatch.setattr(stats, function, hear)
    return told


@pytest.fixture
def flight(monkeypatch: pytest.MonkeyPatch) -> metrics.Flight:
    """Return the waits of a process of its own, whose gauges are told again soon."""
    monkeypatch.setattr(metrics, "GAUGES_EVERY", 0.01)
    return metrics.Flight()


@pytest.mark.parametrize(
    ("kinds", "service"), [(["dqops"], "dqops"), (["dqops", "dqops"], "dqops"), (["dqops", "bigquery"], "many")]
)
def test_service(kinds: list[str], service: str) -> None:
    """The service is the kind of job, or `many`; whatever runs, there are not more values than kinds and two."""
    assert metrics.tags_of(kinds, TI) == {**TAGS, "service": service}
    assert {metrics.tags_of([kind], None)["service"] for kind in KINDS} == set(KINDS)
    assert metrics.tags_of([], None) == {"service": "unknown"}


def test_error_is_one_word() -> None:
    """The tag of an error is its class and nothing of its message; what is not ours is a `bug`."""
    known = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, OrkError)}
    assert metrics.error_of(NotFound("https://u:secret@host answered 404: no such job")) == "NotFound" in known
    assert metrics.error_of(ValueError("secret")) == "bug" not in known


def test_errors_at_once(told: Told) -> None:
    """An error is told when it happens, and not when its wait ends, which may be hours later."""
    tally = metrics.Tally(TAGS, now=0.0)
    for exc in (TryAgain("503"), Throttled("429"), BadRequest("403")):
        tally.error(exc)
    assert told == [
        ("ork.wait.errors", 1, {**TAGS, "error": error}) for error in ("TryAgain", "Throttled", "BadRequest")
    ]


def test_asks_from_time_to_time(told: Told) -> None:
    """Asks are told once a minute, and what is left of them at the end; none is told twice, and never none."""
    tally = metrics.Tally(TAGS, now=100.0)
    for asks, now in ((1, 100.0), (6, 159.0), (7, 160.0), (8, 170.0), (13, 220.0)):
        tally.asked(asks, now)
    assert [value for _, value, _ in told] == [7, 6]
    tally.finished("success", 130.0, asks=13)
    assert [name for name, _, _ in told[2:]] == ["ork.wait.finished", "ork.wait.duration"]
    assert told[-1][1].total_seconds() == 130
    assert told[-1][2] == {**TAGS, "outcome": "success"}


async def test_gauges(told: Told, flight: metrics.Flight) -> None:
    """What is in flight is told per service at each change, and again while anybody waits."""
    flight.begin("bigquery", lambda: 1)
    flight.begin("bigquery", lambda: 1)
    flight.begin("dqops", lambda: 2)
    assert last(told) == {"bigquery": 2, "dqops": 1, None: 2}
    told.clear()
    await until(lambda: last(told) == {"bigquery": 2, "dqops": 1, None: 2})
    for service in ("bigquery", "bigquery", "dqops"):
        flight.end(service)
    assert last(told) == {"bigquery": 0, "dqops": 0, None: 2}
    told.clear()
    await asyncio.sleep(0.05)
    assert told == []


def test_gauges_in_another_loop(told: Told, flight: metrics.Flight) -> None:
    """A loop that has ended with waits in it does not silence the next one."""

    async def begin() -> None:
        flight.begin("bigquery", lambda: 0)
        told.clear()
        await until(lambda: bool(told))

    asyncio.run(begin())
    asyncio.run(begin())
    assert last(told)["bigquery"] == 2


def test_gauges_name_the_host(told: Told, flight: metrics.Flight) -> None:
    """A gauge names its host as Airflow's own do: two triggerers do not overwrite one another."""
    from airflow.utils.net import get_hostname

    async def begin() -> None:
        flight.begin("bigquery", lambda: 0)

    asyncio.run(begin())
    assert {tags["hostname"] for _, _, tags in told} == {get_hostname()}


async def test_trigger_that_cannot_be_read(told: Told) -> None:
    """A wait that cannot begin has ended in an error, of no known service."""
    event = (await run_trigger(HttpJobTrigger(jobs=[{"service_type": "bigquery"}]))).payload
    assert event["status"] == "error"
    task = {"service": "unknown", "dag_id": "dag", "task_id": "task"}
    assert [(name, tags) for name, _, tags in told] == [
        ("ork.wait.errors", {**task, "error": "InvalidJob"}),
        ("ork.wait.finished", {**task, "outcome": "error"}),
        ("ork.wait.duration", {**task, "outcome": "error"}),
    ]


async def test_refused(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is refused and an ask that is refused are told apart, each once; the wait has ended in an error."""
    with FakeBigQuery(pending=0, running=60) as bigquery:
        for name, value in bigquery.connections().items():
            monkeypatch.setenv(name, value)
        bigquery.fail(Fault.google(403, "accessDenied"), on="GET *", times=-1)
        job = BigQueryJob(project="ork-sandbox", job_id="j", location="US")
        event = (await run_trigger(BigQueryJobTrigger(jobs=[job.to_dict()]))).payload
    assert event["status"] == "error"
    assert [(name, tags["error"]) for name, _, tags in told if name.endswith("errors")] == [
        ("ork.hub.errors", "BadRequest"),
        ("ork.wait.errors", "BadRequest"),
    ]
    outcomes = [tags["outcome"] for name, _, tags in told if name == "ork.wait.finished"]
    assert outcomes == ["error"]
    assert last(told)["bigquery"] == 0


def last(told: Told) -> dict[str | None, int]:
    """Return the last value of each gauge, by service."""
    return {tags.get("service"): value for name, value, tags in told if metrics.METRICS[name][0] == "gauge"}


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so; the test's time limit ends a wait in vain."""
    while not true():  # noqa: ASYNC110 - what is waited for is what the code under test does
        await asyncio.sleep(0.005)
