"""The waiting loop against a scripted service and a fake clock: hours of waiting in milliseconds."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ork_provider.errors import BadRequest, InvalidJob, NotFound, TryAgain
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.testing.clock import FakeClock
from ork_provider.waiting import Journal, Outcome, Policy, Watch, keep_trying, needed, wait

log = logging.getLogger("test_waiting")


@dataclass(frozen=True, kw_only=True)
class Thing(Job):
    """A job of no service at all."""

    kind: ClassVar[str] = "thing"
    service: ClassVar[str] = ""

    name: str

    @property
    def remote_id(self) -> str:
        return self.name


def status(word: str, message: str = "") -> JobStatus:
    return JobStatus(state=JobState(word), message=message)


RUN, GOOD, BAD, STOPPED = status("running"), status("succeeded"), status("failed", "no disk"), status("cancelled")
BUSY, GONE, NO = TryAgain("503"), NotFound("404"), BadRequest("400")

Answer = JobStatus | Exception


@dataclass(frozen=True)
class Step:
    """One answer, after so many seconds."""

    answer: Answer
    latency: float = 0.0


@dataclass(frozen=True)
class Ask:
    """One ask, as the service saw it; ``end`` and ``answer`` are None when it was given up."""

    job: str
    start: float
    end: float | None = None
    answer: Answer | None = None


@dataclass
class Scripted:
    """A service that answers each job's asks by its script, the last step for ever."""

    clock: FakeClock
    scripts: dict[str, list[Step]]
    asks: list[Ask] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)

    async def __call__(self, job: Job) -> JobStatus:
        name = job.remote_id
        script = self.scripts[name]
        step = script[min(self.steps.get(name, 0), len(script) - 1)]
        self.steps[name] = self.steps.get(name, 0) + 1
        place = len(self.asks)
        self.asks.append(Ask(name, self.clock.monotonic()))
        if step.latency:
            await self.clock.sleep(step.latency)
        self.asks[place] = Ask(name, self.asks[place].start, self.clock.monotonic(), step.answer)
        if isinstance(step.answer, Exception):
            raise step.answer
        return step.answer

    def times(self, job: str = "a") -> list[float]:
        return [ask.start for ask in self.asks if ask.job == job]


@dataclass
class Run:
    """A wait and all that was seen of it."""

    clock: FakeClock
    service: Scripted
    watch: Watch
    jobs: Sequence[Job]

    async def wait(self, **how: Any) -> Outcome:
        return await wait(self.jobs, self.watch, **how)


def run(
    *,
    policy: Policy | None = None,
    deadline: float | None = None,
    journal: bool = False,
    **scripts: Answer | Step | list[Answer | Step],
) -> Run:
    """Prepare a wait for the jobs ``a``, ``b``... by their scripts; ``deadline`` in seconds from now."""
    clock = FakeClock()
    lists = {name: script if isinstance(script, list) else [script] for name, script in scripts.items()}
    service = Scripted(clock, {n: [s if isinstance(s, Step) else Step(s) for s in steps] for n, steps in lists.items()})
    watch = Watch(
        ask=service,
        policy=policy or Policy(jitter=0),
        clock=clock,
        deadline=None if deadline is None else clock.now() + timedelta(seconds=deadline),
        journal=Journal(log, clock) if journal else None,
    )
    return Run(clock, service, watch, [Thing(name=name) for name in scripts])


def states(outcome: Outcome) -> list[str]:
    return [status.state.value for _, status in outcome.jobs]


# To the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "verdict", "said"),
    [
        (GOOD, "success", "thing job a succeeded after 0:00:20."),
        (BAD, "failed", "thing job a failed: no disk."),
        (STOPPED, "failed", "thing job a was cancelled."),
    ],
)
async def test_to_the_end(last: JobStatus, verdict: str, said: str) -> None:
    """A job is asked at once and then every interval until it has ended; the sentence says how."""
    r = run(a=[RUN, RUN, last])
    outcome = await r.wait()
    assert (outcome.verdict, outcome.message) == (verdict, said)
    assert r.service.times() == [0, 10, 20]


