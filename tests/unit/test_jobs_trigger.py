"""JobsTrigger through Airflow's own TriggerRunner: jobs of two services in one wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from ork_provider import trigger as trigger_module
from ork_provider.service import CONNECTIONS
from ork_provider.testing import Fault, TriggerResult, run_trigger
from ork_provider.trigger import JobsTrigger
from ork_provider.waiting import Policy
from tests.support.trigger_kinds import NEVER, POLL, Kind, bigquery, http, soon, states


class Both:
    """A service of Google's and one of anybody's, each with its fake."""

    def __init__(self, google: Kind, other: Kind) -> None:
        self.google = google
        self.other = other

    @property
    def live(self) -> list[int]:
        """How many jobs run in each service."""
        return [len(kind.fake.live()) for kind in (self.google, self.other)]

    @property
    def cancels(self) -> list[int]:
        """How many cancels reached each service."""
        return [self.google.cancels, self.other.cancels]

    def asked(self) -> bool:
        """Return whether the first answers of both are known."""
        return min(self.google.polls, self.other.polls) > 6

    async def run(self, *jobs: dict[str, Any], kwargs: dict[str, Any] | None = None, **how: Any) -> TriggerResult:
        """Run a trigger over these jobs; ``kwargs`` are the trigger's, ``how`` is the world's."""
        return await run_trigger(JobsTrigger(jobs=list(jobs), poll_interval=POLL, **(kwargs or {})), **how)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    """Serve both, under the connections' default names; pauses after errors are short."""
    monkeypatch.setattr(trigger_module, "policy_of", partial(Policy, backoff_base=0.05, backoff_cap=0.1))
    with ExitStack() as stack:
        found = Both(stack.enter_context(bigquery()), stack.enter_context(http()))
        for kind in (found.google, found.other):
            for name, value in kind.fake.connections().items():
                monkeypatch.setenv(name, value)
        yield found


# How many are enough -----------------------------------------------------------------------------


async def test_all(both: Both) -> None:
    """By default all must succeed; one event lists them in their order, whatever their services."""
    jobs = [both.other.start(3), both.google.start(1), both.other.start(1), both.google.start(4)]
    payload = (await both.run(*jobs)).payload
    assert (payload["status"], states(payload)) == ("success", ["succeeded"] * 4)
    assert [job["job_id"] for job in payload["jobs"]] == [job["job_id"] for job in jobs]
    assert payload["message"].startswith("4 of 4 jobs succeeded after ")


async def test_one_of_all_fails(both: Both) -> None:
    """Without ``fail_fast`` every job is followed to its end, and the message names the one that failed."""
    jobs = [both.google.start(5), both.other.start(1, good=False), both.other.start(8)]
    payload = (await both.run(*jobs)).payload
    assert (payload["status"], states(payload)) == ("failed", ["succeeded", "failed", "succeeded"])
    assert "no disk" in payload["message"]
    assert both.cancels == [0, 0]


@pytest.mark.parametrize("cancel_rest", [True, False])
@pytest.mark.parametrize(
    ("kwargs", "good", "status"),
    [
        ({"until": "any"}, True, "success"),
        ({"until": 2}, True, "success"),
        ({"fail_fast": True}, False, "failed"),
        ({"until": "any", "fail_fast": True}, False, "failed"),
    ],
    ids=str,
)
async def test_end_before_the_last(
    both: Both, kwargs: dict[str, Any], good: bool, status: str, cancel_rest: bool
) -> None:
    """When enough have ended the rest is cancelled, each once and in its own service, or none is."""
    jobs = [both.google.start(NEVER), both.other.start(NEVER), both.other.start(1, good), both.google.start(1, good)]
    payload = (await both.run(*jobs, kwargs={**kwargs, "cancel_rest": cancel_rest})).payload
    assert payload["status"] == status
    if cancel_rest:
        assert "running" not in states(payload)[:2]
        assert (both.live, sum(both.cancels) in (2, 3)) == ([0, 0], True)
    else:
        assert states(payload)[:2] == ["running", "running"]
        assert both.cancels == [0, 0]


