"""Jobs that are not wanted any more: cancelled side by side, looked after to their end, and told of truthfully."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from ork_provider.ending import CANCEL_BUDGET, LAST_LOOK, SEE_END, SETTLE, Ender, cancel_all, end_rest
from ork_provider.errors import BadRequest, NotFound, TryAgain
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.service import Service, Services
from ork_provider.testing.clock import FakeClock
from ork_provider.waiting import Outcome, Until

log = logging.getLogger("test_ending")

RUN, GOOD, BAD, STOPPED = (JobStatus(state=JobState(word)) for word in ("running", "succeeded", "failed", "cancelled"))
BUSY, GONE, NO = TryAgain("503"), NotFound("404"), BadRequest("403 forbidden")

Answer = JobStatus | Exception | None


@dataclass(frozen=True, kw_only=True)
class Thing(Job):
    """A job of a scripted service."""

    kind: ClassVar[str] = "thing"
    service: ClassVar[str] = f"{__name__}:Scripted"

    name: str

    @property
    def remote_id(self) -> str:
        return self.name

    @property
    def link(self) -> str:
        return f"https://console/{self.name}"


@dataclass
class Scripted(Service):
    """Answers cancels and asks by scripts, the last entry of each for ever; a cancel takes a second."""

    clock: FakeClock
    cancels: dict[str, list[Answer]] = field(default_factory=dict)
    checks: dict[str, list[Answer]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    hangs: bool = False

    connection_defaults: ClassVar[dict[str, Any]] = {"conn_id": "thing_default"}

    @classmethod
    async def open(cls, session: Any, **connection: Any) -> Scripted:
        service: Scripted = session
        return service

    async def check(self, job: Any) -> JobStatus:
        await self.clock.sleep(3600 * self.hangs)
        answer = self._next("check", self.checks, job.name)
        assert isinstance(answer, JobStatus)
        return answer

    async def submit(self, job: Any, request: Any) -> Job:
        raise AssertionError("nothing is started here")

    async def cancel(self, job: Any) -> None:
        await self.clock.sleep(3600 if self.hangs else 1)
        self._next("cancel", self.cancels, job.name)

    def _next(self, verb: str, scripts: dict[str, list[Answer]], name: str) -> Answer:
        self.calls.append((verb, name))
        script = scripts.get(name, [None if verb == "cancel" else STOPPED])
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def count(self, verb: str, name: str) -> int:
        return self.calls.count((verb, name))


def scripted(
    cancels: dict[str, Answer | list[Answer]] | None = None, checks: dict[str, Answer | list[Answer]] | None = None
) -> tuple[Scripted, Services]:
    """Return a service with its scripts, and the services of a task whose jobs are all its."""

    def lists(scripts: dict[str, Any] | None) -> dict[str, list[Answer]]:
        return {name: list(one) if isinstance(one, list) else [one] for name, one in (scripts or {}).items()}

    service = Scripted(FakeClock(), lists(cancels), lists(checks))
    return service, Services(service, {})  # type: ignore[arg-type] - its session is what it opens services with


def things(names: str) -> list[Thing]:
    return [Thing(name=name) for name in names]


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, log.name)


# Cancelling --------------------------------------------------------------------------------------


async def cancel(service: Scripted, services: Services, names: str, **how: Any) -> list[str]:
    return await cancel_all(things(names), services, clock=service.clock, log=log, **how)


async def test_cancel_all(caplog: pytest.LogCaptureFixture) -> None:
    """For each job it is said what stood in the way; one that is gone already is no problem, one refused is."""
    service, services = scripted({"b": GONE, "c": NO})
    fine, gone, refused = await cancel(service, services, "abc")
    assert (fine, gone) == ("", "")
    assert refused == "thing job c could not be cancelled: 403 forbidden. Cancel it by hand: https://console/c"
    assert sorted(caplog.messages) == [
        "Cancelled thing job a",
        "thing job b is gone already; nothing to cancel",
        refused,
    ]
    assert sorted(service.calls) == [("cancel", "a"), ("cancel", "b"), ("cancel", "c")]


async def test_side_by_side() -> None:
    """Sixty-four cancels take as long as one, and each job gets one."""
    service, services = scripted()
    names = "".join(chr(1000 + i) for i in range(64))
    assert await cancel(service, services, names) == [""] * 64
    assert (service.clock.monotonic(), len(set(service.calls)), len(service.calls)) == (1, 64, 64)


async def test_busy_service_is_asked_again() -> None:
    """A cancel that may work later is sent again; the others do not wait for it."""
    service, services = scripted({"a": [BUSY, TryAgain("429", retry_after=5), None]})
    assert await cancel(service, services, "ab") == ["", ""]
    assert (service.count("cancel", "a"), service.count("cancel", "b")) == (3, 1)


async def test_cancel_has_a_budget() -> None:
    """A service that stays busy is given up within the budget, and the job is named for a person to cancel."""
    service, services = scripted({"a": BUSY})
    problem, fine = await cancel(service, services, "ab")
    assert problem.startswith("thing job a could not be cancelled: 503. Cancel it by hand")
    assert fine == ""
    assert CANCEL_BUDGET - 10 < service.clock.monotonic() <= CANCEL_BUDGET


async def test_bug_in_one_cancel(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in the cancel of one job names that job, and keeps no other from being cancelled."""
    service, services = scripted({"a": ZeroDivisionError("a bug"), "b": [BUSY, None]})
    problem, fine = await cancel(service, services, "ab")
    assert problem.startswith("thing job a could not be cancelled: ")
    assert (fine, problem in caplog.messages) == ("", True)