async def test_event_lists_every_job() -> None:
    """The event is plain JSON and names every job with its state, whatever the verdict."""
    event = (await run(a=GOOD, b=BAD, c=NO).wait()).to_event()
    assert event == json.loads(json.dumps(event))
    assert [(job["name"], job["state"]) for job in event["jobs"]] == [
        ("a", "succeeded"),
        ("b", "failed"),
        ("c", "running"),
    ]
    assert "could not be watched any longer: 400" in event["jobs"][2]["message"]


async def test_same_job_twice() -> None:
    """A list that names a job twice is no trouble."""
    r = run(a=[RUN, GOOD])
    outcome = await wait([*r.jobs, *r.jobs], r.watch)
    assert (outcome.verdict, states(outcome)) == ("success", ["succeeded", "succeeded"])


async def test_jitter() -> None:
    """Pauses between good answers differ by up to 10 % either way, so that waiters do not march in step."""
    r = run(policy=Policy(poll_interval=100), a=[RUN] * 200 + [GOOD])
    await r.wait()
    assert min(r.clock.slept) >= 90
    assert max(r.clock.slept) <= 110
    assert min(r.clock.slept) < 93
    assert max(r.clock.slept) > 107


# Errors ------------------------------------------------------------------------------------------


async def test_full_jitter() -> None:
    """After errors the pause is random from (almost) nothing to a limit that doubles up to a cap."""
    policy = Policy(backoff_base=1, backoff_cap=60)
    for failures, limit in [(1, 1), (2, 2), (3, 4), (7, 60), (10_000, 60)]:
        pauses = [policy.backoff(failures) for _ in range(500)]
        assert min(pauses) >= 0.05
        assert min(pauses) < limit * 0.2
        assert limit * 0.8 < max(pauses) <= limit


async def test_backoff_starts_anew_after_a_good_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only bad answers in a row make pauses longer."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    r = run(a=[BUSY, BUSY, BUSY, RUN, BUSY, GOOD])
    await r.wait()
    assert r.service.times() == [0, 1, 3, 7, 17, 18]


@pytest.mark.parametrize("seconds", [0.5, 7.0, 300.0])
async def test_retry_after_wins(seconds: float) -> None:
    """What the service asks for is what it gets, shorter or longer than our own pause."""
    r = run(a=[TryAgain("429", retry_after=seconds), GOOD])
    assert (await r.wait()).verdict == "success"
    assert r.service.times() == [0, seconds]


async def test_retry_after_zero_does_not_spin() -> None:
    """A service that says "at once" is not asked in a tight loop."""
    r = run(policy=Policy(error_budget=10), a=TryAgain("429", retry_after=0))
    assert (await r.wait()).verdict == "error"
    assert len(r.service.asks) < 250


async def test_budget_spent() -> None:
    """When errors last longer than the budget the wait ends, says so, and still lists the job as running."""
    r = run(policy=Policy(error_budget=600), a=[RUN, BUSY])
    outcome = await r.wait()
    assert outcome.verdict == "error"
    assert states(outcome) == ["running"]
    assert "could not be watched any longer: 503" in outcome.message
    assert 609 <= r.clock.monotonic() <= 611 + 60  # the first pause has its jitter


async def test_budget_is_refilled_by_a_good_answer() -> None:
    """Errors that last 599 seconds each, with one good answer in between, are forgiven for ever."""
    streak = [TryAgain("503", retry_after=599), TryAgain("503", retry_after=0.1), RUN]
    r = run(policy=Policy(error_budget=600), a=[*streak * 5, GOOD])
    assert (await r.wait()).verdict == "success"
    assert r.clock.monotonic() > 5 * 599


async def test_bad_request_ends_the_job() -> None:
    """What asking again cannot mend is not asked again."""
    r = run(a=[RUN, NO, GOOD])
    outcome = await r.wait()
    assert (outcome.verdict, states(outcome)) == ("error", ["running"])
    assert "could not be watched any longer: 400" in outcome.message
    assert r.service.times() == [0, 10]