async def test_number_that_cannot_be_reached(both: Both) -> None:
    """When fewer jobs are left than are needed the wait still follows them all, and then says that it failed."""
    jobs = [both.google.start(1, good=False), both.other.start(4), both.other.start(1, good=False)]
    payload = (await both.run(*jobs, kwargs={"until": 2})).payload
    assert (payload["status"], states(payload)) == ("failed", ["failed", "succeeded", "failed"])


async def test_rest_that_cannot_be_cancelled(both: Both) -> None:
    """The event says of a job that could not be cancelled what a person must do; the others are cancelled."""
    stuck, fine = both.google.start(NEVER), both.other.start(NEVER)
    both.google.fake.fail(Fault.google(403, "accessDenied"), on=both.google.on_cancel, times=-1)
    payload = (await both.run(stuck, fine, both.other.start(1), kwargs={"until": "any", "cancel_rest": True})).payload
    assert (payload["status"], states(payload)) == ("success", ["running", "cancelled", "succeeded"])
    assert "could not be cancelled" in payload["jobs"][0]["message"]
    assert "Cancel it by hand: https://" in payload["jobs"][0]["message"]
    assert both.live == [1, 0]


# Each for itself ---------------------------------------------------------------------------------


async def test_service_that_is_away(both: Both) -> None:
    """A service that is away for a while holds up its own jobs only, and they are still waited for."""
    both.google.fake.fail(Fault.status(503), on=both.google.on_status, times=3)
    payload = (await both.run(both.google.start(6), both.other.start(3))).payload
    assert (payload["status"], states(payload)) == ("success", ["succeeded", "succeeded"])


async def test_service_that_refuses(both: Both) -> None:
    """A job that cannot be watched is an error, and the others are followed to their end all the same."""
    both.google.fake.fail(Fault.google(403, "accessDenied"), on=both.google.on_status, times=-1)
    payload = (await both.run(both.google.start(NEVER), both.other.start(4))).payload
    assert (payload["status"], states(payload)) == ("error", ["running", "succeeded"])
    assert payload["jobs"][0]["message"].startswith("could not be watched any longer: ")


async def test_deadline(both: Both) -> None:
    """The deadline is for all; what has ended by then is listed so."""
    jobs = [both.google.start(NEVER), both.other.start(1)]
    payload = (await both.run(*jobs, kwargs={"deadline": soon(1)})).payload
    assert (payload["status"], states(payload)) == ("timeout", ["running", "succeeded"])
    assert both.cancels == [0, 0]