async def test_same_job_twice() -> None:
    """A list that names a job twice gets the same end for both."""
    service, services = scripted(checks={"b": STOPPED})
    listed_twice = Outcome(verdict="success", message="", jobs=((Thing(name="b"), RUN), (Thing(name="b"), RUN)))
    found = await rest(service, services, listed_twice)
    assert [state for _, state, _ in found] == ["cancelled", "cancelled"]


async def test_nothing_to_cancel() -> None:
    """No jobs, no calls."""
    service, services = scripted()
    assert (await cancel(service, services, ""), service.calls) == ([], [])


# The rest of a wait that has its answer ----------------------------------------------------------


def outcome(verdict: str = "success", **states: JobStatus) -> Outcome:
    listed = tuple((Thing(name=name), status) for name, status in states.items())
    return Outcome(verdict=verdict, message="Enough.", jobs=listed)


async def rest(service: Scripted, services: Services, one: Outcome) -> list[tuple[str, str, str]]:
    """End the rest; return each job's name, state and message."""
    ended = await end_rest(one, services, clock=service.clock, log=log)
    assert (ended.verdict, ended.message) == (one.verdict, one.message)
    return [(job.remote_id, status.state.value, status.message) for job, status in ended.jobs]


async def test_end_rest() -> None:
    """What runs is cancelled and told of as it ended; what had ended is left alone; the order stays."""
    service, services = scripted(checks={"b": [RUN, RUN, STOPPED]})
    found = await rest(service, services, outcome(a=GOOD, b=RUN, c=BAD, d=RUN))
    assert [(name, state) for name, state, _ in found] == [
        ("a", "succeeded"),
        ("b", "cancelled"),
        ("c", "failed"),
        ("d", "cancelled"),
    ]
    assert [call for call in service.calls if call[0] == "cancel"] == [("cancel", "b"), ("cancel", "d")]
    assert {name for verb, name in service.calls if verb == "check"} == {"b", "d"}


async def test_ends_well_meanwhile() -> None:
    """A job that succeeds while it is being cancelled has succeeded; its statistics are kept."""
    done = JobStatus(state=JobState.SUCCEEDED, stats={"rows": 3})
    service, services = scripted(checks={"b": done})
    ended = await end_rest(outcome(a=GOOD, b=RUN), services, clock=service.clock, log=log)
    assert ended.jobs[1][1] == done


async def test_cannot_be_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """A job that cannot be cancelled is listed as running, with what to do, and is not watched any longer."""
    service, services = scripted({"b": NO})
    found = await rest(service, services, outcome("failed", a=BAD, b=RUN, c=RUN))
    said = "thing job b could not be cancelled: 403 forbidden. Cancel it by hand: https://console/b"
    assert found[1:] == [("b", "running", said), ("c", "cancelled", "")]
    assert service.count("check", "b") == 0
    assert said in caplog.messages


async def test_does_not_end() -> None:
    """A job that takes its time to stop is watched for a while, beside the others, and is listed as running."""
    service, services = scripted(checks={"b": RUN, "c": RUN, "d": [RUN, GOOD]})
    found = await rest(service, services, outcome(a=GOOD, b=RUN, c=RUN, d=RUN))
    assert found[1:] == [
        ("b", "running", "asked to stop, and not seen to end yet"),
        ("c", "running", "asked to stop, and not seen to end yet"),
        ("d", "succeeded", ""),
    ]
    assert service.clock.monotonic() <= 1 + SEE_END