async def test_bug_propagates() -> None:
    """An error that we did not raise on purpose is a bug: it comes out, and nothing goes on behind it."""
    r = run(a=ValueError("a bug"), b=RUN)
    with pytest.raises(ValueError, match="a bug"):
        await r.wait()
    assert await no_task_left(r)


# 404 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "verdict", "state"),
    [
        ([GONE, GONE, GONE, GOOD], "success", "succeeded"),  # all within the first minute
        ([*[RUN] * 7, GONE, GOOD], "success", "succeeded"),  # once, later
        ([*[RUN] * 7, GONE, RUN, GONE, GOOD], "success", "succeeded"),  # a good answer between
        ([*[RUN] * 7, GONE, BUSY, GONE, GOOD], "success", "succeeded"),  # another error between breaks the row
        ([*[RUN] * 7, GONE, GONE, GOOD], "failed", "lost"),
        ([*[RUN] * 7, BUSY, GONE, GONE, GOOD], "failed", "lost"),
        ([GONE], "failed", "lost"),
    ],
)
async def test_not_found(script: list[Answer], verdict: str, state: str) -> None:
    """A 404 is forgiven in the first 60 seconds; later, two in a row mean that the job is lost."""
    outcome = await run(a=script).wait()
    assert (outcome.verdict, states(outcome)) == (verdict, [state])


async def test_lost_says_so() -> None:
    """A lost job is named, and is lost no earlier than a minute after the start."""
    r = run(a=GONE)
    assert (await r.wait()).message == "thing job a is no longer known to its service: 404."
    assert r.clock.monotonic() >= 60


# Deadline ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("deadline", [-3600.0, 0.0])
@pytest.mark.parametrize("latency", [0.0, 5.0])
@pytest.mark.parametrize(
    ("answer", "verdict"), [(GOOD, "success"), (BAD, "failed"), (RUN, "timeout"), (BUSY, "timeout")]
)
async def test_first_ask_is_made_even_when_it_is_too_late(
    deadline: float, latency: float, answer: Answer, verdict: str
) -> None:
    """A job that has ended before the wait began is not thrown away; one whole ask decides."""
    r = run(deadline=deadline, a=Step(answer, latency))
    assert (await r.wait()).verdict == verdict
    assert r.service.times() == [0]


async def test_slow_first_ask_does_not_hold_up_the_deadline() -> None:
    """When one job has reached the deadline, the first ask of another is not waited for any longer."""
    r = run(deadline=5, a=Step(GOOD, latency=30), b=RUN)
    assert (await r.wait()).verdict == "timeout"
    assert r.clock.monotonic() == pytest.approx(5, abs=1e-3)
    assert await no_task_left(r)


@pytest.mark.parametrize("deadline", [1.0, 10.0, 25.0, 30.0, 61.0, 1000.0])
@pytest.mark.parametrize("answer", [RUN, BUSY, GONE, TryAgain("429", retry_after=1e6)], ids=str)
async def test_never_asked_at_or_after_the_deadline(deadline: float, answer: Answer) -> None:
    """The wait ends exactly at its deadline, however far away the next ask would have been."""
    r = run(deadline=deadline, policy=Policy(not_found_grace=1e9, error_budget=1e9), a=answer)
    outcome = await r.wait()
    assert outcome.verdict == "timeout"
    assert r.clock.monotonic() == pytest.approx(deadline, abs=1e-3)
    assert max(r.service.times()) < deadline


async def test_timeout_names_what_still_runs() -> None:
    """The sentence names the deadline and the unfinished jobs, not the others."""
    outcome = await run(deadline=25, a=GOOD, b=RUN).wait()
    assert outcome.message == "The deadline 2026-01-01 00:00:25 UTC passed while thing job b was still running."
    assert states(outcome) == ["succeeded", "running"]