async def test_connection_of_a_job(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's own connection comes before the trigger's, and the other jobs of its service keep theirs."""
    (value,) = both.other.fake.connections().values()
    monkeypatch.setenv("AIRFLOW_CONN_SECOND", value)
    own, common = {**both.other.start(1), "conn_id": "second"}, both.other.start(1)
    payload = (await both.run(own, common)).payload
    assert (payload["status"], payload["jobs"][0]["conn_id"]) == ("success", "second")
    only = (await both.run(own, kwargs={"http_conn_id": "no_such"})).payload
    assert only["status"] == "success"


async def test_unknown_connection_of_a_job(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is not defined is named with its job; the other jobs do not need it."""
    monkeypatch.setattr("ork_provider.session.connections.CONNECTION_TRIES", 1)
    payload = (await both.run({**both.google.start(1), "conn_id": "no_such"}, both.other.start(2))).payload
    assert (payload["status"], states(payload)) == ("error", ["running", "succeeded"])
    assert "'no_such'" in payload["jobs"][0]["message"]


# What is stored ----------------------------------------------------------------------------------

GOLDEN = {
    "until": "all",
    "fail_fast": False,
    "deadline": None,
    "not_before": None,
    "poll_interval": 0.15,
    "error_budget": 600.0,
    "cancel_on_kill": False,
    "cancel_rest": False,
    "cancel_on_timeout": False,
    "gcp_conn_id": "google_cloud_default",
    "impersonation_chain": None,
    "http_conn_id": "http_default",
    "dqops_conn_id": "dqops_default",
    "airflow_conn_id": None,
}
"""The arguments of a row as the first release wrote it."""


async def test_golden_row(both: Both) -> None:
    """A task that was deferred under the first release finishes under this one."""
    trigger = JobsTrigger(jobs=[both.google.start(2), both.other.start(1)], **GOLDEN)
    assert (await run_trigger(trigger)).payload["status"] == "success"
    path, kwargs = JobsTrigger(jobs=[], cancel_on_kill=False).serialize()
    assert path == "ork_provider.trigger.JobsTrigger"
    assert {**kwargs, "poll_interval": 0.15} == {"jobs": [], **GOLDEN}
    assert {name: kwargs[name] for name in CONNECTIONS} == CONNECTIONS


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"service_type": "bigqery"}, "jobs[1].service_type: unknown job kind 'bigqery'; known kinds: bigquery, "),
        ({"service_type": "bigquery"}, "jobs[1].project: missing; a bigquery job needs it"),
        ({"service_type": "custom_http", "url": 5}, "jobs[1].url: expected str, got int 5"),
        (None, "jobs[1]: expected a job dict with 'service_type', got NoneType None"),
        ([], "jobs[1]: expected a job dict"),
    ],
    ids=str,
)
async def test_one_odd_job_among_many(both: Both, odd: Any, said: str) -> None:
    """One job that cannot be read fails the wait at once with its place, and nothing is asked or cancelled."""
    jobs = [both.google.start(NEVER), odd, both.other.start(NEVER)]
    result = await both.run(*jobs, kwargs={"cancel_rest": True})
    assert (result.error, result.payload["status"]) == (None, "error")
    assert said in result.payload["message"]
    assert (both.google.polls, both.other.polls, both.cancels) == (0, 0, [0, 0])


@pytest.mark.parametrize("until", [4, 0, -1, "some", 1.5, True, None], ids=repr)
async def test_odd_number(both: Both, until: Any) -> None:
    """An ``until`` that makes no sense of so many jobs is named with what does."""
    jobs = [both.google.start(NEVER), both.other.start(NEVER), both.other.start(NEVER)]
    payload = (await both.run(*jobs, kwargs={"until": until})).payload
    assert (payload["status"], states(payload)) == ("error", ["running"] * 3)
    assert 'until: expected "all", "any" or a number from 1 to 3 (the number of jobs), got ' in payload["message"]


# A user kills the task ---------------------------------------------------------------------------


async def test_kill(both: Both) -> None:
    """What runs is cancelled in every service, each job once; what had ended is left alone."""
    jobs = [both.google.start(NEVER), both.other.start(NEVER), both.other.start(NEVER), both.google.start(1)]
    result = await both.run(*jobs, kill_after=both.asked)
    assert (result.killed, result.events) == (True, [])
    assert (both.live, both.cancels) == ([0, 0], [1, 2])


async def test_kill_with_one_that_cannot_be_cancelled(both: Both, capsys: pytest.CaptureFixture[str]) -> None:
    """A job whose cancel is refused is named in the log, and keeps no other from being cancelled."""
    both.google.fake.fail(Fault.google(403, "accessDenied"), on=both.google.on_cancel, times=-1)
    jobs = [both.google.start(NEVER), both.other.start(NEVER)]
    assert (await both.run(*jobs, kill_after=both.asked)).killed
    assert (both.live, both.cancels) == ([1, 0], [1, 1])
    assert "could not be cancelled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kwargs", "when", "how"),
    [
        ({"cancel_on_kill": False}, "kill_after", {}),
        ({}, "kill_after", {"task_state": "deferred"}),
        ({}, "cancel_after", {}),
    ],
    ids=["left alone", "moved", "shutdown"],
)
async def test_jobs_go_on(both: Both, kwargs: dict[str, Any], when: str, how: dict[str, Any]) -> None:
    """Jobs go on when they are not the task's own, when the trigger is moved, when the triggerer is shut down."""
    how = {when: both.asked, **how}
    await both.run(both.google.start(NEVER), both.other.start(NEVER), kwargs=kwargs, **how)
    assert (both.live, both.cancels) == ([1, 1], [0, 0])