async def test_busy_while_it_ends() -> None:
    """One bad answer after the cancel does not make a cancelled job a running one."""
    service, services = scripted(checks={"b": [BUSY, RUN, STOPPED]})
    found = await rest(service, services, outcome(a=GOOD, b=RUN))
    assert found[1] == ("b", "cancelled", "")


@pytest.mark.parametrize("verdict", ["timeout", "error"])
async def test_wait_without_an_answer(verdict: str) -> None:
    """A wait that timed out or broke off leaves the rest to the task, which may have other plans."""
    service, services = scripted()
    one = outcome(verdict, a=RUN)
    assert await end_rest(one, services, clock=service.clock, log=log) is one
    assert service.calls == []


async def test_nothing_left() -> None:
    """Where nothing runs nothing is said and nobody is asked."""
    service, services = scripted()
    one = outcome("failed", a=GOOD, b=BAD)
    assert (await end_rest(one, services, clock=service.clock, log=log), service.calls) == (one, [])


# In a worker -------------------------------------------------------------------------------------


def ender(service: Scripted, services: Services, error_budget: float = 600.0) -> Ender:
    return Ender(services=services, clock=service.clock, log=log, error_budget=error_budget)


def listed(**states: JobStatus) -> list[tuple[Job, JobStatus]]:
    return [(Thing(name=name), status) for name, status in states.items()]


@pytest.mark.parametrize(
    ("until", "checks", "verdict", "ends", "cancels"),
    [
        ("all", {"b": [RUN, STOPPED], "c": [RUN, STOPPED]}, "stopped", ["succeeded", "cancelled", "cancelled"], "bc"),
        ("all", {"b": GOOD, "c": [RUN, STOPPED]}, "stopped", ["succeeded", "succeeded", "cancelled"], "c"),
        ("all", {"b": BAD, "c": GOOD}, "timeout", ["succeeded", "failed", "succeeded"], ""),
        (2, {"b": GOOD, "c": RUN}, "timeout", ["succeeded", "succeeded", "running"], ""),
        ("all", {"b": NO, "c": [NO, STOPPED]}, "stopped", ["succeeded", "running", "cancelled"], "bc"),
    ],
    ids=["running", "one ends", "all have ended", "enough", "cannot be asked"],
)
async def test_stop_late(until: Until, checks: Any, verdict: str, ends: list[str], cancels: str) -> None:
    """At the deadline what still runs is cancelled after a short look, unless enough have succeeded by then."""
    service, services = scripted(checks=checks)
    late = await ender(service, services).stop_late(outcome("timeout", a=GOOD, b=RUN, c=RUN), until)
    assert (late.verdict, [status.state.value for _, status in late.jobs]) == (verdict, ends)
    assert sorted(name for verb, name in service.calls if verb == "cancel") == list(cancels)


async def test_stop_all(caplog: pytest.LogCaptureFixture) -> None:
    """Each job that runs is cancelled once, and one sentence says what became of it; the others are left alone."""
    service, services = scripted(
        {"b": GONE, "c": NO}, {"a": [RUN, RUN, STOPPED], "b": GONE, "c": NO, "d": GOOD, "e": RUN, "f": NO}
    )
    jobs = listed(a=RUN, b=RUN, c=RUN, d=RUN, e=RUN, z=BAD)
    stopped, said = await ender(service, services).stop_all(jobs)
    assert said == [
        "thing job a was cancelled, and the service confirms it.",
        "thing job b could not be seen to end; see https://console/b.",
        "thing job c could not be cancelled: 403 forbidden. Cancel it by hand: https://console/c",
        "thing job d had ended by then: succeeded.",
        "thing job e was asked to stop but still runs; see https://console/e.",
    ]
    assert [status.state.value for _, status in stopped] == [
        *("cancelled", "running", "running", "succeeded", "running"),
        "failed",
    ]
    assert [job for job, _ in stopped] == [job for job, _ in jobs]
    assert sorted(name for verb, name in service.calls if verb == "cancel") == list("abcde")
    assert "thing job c could not be cancelled: 403 forbidden. Cancel it by hand: https://console/c" in caplog.messages