async def test_hung_ask_is_cut_at_the_deadline() -> None:
    """An ask that hangs into the deadline is not waited for, and is not left behind."""
    r = run(deadline=15, a=[RUN, Step(GOOD, latency=30)])
    outcome = await r.wait()
    assert (outcome.verdict, states(outcome)) == ("timeout", ["running"])
    assert r.clock.monotonic() == pytest.approx(15, abs=1e-3)
    assert r.service.asks[-1].end is None
    assert await no_task_left(r)


async def test_answer_just_before_the_deadline_counts() -> None:
    """An ask that is answered in time decides, although it was started close to the deadline."""
    outcome = await run(deadline=15, a=[RUN, Step(GOOD, latency=4.9)]).wait()
    assert outcome.verdict == "success"


async def test_success_at_the_deadline_counts_for_the_others() -> None:
    """Enough successes at the moment of the deadline are a success, not a timeout."""
    assert (await run(deadline=10, a=GOOD, b=RUN).wait(until="any")).verdict == "success"


@pytest.mark.parametrize(("fail_fast", "verdict"), [(True, "failed"), (False, "timeout")])
async def test_failure_at_the_deadline(fail_fast: bool, verdict: str) -> None:
    """With fail_fast a failure that is seen at the deadline is what has happened; without it the others are late."""
    assert (await run(deadline=0, a=BAD, b=RUN).wait(fail_fast=fail_fast)).verdict == verdict


# Many jobs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "fail_fast", "verdict", "end"),
    [
        ("all", False, "failed", 40),
        ("all", True, "failed", 10),
        ("any", False, "success", 20),
        ("any", True, "failed", 10),
        (1, False, "success", 20),
        (2, False, "success", 30),
        (3, False, "failed", 40),
        (3, True, "failed", 10),
        (4, False, "failed", 40),
    ],
)
async def test_until(until: str | int, fail_fast: bool, verdict: str, end: float) -> None:
    """The wait ends when enough jobs have succeeded, or all have ended, or with fail_fast one has failed."""
    r = run(a=[RUN, BAD], b=[RUN, RUN, GOOD], c=[RUN, RUN, RUN, GOOD], d=[RUN, RUN, RUN, RUN, STOPPED])
    outcome = await r.wait(until=until, fail_fast=fail_fast)
    assert (outcome.verdict, r.clock.monotonic()) == (verdict, end)
    assert await no_task_left(r)


async def test_all_of_many() -> None:
    """Many successes are counted in the sentence."""
    outcome = await run(a=GOOD, b=GOOD, c=[RUN, GOOD]).wait()
    assert (outcome.verdict, outcome.message) == ("success", "3 of 3 jobs succeeded after 0:00:10.")


async def test_long_list_of_failures_is_cut() -> None:
    """A sentence names the first five jobs and counts the rest."""
    outcome = await run(**dict.fromkeys("abcdefgh", BAD)).wait()
    assert outcome.message.count("failed: no disk") == 5
    assert outcome.message.endswith("; and 3 more.")


@pytest.mark.parametrize("until", ["some", "", None, 0, -1, 3, 1.0, True, False, ["all"], {"all": 1}, 10**30])
async def test_until_without_meaning(until: Any) -> None:
    """A wrong ``until`` is answered with the values that make sense for this number of jobs; nothing is asked."""
    r = run(a=GOOD, b=GOOD)
    with pytest.raises(InvalidJob, match=r'^until: expected "all", "any" or a number from 1 to 2 .*, got '):
        await r.wait(until=until)
    assert not r.service.asks


def test_needed() -> None:
    """How many must succeed."""
    assert [needed(until, 5) for until in ("all", "any", 1, 5)] == [5, 1, 1, 5]


BAD_NEIGHBOURS = [NO, BUSY, GONE, Step(BUSY, latency=25), Step(RUN, latency=29), TryAgain("429", retry_after=500)]


