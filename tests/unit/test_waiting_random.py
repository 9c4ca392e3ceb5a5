"""Random answers, faults, limits and restarts of the triggerer: what a wait promises holds in each.

A service is a truth (when each job ends, and how) and trouble (what goes wrong with each ask, and how long it takes).
A wait is followed through restarts, as a triggerer makes them: cancelled at some moment and begun anew, with the same
deadline. One rule is a test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain, pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ork_provider.errors import BadRequest, NotFound, OrkError, Throttled, TryAgain, Unauthorized
from ork_provider.hub.seat import tick_of
from ork_provider.job import JobState, JobStatus
from ork_provider.waiting import FIRST_ASK, TIMEOUT, Journal, Outcome, Policy, Watch, needed, wait
from tests.support.hub_world import BAD, GONE, GOOD, NEVER, RUN, Thing, World, nothing_left
from tests.support.strategies import fuzz

EPSILON = 1e-3
STOPPED = JobStatus(state=JobState.CANCELLED, remote_state="STOPPED")
BUSY = TryAgain("503")
UNWATCHED = "could not be watched any longer"


@dataclass(frozen=True)
class Trouble:
    """What is wrong with one ask, if anything, and how many seconds it takes."""

    error: OrkError | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Fate:
    """A job: when and how it ends, from when on its service has forgotten it, and the trouble with asking for it."""

    end: float
    status: JobStatus
    forgotten: float
    troubles: Sequence[Trouble]


@dataclass(frozen=True)
class Case:
    """Jobs, the limits of the wait for them, and the seconds for which each run of it goes on; the last: to its end."""

    fates: Sequence[Fate]
    policy: Policy
    deadline: float | None
    until: str | int
    fail_fast: bool
    restarts: Sequence[float]
    gap: float
    given_up: bool = False


@dataclass
class Ask:
    """One ask, as the service saw it; without an end it was given up."""

    job: str
    start: float
    end: float | None = None
    answer: JobStatus | OrkError | None = None


@dataclass
class Run:
    """One run of the wait, from one restart to the next."""

    start: float
    asks: list[Ask] = field(default_factory=list)
    end: float = 0.0
    outcome: Outcome | None = None

    def of(self, job: str) -> list[Ask]:
        """Return the asks for a job."""
        return [ask for ask in self.asks if ask.job == job]

    def told(self) -> Iterator[tuple[str, JobState, str]]:
        """Go through what the outcome says of each job."""
        assert self.outcome is not None
        for job, status in self.outcome.jobs:
            yield job.remote_id, status.state, status.message

    def successes(self) -> list[float]:
        """Return when the service has said of each job that it has succeeded."""
        return sorted(ask.end for ask in self.asks if ask.answer is GOOD and ask.end is not None)


class Traced(World):
    """A service that keeps to a case, and notes what it is asked in the present run."""

    def __init__(self, case: Case, how: Any = "list") -> None:
        super().__init__(how=how)
        self.case = case
        self.runs: list[Run] = []
        self.left = {f"t{i}": list(fate.troubles) for i, fate in enumerate(case.fates)}
        self.fates = {f"t{i}": fate for i, fate in enumerate(case.fates)}
        self.jobs = [self.add(name, fate.end, fate.status) for name, fate in self.fates.items()]
        self.modelled = lambda name: False  # how a job has ended is for its own ask to say
        self.list_trouble = lambda place, at: BUSY if int(at) % 50 < 10 else None

    async def check(self, job: Thing) -> JobStatus:
        """See Service."""
        name, began = job.name, self.clock.monotonic()
        ask = Ask(name, began)
        self.runs[-1].asks.append(ask)
        trouble = self.left[name].pop(0) if self.left[name] else Trouble()
        await self.clock.sleep(trouble.seconds)
        forgotten = GONE if began >= self.fates[name].forgotten else None
        answer = trouble.error or forgotten or self.truth(name, began)
        ask.end, ask.answer = self.clock.monotonic(), answer
        if isinstance(answer, OrkError):
            raise answer
        return answer


class Silent:
    """A log that nobody reads."""

    def info(self, *_: object) -> None:
        """Say nothing."""

    warning = debug = info


async def act(world: Traced, *, shared: bool) -> None:
    """Wait, from restart to restart; fail if anything is left behind."""
    case, clock = world.case, world.clock
    begin = clock.now()
    for seconds in (*case.restarts, None):
        run = Run(clock.monotonic())
        world.runs.append(run)
        watch = Watch(
            ask=world.check,
            policy=case.policy,
            clock=clock,
            deadline=None if case.deadline is None else begin + timedelta(seconds=case.deadline),
            journal=Journal(Silent(), clock),
            seat=(lambda job: world.hub.seat(job, world.services, case.policy.poll_interval)) if shared else None,
        )
        waiting = asyncio.create_task(wait(world.jobs, watch, until=case.until, fail_fast=case.fail_fast))
        timer = None if seconds is None else clock.call_later(seconds, waiting.cancel)
        try:
            run.outcome = await waiting
            return
        except asyncio.CancelledError:
            pass
        finally:
            run.end = clock.monotonic()
            if timer is not None:
                timer.cancel()
            await nothing_left(world)
        if seconds is case.restarts[-1] and case.given_up:
            return
        await clock.sleep(case.gap)


def play(case: Case, *, shared: bool = False, how: str = "list") -> tuple[list[Run], Run]:
    """Return all runs, and the last one, which came to an end by itself."""
    world = Traced(case, how)
    asyncio.run(act(world, shared=shared))
    return world.runs, world.runs[-1]


# What may happen ------------------------------------------------------------------------------------------

SECONDS = st.sampled_from([0.0, 0.0, 0.3, 7.0, 30.0, 70.0, 299.0])
PASSING = (
    st.sampled_from([BUSY, BUSY, NotFound("404"), Throttled("429")])
    | st.floats(0, 300).map(lambda seconds: TryAgain("503", retry_after=seconds))
    | st.floats(0, 300).map(lambda seconds: Throttled("429", retry_after=seconds))
)
FINAL = st.sampled_from([BadRequest("400"), Unauthorized("401")])
FINE = st.builds(Trouble, seconds=SECONDS)
BAD_ASK = st.builds(Trouble, PASSING, SECONDS)
STREAK = st.lists(BAD_ASK, min_size=2, max_size=8)
MISSES = st.lists(st.sampled_from([Trouble(GONE), Trouble(GONE), Trouble(BUSY)]), min_size=1, max_size=5)
SLOW = st.lists(st.builds(Trouble, st.none() | PASSING, st.sampled_from([0.0, 30.0, 70.0, 299.0])), max_size=12)
TROUBLES = SLOW | st.lists(STREAK | MISSES | st.lists(FINE, max_size=8), max_size=5).map(
    lambda parts: list(chain(*parts))
)
FORGETFUL = st.just(NEVER) | st.floats(0, 400)


def fates(*, fatal: bool) -> st.SearchStrategy[Fate]:
    troubles = TROUBLES
    if fatal:
        troubles = troubles | st.tuples(TROUBLES, st.builds(Trouble, FINAL, SECONDS)).map(lambda two: [*two[0], two[1]])
    ends = st.sampled_from([-10.0, 0.0, 5.0]) | st.floats(0, 500)
    return st.builds(Fate, ends, st.sampled_from([GOOD, GOOD, BAD, STOPPED]), st.just(NEVER) | FORGETFUL, troubles)


POLICIES = st.builds(
    Policy,
    poll_interval=st.floats(2, 100),
    error_budget=st.sampled_from([1.0, 30.0, 200.0, 900.0]),
    jitter=st.sampled_from([0.0, 0.1, 0.5]),
    backoff_base=st.sampled_from([0.2, 1.0, 5.0]),
    backoff_cap=st.sampled_from([2.0, 60.0]),
    not_found_grace=st.sampled_from([0.0, 60.0, 200.0]),
)
DEADLINES = st.none() | st.sampled_from([-5.0, 0.0, 1.0]) | st.floats(0, 600)
RESTARTS = st.lists(st.sampled_from([0.0, 0.5, 10.0]) | st.floats(0, 300), max_size=3)


ANY = st.booleans()


@st.composite
def cases(draw: st.DrawFn, most: int = 4, deadlines: Any = DEADLINES, fail_fast: Any = ANY) -> Case:
    count = draw(st.integers(1, most))
    return Case(
        fates=draw(st.lists(fates(fatal=True), min_size=count, max_size=count)),
        policy=draw(POLICIES),
        deadline=draw(deadlines),
        until=draw(st.sampled_from(["all", "any"]) | st.integers(1, count)),
        fail_fast=draw(fail_fast),
        restarts=draw(RESTARTS),
        gap=draw(st.sampled_from([0.0, 1.0, 100.0])),
    )


BETWEEN = Fate(500.0, GOOD, NEVER, [Trouble(GONE), Trouble(BUSY), Trouble(GONE), Trouble()])
"""A job with another error between its two 404s."""


# Rules ----------------------------------------------------------------------------------------------------

SEATS = st.sampled_from([(False, "list"), (True, "list"), (True, "feed")])


@fuzz(60)
@given(case=cases(), seat=SEATS)
def test_never_done_early(case: Case, seat: tuple[bool, str]) -> None:
    """What is said of a job is what its service said in a good answer; enough of those are a success."""
    _, run = play(case, shared=seat[0], how=seat[1])
    assert run.outcome is not None
    for name, state, _ in run.told():
        answers = [ask.answer for ask in run.of(name) if isinstance(ask.answer, JobStatus)]
        if state.final and state is not JobState.LOST:
            assert answers[-1] is case.fates[int(name[1:])].status
            assert answers[-1].state is state
            assert run.end >= case.fates[int(name[1:])].end
    enough = len(run.successes()) >= needed(case.until, len(case.fates))
    assert run.outcome.verdict != "success" or enough
    assert run.outcome.verdict == "success" or not enough or case.fail_fast


@fuzz(150)
@given(case=cases(most=2, deadlines=st.floats(-5, 400)), seat=SEATS)
def test_never_after_the_deadline(case: Case, seat: tuple[bool, str]) -> None:
    """A wait ends at its deadline at the latest, but for a first ask, which is given a minute; no restart moves it."""
    runs, _ = play(case, shared=seat[0], how=seat[1])
    assert case.deadline is not None
    tick = tick_of(case.policy.poll_interval) if seat[0] else 0.0  # those who share a poll wake together
    for run in runs:
        assert run.end <= max(case.deadline, run.start + FIRST_ASK) + tick + EPSILON
        firsts = [run.of(name)[0] for name in {ask.job for ask in run.asks}]
        assert all(ask.start < case.deadline + EPSILON for ask in run.asks if ask not in firsts)
        if run.outcome and run.outcome.verdict == TIMEOUT:
            assert run.end >= min(case.deadline, run.start + FIRST_ASK) - EPSILON
        late = [ask for ask in firsts if ask.end is None or ask.end > case.deadline]
        assert late or run.end <= max(case.deadline, run.start) + tick + EPSILON


@fuzz(60)
@given(case=cases(fail_fast=st.just(True)), seat=SEATS)
def test_fail_fast(case: Case, seat: tuple[bool, str]) -> None:
    """The first job that has not succeeded ends the wait at once: nothing is asked after that answer."""
    _, run = play(case, shared=seat[0], how=seat[1])
    ends = [ask.end for ask in run.asks if isinstance(ask.answer, JobStatus) and ask.answer.state.final]
    bad = [ask.end for ask in run.asks if is_end(ask) and ask.answer is not GOOD and ask.end is not None]
    if bad:
        assert run.end <= min(bad) + EPSILON
        assert all(ask.start <= min(bad) + EPSILON for ask in run.asks)
    assert len(ends) <= len(case.fates)


def is_end(ask: Ask) -> bool:
    """Whether an answer ends a job's wait by itself."""
    if isinstance(ask.answer, JobStatus):
        return ask.answer.state.final
    return ask.answer is not None and not isinstance(ask.answer, TryAgain)