async def test_cancelled_but_not_seen_to_end(caplog: pytest.LogCaptureFixture) -> None:
    """When the cancel was accepted, nobody is told that the job could not be cancelled."""
    service, services = scripted(checks={"a": NO})
    _, said = await ender(service, services).stop_all(listed(a=RUN))
    assert said == ["thing job a could not be seen to end; see https://console/a."]
    assert "could not be cancelled" not in caplog.text


async def test_stop_all_takes_as_long_as_the_slowest() -> None:
    """Jobs that do not end are given up together."""
    service, services = scripted(checks=dict.fromkeys("abcdef", RUN))
    await ender(service, services).stop_all(listed(**dict.fromkeys("abcdef", RUN)))
    assert SETTLE <= service.clock.monotonic() <= SETTLE + 2


async def test_stop_all_of_nothing() -> None:
    """What has ended is not asked for."""
    service, services = scripted()
    assert await ender(service, services).stop_all(listed(a=GOOD)) == (listed(a=GOOD), [])
    assert service.calls == []


@pytest.mark.parametrize("budget", [2.0, 600.0])
async def test_stop_within_the_error_budget(budget: float, caplog: pytest.LogCaptureFixture) -> None:
    """A service that stays away is given up after the task's error budget, at most after ``SETTLE`` seconds."""
    service, services = scripted({"a": BUSY}, {"a": BUSY})
    status, said = await ender(service, services, budget).stop(Thing(name="a"))
    assert (status.state, said) == (
        JobState.RUNNING,
        "thing job a could not be cancelled: 503. Cancel it by hand: https://console/a",
    )
    assert service.clock.monotonic() <= min(budget, SETTLE) + min(budget, LAST_LOOK)
    assert said in caplog.messages


@pytest.mark.parametrize("script", [GOOD, BAD, STOPPED], ids=lambda status: status.state.value)
async def test_job_that_could_not_be_cancelled_and_ended(script: JobStatus, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is sent to cancel a job by hand that has ended by itself."""
    service, services = scripted({"a": NO}, {"a": script})
    (job, status), *_ = (await ender(service, services).stop_all(listed(a=RUN)))[0]
    assert (job, status) == (Thing(name="a"), script)
    assert "by hand" not in caplog.text


async def test_service_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    """A cancel, and an ask, that hang are given up in time."""
    service, services = scripted()
    service.hangs = True
    stopped, said = await ender(service, services).stop_all(listed(a=RUN, b=RUN))
    assert [status for _, status in stopped] == [RUN, RUN]
    assert "thing job a could not be cancelled: the service did not answer within 9 s. Cancel it by hand" in said[0]
    assert service.clock.monotonic() <= SETTLE + LAST_LOOK
    assert sum("Cancelling thing job a" in line for line in caplog.messages) >= 2  # each attempt hung


async def test_look_at_all(caplog: pytest.LogCaptureFixture) -> None:
    """What runs is asked for; of what cannot be asked, what was heard last is kept, and the log says why."""
    service, services = scripted(checks={"a": GOOD, "b": NO, "c": GONE, "d": [BUSY, BAD]})
    heard = JobStatus(state=JobState.RUNNING, message="half way")
    looked = await ender(service, services).look_at_all(listed(a=RUN, b=heard, c=heard, d=RUN, z=STOPPED))
    assert [status for _, status in looked] == [GOOD, heard, heard, BAD, STOPPED]
    assert "thing job b: 403 forbidden" in caplog.messages
    assert service.count("check", "z") == 0


@pytest.mark.parametrize(
    ("script", "end", "seconds"),
    [([GOOD], GOOD, 0), ([RUN, RUN, BAD], BAD, 2), ([RUN], RUN, 5), ([GONE], None, 0), ([RUN, GONE], None, 1)],
    ids=str,
)
async def test_settle(script: list[Answer], end: JobStatus | None, seconds: float) -> None:
    """A job is asked for every second until it has ended, is not known any more, or the time is up."""
    service, services = scripted(checks={"a": script})
    assert await ender(service, services).settle(Thing(name="a"), 5) == end
    assert service.clock.monotonic() == seconds


async def test_stopping_can_be_stopped() -> None:
    """Whoever cancels the wait for an end is not held up by it."""
    service, services = scripted(checks={"a": RUN})
    service.clock.autojump = False
    stopping = asyncio.ensure_future(ender(service, services).stop_all(listed(a=RUN)))
    await asyncio.sleep(0.01)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
