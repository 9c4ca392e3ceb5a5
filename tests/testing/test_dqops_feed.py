"""The feed of changes of the fake DQOps: every change once, in order, held until there is one, kept for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from ork_provider.testing import DqopsOutcome, FakeDqops
from tests.support.ticks import Ticks

from .test_dqops import BODY, feed, start


@pytest.fixture
def dqops(ticks: Ticks) -> Iterator[FakeDqops]:
    with FakeDqops(pending=1, running=10, clock=ticks, feed_wait=0.05) as server:
        yield server


@pytest.fixture
def api(dqops: FakeDqops) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{dqops.url}/api/jobs/") as client:
        yield client


def test_feed_tells_every_change_once(dqops: FakeDqops, api: httpx.Client, ticks: Ticks) -> None:
    """Changes come in order, each with its number; a number that was answered is older than all to come."""
    snapshot = api.get("jobs").json()
    since = snapshot["lastSequenceNumber"]
    number, seen = start(api, "k"), []
    for seconds in (0, 1, 10, 5):
        ticks.seconds += seconds
        changes, last = feed(api, since)
        assert all(since < change["changeSequence"] < last for change in changes)
        since = last
        seen += changes
    assert snapshot["jobs"] == []
    assert [(change["status"], change["jobId"]["jobId"]) for change in seen] == [
        *(("queued", number), ("running", number), ("finished", number)),
    ]
    assert "updatedModel" not in seen[1]
    assert seen[2]["updatedModel"] == api.get(f"jobs/{number}").json()
    assert set(seen[2]) == {"status", "jobId", "changeSequence", "updatedModel", "statusChangedAt", "domainName"}


def test_feed_loses_nothing() -> None:
    """Who goes on from each answer's number sees every end once, however the answers and the ends fall."""
    with FakeDqops(pending=0, feed_wait=1) as dqops, httpx.Client(base_url=f"{dqops.url}/api/jobs/") as api:
        dqops.script(lambda body: True, DqopsOutcome(0, 0.05))
        since = api.get("jobs").json()["lastSequenceNumber"]
        starts = threading.Thread(target=lambda: [start(other) for _ in range(60)])
        ended: list[int] = []
        with httpx.Client(base_url=f"{dqops.url}/api/jobs/") as other:
            starts.start()
            while len(ended) < 60:
                changes, since = feed(api, since)
                assert changes, f"the feed went silent after {len(ended)} ends"
                ended += [change["jobId"]["jobId"] for change in changes if change["status"] == "finished"]
            starts.join()
        assert sorted(ended) == sorted(dqops.jobs)


def test_feed_carries_what_failed_but_not_what_was_cancelled(dqops: FakeDqops, api: httpx.Client, ticks: Ticks) -> None:
    """A failed job comes whole, with its message; of a cancelled or imported one only the status comes."""
    dqops.script("s.t", DqopsOutcome(0, 1, "failed", error_message="boom"))
    start(api)
    dqops.script("", DqopsOutcome(0, 1, cancelling=1))
    start(api, path="importtables")
    start(api)
    dqops.started[2].cancel()
    ticks.seconds += 2
    changes = [change for change in feed(api, 0)[0] if change["status"] not in ("queued", "running")]
    shown = {change["status"]: change.get("updatedModel") for change in changes}
    assert [change["status"] for change in changes] == ["cancel_requested", "failed", "finished", "cancelled"]
    assert shown["failed"]["errorMessage"] == "boom"
    assert [shown[name] for name in ("finished", "cancel_requested", "cancelled")] == [None] * 3


def test_feed_holds_the_request_until_something_happens(ticks: Ticks) -> None:
    """It answers at once with a change, and with nothing when the time is up."""
    with (
        FakeDqops(clock=ticks, feed_wait=0.2) as dqops,
        httpx.Client(base_url=f"{dqops.url}/api/jobs/") as api,
    ):
        before = time.monotonic()
        assert feed(api, 0)[0] == []
        assert time.monotonic() - before >= 0.2
        dqops.feed_wait = 30  # the client's patience is 5 s
        timer = threading.Timer(0.1, lambda: httpx.post(f"{dqops.url}/api/jobs/runchecks?wait=false", json=BODY))
        timer.start()
        assert [change["status"] for change in feed(api, 0)[0]] == ["queued"]
        timer.join()


def test_feed_forgets(ticks: Ticks) -> None:
    """Changes older than `feed_keeps` are gone, so are those from before a restart."""
    with (
        FakeDqops(pending=0, running=1, clock=ticks, feed_wait=0, feed_keeps=100) as dqops,
        httpx.Client(base_url=f"{dqops.url}/api/jobs/") as api,
    ):
        start(api)
        ticks.seconds += 50
        assert [change["status"] for change in feed(api, 0)[0]] == ["queued", "running", "finished"]
        ticks.seconds += 50.5
        assert [change["status"] for change in feed(api, 0)[0]] == ["finished"]
        dqops.restart()
        assert feed(api, 0)[0] == []
        assert api.get("jobchangessince/x").status_code == 400