@fuzz(60)
@given(case=cases(fail_fast=st.just(False)), seat=SEATS)
def test_followed_to_the_end(case: Case, seat: tuple[bool, str]) -> None:
    """Without fail_fast a wait ends when enough have succeeded, at once, and otherwise only when all have ended."""
    _, run = play(case, shared=seat[0], how=seat[1])
    assert run.outcome is not None
    need = needed(case.until, len(case.fates))
    if len(run.successes()) >= need:
        assert run.end <= run.successes()[need - 1] + EPSILON
    elif run.outcome.verdict != TIMEOUT:
        assert all(state.final or message.startswith(UNWATCHED) for _, state, message in run.told())


@fuzz(100)
@given(case=cases(most=2, deadlines=st.none() | st.floats(100, 600)))
def test_error_budget(case: Case) -> None:
    """Nobody gives up before errors have lasted for the budget without a good answer, and everybody does then."""
    budget = case.policy.error_budget
    for run in play(case)[0]:
        given_up = {name for name, _, message in run.told() if message.startswith(UNWATCHED)} if run.outcome else set()
        for name in {ask.job for ask in run.asks}:
            *others, last = run.of(name)
            since = None
            for ask in [*others, last]:
                if not isinstance(ask.answer, TryAgain) or ask.end is None:
                    since = None
                    continue
                since = ask.end if since is None else since
                if ask is not last:
                    assert ask.end - since < budget
                elif name in given_up:
                    assert ask.end - since >= budget


