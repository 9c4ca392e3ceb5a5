"""Many triggers in one event loop, over the real fakes: what a shared poll does for each service that has one."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Iterator

import pytest

from ork_provider.hub import Hub
from ork_provider.job import Job
from ork_provider.session import shared_session
from ork_provider.testing import FakeBigQuery, Fault, Outcome, TriggerResult, run_trigger
from tests.support.discovery import Discovery
from tests.support.shared_kinds import SHARED, Waiting, run_together

INTERVAL = 0.5
"""Seconds between two polls here."""

LATE = 3.0
"""Seconds after which a busy machine has noticed the end of a job."""


@pytest.fixture(params=SHARED)
def waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    """Each kind of job that has a shared poll in turn."""
    yield from serve(request.param, monkeypatch)


@pytest.fixture
def bigquery(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    yield from serve("bigquery", monkeypatch)


def serve(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    kind = SHARED[name]
    monkeypatch.setenv("AIRFLOW__ORK__SHARED_POLL_INTERVAL", str(INTERVAL))
    with kind.fake(keep_answers=True) as fake:
        for variable, value in fake.connections().items():
            monkeypatch.setenv(variable, value)
        yield Waiting(name, kind, fake)


def states(results: list[TriggerResult]) -> list[str]:
    return [result.payload["jobs"][0]["state"] for result in results]


def listed_as_google_has_it(waiting: Waiting) -> bool:
    """Whether every request and answer is as Google's documents say, the lists among them."""
    if waiting.kind.document is None:
        return True
    api, version, method = waiting.kind.document
    return Discovery(api, version).check_log(waiting.fake.requests)[method] == len(waiting.polls)


async def nothing_left() -> bool:
    """Whether the event loop is as it was before anybody waited."""
    await asyncio.sleep(0.05)
    gc.collect()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return tasks == [] and Hub.of(shared_session()).scopes == {}


# One poll for all --------------------------------------------------------------------------------


async def test_many_triggers(waiting: Waiting) -> None:
    """Each job's end reaches its own trigger; it costs some polls, and one ask per job at most."""
    count = waiting.kind.count
    jobs = [waiting.seed(f"job-{i}", 0.5 + 0.03 * i, good=i % 5 != 0) for i in range(count)]
    began = time.monotonic()
    results = await waiting.run(jobs)
    duration = time.monotonic() - began
    assert states(results) == ["failed" if i % 5 == 0 else "succeeded" for i in range(count)]
    assert len(waiting.asks) <= waiting.kind.most_asks(count) + 3
    assert 2 <= len(waiting.polls) <= duration / INTERVAL * 4 + 3
    assert duration < 0.6 + 0.03 * count + LATE
    assert listed_as_google_has_it(waiting)
    assert await nothing_left()


async def test_one_poll_for_all(waiting: Waiting) -> None:
    """While nothing happens there is one poll per interval, and no ask, however many wait."""
    jobs = [waiting.seed(f"job-{i}", 60) for i in range(waiting.kind.count)]
    running = asyncio.ensure_future(waiting.run(jobs))
    await asyncio.sleep(1.2)
    asks, polls = len(waiting.asks), len(waiting.polls)
    await asyncio.sleep(1.0)
    assert polls >= 1
    assert len(waiting.asks) == asks
    assert len(waiting.polls) - polls <= 1.0 / INTERVAL + 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_first_trigger_is_shut_down(waiting: Waiting) -> None:
    """A trigger that a triggerer moves elsewhere takes nothing from the others, also not the poll that it began."""
    first = run_trigger(waiting.trigger(waiting.seed("first", 60)), cancel_after=0.4)
    others = [waiting.seed(f"job-{i}", 0.8) for i in range(waiting.kind.count)]
    gone, *rest = await run_together(first, *(run_trigger(waiting.trigger(job)) for job in others))
    assert isinstance(gone.error, asyncio.CancelledError)
    assert set(states(rest)) == {"succeeded"}
    assert await nothing_left()