@pytest.mark.parametrize("bad", BAD_NEIGHBOURS, ids=str)
async def test_bad_job_never_slows_its_neighbours(bad: Answer | Step) -> None:
    """The others are asked at exactly the times at which they would be without it, and their states count."""
    others: dict[str, list[Answer | Step]] = {"a": [RUN] * 12 + [GOOD], "b": [RUN, Step(RUN, 3), BAD]}
    without, beside = run(deadline=1000, **others), run(deadline=1000, bad=bad, **others)  # type: ignore[arg-type]
    await without.wait()
    outcome = await beside.wait()
    for name in others:
        assert beside.service.times(name) == without.service.times(name)
    assert states(outcome)[1:] == ["succeeded", "failed"]


async def test_one_error_among_many() -> None:
    """A job that cannot be watched makes the verdict an error, after the others have ended."""
    r = run(a=NO, b=[RUN, RUN, GOOD])
    outcome = await r.wait()
    assert (outcome.verdict, states(outcome)) == ("error", ["running", "succeeded"])
    assert outcome.message == "thing job a was still running: could not be watched any longer: 400."


async def test_error_does_not_spoil_enough_successes() -> None:
    """Where one success is enough, a job that cannot be watched does not matter."""
    assert (await run(a=NO, b=[RUN, GOOD]).wait(until="any")).verdict == "success"


# Ends from outside -------------------------------------------------------------------------------


async def no_task_left(r: Run) -> bool:
    """Whether nothing but this test and the clock is left on the loop; the clock goes when nobody sleeps."""
    assert r.clock.sleeping == 0
    await asyncio.sleep(0.01)
    return asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("script", [RUN, BUSY, Step(RUN, latency=5), Step(BUSY, latency=5)], ids=str)
@pytest.mark.parametrize("deadline", [None, 30.0, 1e6])
async def test_cancellation(script: Answer | Step, deadline: float | None) -> None:
    """A cancelled wait ends as cancelled, wherever it is, and leaves no task behind."""
    r = run(deadline=deadline, a=script, b=RUN)
    r.clock.autojump = False
    waiting = asyncio.create_task(r.wait())
    for seconds in (0, 1, 12):
        await r.clock.advance(seconds)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await no_task_left(r)


# Around a single call ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "end", "asks"),
    [
        ([BUSY, BUSY, GOOD], GOOD, 3),
        ([GONE, GOOD], GONE, 1),
        ([BUSY, GONE], GONE, 2),
        ([NO, GOOD], NO, 1),
        ([ValueError("a bug"), GOOD], ValueError("a bug"), 1),
    ],
)
async def test_keep_trying(script: list[Answer | Step], end: Answer, asks: int) -> None:
    """The same errors are forgiven around a submit or a cancel; there a 404 is final at once."""
    r = run(a=script)
    call: Callable[[], Any] = lambda: r.service(r.jobs[0])  # noqa: E731
    trying = keep_trying(call, policy=r.watch.policy, clock=r.clock, log=log, what="Starting")
    if isinstance(end, Exception):
        with pytest.raises(type(end), match=str(end)):
            await trying
    else:
        assert await trying is end
    assert len(r.service.asks) == asks


async def test_keep_trying_has_a_budget(caplog: pytest.LogCaptureFixture) -> None:
    """It gives up with the last error, never later than its budget, and each further try is in the log."""
    r = run(a=BUSY)
    policy = Policy(error_budget=20)
    with pytest.raises(TryAgain, match="503"):
        await keep_trying(lambda: r.service(r.jobs[0]), policy=policy, clock=r.clock, log=log, what="Starting")
    assert 5 < r.clock.monotonic() <= 20
    assert len(caplog.records) == len(r.service.asks) - 1
    assert caplog.messages[0].startswith("Starting: 503; trying again in ")


# What the log says -------------------------------------------------------------------------------


async def journal_of(caplog: pytest.LogCaptureFixture, r: Run) -> list[str]:
    with caplog.at_level(logging.INFO):
        await r.wait()
    return caplog.messages