@fuzz(100)
@given(case=cases(most=2))
def test_pauses(case: Case) -> None:
    """A Retry-After is kept to; other pauses lie within the policy's interval, or its backoff, which starts anew."""
    policy = case.policy
    for run in play(case)[0]:
        for name in {ask.job for ask in run.asks}:
            failures = 0
            for ask, following in pairwise(run.of(name)):
                assert ask.end is not None
                pause = following.start - ask.end
                if not isinstance(ask.answer, TryAgain):
                    assert ask.answer is RUN
                    failures, interval = 0, policy.poll_interval
                    least, most = interval * (1 - policy.jitter), interval * (1 + policy.jitter)
                elif ask.answer.retry_after is not None:
                    failures += 1
                    least = most = max(0.05, ask.answer.retry_after)
                else:
                    failures += 1
                    least, most = 0.05, min(policy.backoff_cap, policy.backoff_base * 2 ** (failures - 1))
                assert least - EPSILON <= pause <= most + EPSILON


@fuzz(100)
@given(case=cases(most=2))
@example(case=Case([BETWEEN], Policy(not_found_grace=0.0), None, "all", fail_fast=False, restarts=[], gap=0.0))
def test_lost(case: Case) -> None:
    """A job is lost after two 404s in a row of which the second comes after the grace, and then at once."""
    for run in play(case)[0]:
        lost = {name for name, state, _ in run.told() if state is JobState.LOST} if run.outcome else set()
        for name in {ask.job for ask in run.asks}:
            asks = [ask for ask in run.of(name) if ask.end is not None]
            fatal = [
                second
                for first, second in pairwise(asks)
                if isinstance(first.answer, NotFound) and isinstance(second.answer, NotFound)
                if second.end is not None and second.end - run.start >= case.policy.not_found_grace
            ]
            assert not fatal or run.of(name)[-1] is fatal[0]
            if name in lost:
                assert fatal
            elif fatal and run.outcome and len(case.fates) == 1:
                raise AssertionError("the job should be lost")


@fuzz(60)
@given(case=cases(), seat=SEATS, cut=st.floats(0, 300))
def test_nothing_is_left(case: Case, seat: tuple[bool, str], cut: float) -> None:
    """However and whenever a wait ends, also by cancellation: no task, timer, sleeper or seat is left behind."""
    cut_off = Case(**{**vars(case), "restarts": [*case.restarts, cut], "given_up": True})
    runs, last = play(cut_off, shared=seat[0], how=seat[1])
    assert len(runs) <= len(cut_off.restarts)
    assert last.outcome is not None or last.end - last.start <= cut + EPSILON