async def test_two_triggers_for_one_job(waiting: Waiting) -> None:
    """Both are told."""
    jobs = [waiting.seed(f"job-{i}", 0.4) for i in range(waiting.kind.count // 2)]
    assert set(states(await waiting.run([*jobs, *jobs]))) == {"succeeded"}


async def test_jobs_that_have_ended_already(waiting: Waiting) -> None:
    """Whoever comes too late hears it at once."""
    jobs = [waiting.seed(f"job-{i}", 0.0) for i in range(waiting.kind.count)]
    await asyncio.sleep(0.3)
    began = time.monotonic()
    assert set(states(await waiting.run(jobs))) == {"succeeded"}
    assert time.monotonic() - began < LATE


async def test_log_of_one_job(bigquery: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that is seen in each of its states is four lines in its task's log at most."""
    await bigquery.run([bigquery.seed("other", 1.5), bigquery.seed("job", 1.5)])
    ours = [line for line in capsys.readouterr().out.splitlines() if "[ork_provider." in line]
    lines = [line for line in ours if "US.job" in line]
    assert lines
    assert len(lines) <= 4, lines


# What goes wrong ---------------------------------------------------------------------------------


async def test_poll_that_is_refused(waiting: Waiting, caplog: pytest.LogCaptureFixture) -> None:
    """Without the permission to list each job is asked for by itself, at its interval; it is said once."""
    refused = waiting.fake.fail(Fault.google(403, "accessDenied"), on=_regex(waiting.kind.polls), times=-1)
    jobs = [waiting.seed(f"job-{i}", 1.0) for i in range(waiting.kind.count)]
    assert set(states(await waiting.run(jobs, poll_interval=0.4))) == {"succeeded"}
    assert refused.applied == 1
    assert len([r for r in caplog.records if r.name.startswith("ork_provider.hub")]) == 1
    assert await nothing_left()


async def test_poll_that_fails_now_and_then(waiting: Waiting) -> None:
    """A poll that fails now and then delays, and does no more."""
    for nth, fault in ((2, Fault.status(503)), (4, Fault.malformed())):
        waiting.fake.fail(fault, on=_regex(waiting.kind.polls), nth=nth)
    jobs = [waiting.seed(f"job-{i}", 1.2) for i in range(waiting.kind.count)]
    assert set(states(await waiting.run(jobs, poll_interval=2.0))) == {"succeeded"}
    assert await nothing_left()


@pytest.mark.parametrize(
    "fault",
    [Fault.reset(), Fault.truncated(), Fault.status(200, body="[]"), Fault.retry_after(429, 1)],
    ids=lambda fault: fault.kind,
)
async def test_list_that_fails_in_another_way(bigquery: Waiting, fault: Fault) -> None:
    """Whatever the failure, it is forgiven, and the next list serves."""
    bigquery.fake.fail(fault, on=_regex(bigquery.kind.polls), nth=2)
    jobs = [bigquery.seed(f"job-{i}", 1.2) for i in range(10)]
    assert set(states(await bigquery.run(jobs))) == {"succeeded"}
    assert len(bigquery.asks) == 10


@pytest.mark.parametrize("waiting", [name for name in SHARED if name != "cloudrun"], indirect=True)
async def test_some_jobs_cannot_be_asked_for(waiting: Waiting) -> None:
    """One job whose asks hang and one that is answered 503 for ever do not delay the others.

    Not of Cloud Run, whose list says how executions end, so that nobody is asked for itself.
    """
    hung, busy = waiting.seed("hung", 0.5), waiting.seed("busy", 0.5)
    for job, fault in ((hung, Fault.hang(60)), (busy, Fault.status(503))):
        waiting.fake.fail(fault, on=f"GET */{job.remote_id}", times=-1)
    stuck = asyncio.ensure_future(waiting.run([hung, busy]))
    began = time.monotonic()
    results = await waiting.run([waiting.seed(f"job-{i}", 1.0) for i in range(18)])
    assert time.monotonic() - began < 1.1 + LATE
    assert set(states(results)) == {"succeeded"}
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)


# What a list does not show -----------------------------------------------------------------------


async def test_jobs_of_others_and_children(bigquery: Waiting) -> None:
    """Another identity's jobs and the children of scripts are asked for one by one; the others are not."""
    fake: FakeBigQuery = bigquery.fake
    mine = [bigquery.seed(f"job-{i}", 2.0) for i in range(10)]
    fake.seed("theirs", Outcome(0.1, 2.0), email="somebody@example.com")
    fake.seed("child", Outcome(0.1, 2.0), parent="job-0")
    hidden = [SHARED["bigquery"].trigger(jobs=[_as(mine[0], name)], poll_interval=0.4) for name in ("theirs", "child")]
    shown = [bigquery.trigger(job) for job in mine]
    results = await run_together(*(run_trigger(trigger) for trigger in [*hidden, *shown]))
    assert set(states(results)) == {"succeeded"}
    asked = [request.path.rpartition("/")[2] for request in bigquery.asks]
    assert all(3 <= asked.count(name) <= 8 for name in ("theirs", "child"))
    assert all(asked.count(f"job-{i}") == 1 for i in range(10))


async def test_job_that_is_listed_late(bigquery: Waiting) -> None:
    """A job that is too new for the list is not taken for one that has ended."""
    bigquery.fake.seed("late", Outcome(0.1, 2.0, appears_after=1.2))
    job = _as(bigquery.seed("job", 2.0), "late")
    results = await run_together(run_trigger(SHARED["bigquery"].trigger(jobs=[job], poll_interval=60)))
    assert states(results) == ["succeeded"]
    assert len(bigquery.asks) == 2


def _as(job: Job, name: str) -> dict[str, object]:
    return {**job.to_dict(), "job_id": name}


def _regex(path: str) -> re.Pattern[str]:
    return re.compile("^GET .*" + path)