async def test_journal(caplog: pytest.LogCaptureFixture) -> None:
    """One line when waiting starts and one per change of state, none per poll."""
    words = [JobStatus(state=JobState.RUNNING, remote_state=word) for word in ["PENDING"] * 2 + ["RUNNING"] * 2]
    said = await journal_of(caplog, run(journal=True, deadline=100, a=[*words, BAD]))
    assert said == [
        "Waiting for thing job a, asking every 10 s, at the latest until 2026-01-01 00:01:40 UTC",
        "thing job a is PENDING after 0 s",
        "thing job a is RUNNING after 20 s",
        "thing job a is failed after 40 s: no disk",
    ]


async def test_journal_of_many(caplog: pytest.LogCaptureFixture) -> None:
    """With many jobs the start is one line, each job's changes are its own."""
    said = await journal_of(caplog, run(journal=True, a=[RUN, GOOD], b=GOOD))
    assert said[0] == "Waiting for 2 jobs, the first: thing job a, asking every 10 s"
    assert len(said) == 4


def progress(*said: str) -> list[JobStatus]:
    return [JobStatus(state=JobState.RUNNING, remote_state="RUNNING", message=words) for words in said]


async def test_journal_of_progress(caplog: pytest.LogCaptureFixture) -> None:
    """A change of a running job's own words is a line, at most every half minute; the end always is."""
    steps = progress("10 %", "20 %", "30 %", "40 %", "50 %", "50 %", "50 %", "60 %")
    said = await journal_of(caplog, run(journal=True, a=[*steps, GOOD]))
    assert said[1:] == [
        "thing job a is RUNNING after 0 s: 10 %",
        "thing job a is RUNNING after 30 s: 40 %",
        "thing job a is RUNNING after 60 s: 50 %",
        "thing job a is succeeded after 80 s",
    ]


async def test_journal_of_words_that_stay(caplog: pytest.LogCaptureFixture) -> None:
    """Words that are the same again are no news: there is a sign of life, as of a job that says nothing."""
    said = await journal_of(caplog, run(journal=True, a=[*progress(*["10 %"] * 67), GOOD]))
    assert said[1:] == [
        "thing job a is RUNNING after 0 s: 10 %",
        "thing job a is still RUNNING after 600 s",
        "thing job a is succeeded after 670 s",
    ]


async def test_journal_of_many_that_say_much(caplog: pytest.LogCaptureFixture) -> None:
    """Each job has a half minute of its own, and a change of state is never held back."""
    scripts = {name: [*progress(*(f"{i} %" for i in range(30))), BAD] for name in "ab"}
    said = await journal_of(caplog, run(journal=True, **scripts))
    for name in "ab":
        lines = [line for line in said if f"job {name} is" in line]
        times = [int(line.split(" after ")[1].split()[0]) for line in lines]
        assert all(later - sooner >= 30 for sooner, later in pairwise(times[:-1]))
        assert (len(lines), lines[-1]) == (11, f"thing job {name} is failed after 300 s: no disk")


async def test_heartbeats_are_sparse(caplog: pytest.LogCaptureFixture) -> None:
    """A job that runs for a day gives a sign of life every hour in the end, never one per poll."""
    r = run(journal=True, a=[RUN] * 8640 + [GOOD])
    said = await journal_of(caplog, r)
    beats = [line for line in said if "still" in line]
    assert beats[0] == "thing job a is still running after 600 s"
    assert beats[-1].startswith("thing job a is still running after 8")
    assert 20 < len(beats) < 30
    assert len(said) == len(beats) + 3


async def test_trouble_is_said_once_per_streak(caplog: pytest.LogCaptureFixture) -> None:
    """A streak of errors is one warning when it begins and one line when it is over."""
    said = await journal_of(caplog, run(journal=True, a=[RUN, *[BUSY] * 9, RUN, GOOD]))
    trouble = [line for line in said if "asking" in line][1:]
    assert trouble == [
        "thing job a: asking failed (503); trying again for up to 600 s",
        "thing job a: asking works again after 9 failures",
    ]


async def test_every_answer_is_told() -> None:
    """``on_answer`` hears every good answer with its job."""
    told = []
    r = run(a=[RUN, BUSY, GOOD])

    async def tell(job: Job, status: JobStatus) -> None:
        told.append((job.remote_id, status.state.value))

    r.watch.on_answer = tell
    await r.wait()
    assert told == [("a", "running"), ("a", "succeeded")]


# Whatever happens --------------------------------------------------------------------------------

ANSWERS = st.one_of(
    st.sampled_from([RUN, RUN, RUN, GOOD, BAD, STOPPED, BUSY, GONE, NO]),
    st.floats(0, 500).map(lambda seconds: TryAgain("429", retry_after=seconds)),
)
STEPS = st.builds(Step, ANSWERS, st.sampled_from([0.0, 0.0, 0.3, 7.0, 30.0]))
SCRIPTS = st.lists(st.lists(STEPS, min_size=1, max_size=12), min_size=1, max_size=5)
POLICIES = st.builds(Policy, poll_interval=st.floats(2, 200), error_budget=st.floats(1, 900))
EPSILON = 1e-3


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    scripts=SCRIPTS,
    policy=POLICIES,
    deadline=st.floats(-10, 1500),
    until=st.sampled_from(["all", "any", 1, 2, 3]),
    fail_fast=st.booleans(),
)
def test_never_early_never_late(
    scripts: list[list[Step]], policy: Policy, deadline: float, until: str | int, fail_fast: bool
) -> None:
    """Whatever the services answer, and however slowly: the wait ends in time, and says what is true."""
    if isinstance(until, int):
        until = min(until, len(scripts))
    named = {chr(ord("a") + i): list(script) for i, script in enumerate(scripts)}
    r = run(policy=policy, deadline=deadline, **named)  # type: ignore[arg-type]
    outcome = asyncio.run(r.wait(until=until, fail_fast=fail_fast))
    end = r.clock.monotonic()
    first = {name: next(ask for ask in r.service.asks if ask.job == name) for name in named}

    # in time: at the deadline at the latest, but for a first ask, which is always made
    slowest = max(scripts[i][0].latency for i in range(len(scripts)))
    assert end <= max(deadline, slowest) + EPSILON
    assert all(ask.start < deadline or ask is first[ask.job] for ask in r.service.asks)

    # never early, and true
    heard = {
        name: [a.answer for a in r.service.asks if a.job == name and isinstance(a.answer, JobStatus)] for name in named
    }
    good = sum(any(answer is GOOD for answer in heard[name]) for name in named)
    need = needed(until, len(scripts))
    ended = [not isinstance(a, TryAgain) and a is not RUN for a in (last_answer(r, n) for n in named)]
    lost = states(outcome).count("lost")
    assert (outcome.verdict == "success") == (good >= need)
    if outcome.verdict == "timeout":
        assert end >= min(deadline, slowest) - EPSILON
    if outcome.verdict == "failed" and not fail_fast:
        assert sum(ended) + lost >= len(named)
    for name, state in zip(named, states(outcome), strict=True):
        last = heard[name][-1].state.value if heard[name] else "running"
        assert state in {last, "lost"}

    # not too often, not too seldom
    for name in named:
        check_pauses([ask for ask in r.service.asks if ask.job == name], policy)


def last_answer(r: Run, name: str) -> Answer | None:
    return [ask.answer for ask in r.service.asks if ask.job == name][-1]


def check_pauses(asks: list[Ask], policy: Policy) -> None:
    """Between an answer and the next ask lie what the policy promises."""
    for ask, following in pairwise(asks):
        assert ask.end is not None
        pause = following.start - ask.end
        if isinstance(ask.answer, TryAgain):
            asked_for = ask.answer.retry_after
            least, most = (0.05, policy.backoff_cap) if asked_for is None else (max(asked_for, 0.05),) * 2
        else:
            assert ask.answer is RUN
            least, most = policy.poll_interval * 0.9, policy.poll_interval * 1.1
        assert least - EPSILON <= pause <= most + EPSILON
