"""A scripted world for the hub: things that end at their time, a list or a feed that tells of them, and trouble."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ork_provider.errors import BadRequest, NotFound, TryAgain
from ork_provider.hub import Hub
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.service import Feed, Listing, Service, Services, Shared
from ork_provider.session import Response, Session
from ork_provider.testing.clock import FakeClock
from ork_provider.waiting import Clock, Policy, Watch

RUN = JobStatus(state=JobState.RUNNING, remote_state="RUNNING")
GOOD = JobStatus(state=JobState.SUCCEEDED, remote_state="DONE")
BAD = JobStatus(state=JobState.FAILED, remote_state="DONE", message="no disk")

BUSY, DENIED, GONE = TryAgain("503"), BadRequest("403: no permission to list"), NotFound("404")

LATENCY = 0.05
NEVER = 1e12

Trouble = Exception | None | Literal["hang"]
who = contextvars.ContextVar("who", default="nobody")


@dataclass(frozen=True, kw_only=True)
class Thing(Job):
    """A job of the scripted service, in a place that can be listed."""

    kind: ClassVar[str] = "thing"
    service: ClassVar[str] = "tests.support.hub_world:World"

    name: str
    place: str = "here"

    @property
    def remote_id(self) -> str:
        """See Job."""
        return self.name


@dataclass(frozen=True)
class Call:
    """A list, a call of the feed, or an ask for one thing; `end` is None when it was given up or goes on."""

    name: str
    start: float
    end: float | None = None
    who: str = "nobody"


class World(Service):
    """What the service knows (`ends`), what it shows (`hidden`, `lag`, `raw`), and what it was asked.

    `list_trouble` and `ask_trouble` are asked, with a name and the time, what goes wrong with the calls that are noted
    in `looks` and `asks`.
    """

    connection_defaults: ClassVar[dict[str, Any]] = {"thing_conn_id": "thing_default"}

    def __init__(
        self,
        *,
        how: Literal["list", "feed"] = "list",
        least: int = 1,
        interval: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        self.clock: Clock = clock or FakeClock()
        self.hub = Hub(interval=interval, clock=self.clock)
        self.how = how
        self.least = least
        self.latency = LATENCY
        self.ask_latency: float | None = None
        self.lag = 0.0
        self.ends: dict[str, tuple[float, JobStatus]] = {}
        self.modelled: Callable[[str], bool] = lambda name: True
        self.hidden: Callable[[str, float], bool] = lambda name, at: False
        self.raw: Callable[[str, float], Any] = lambda name, at: "RUNNING"
        self.list_trouble: Callable[[str, float], Trouble] = lambda place, at: None
        self.ask_trouble: Callable[[str, float], Trouble] = lambda name, at: None
        self.hanging: asyncio.Future[None] | None = None
        self.looks: list[Call] = []
        self.asks: list[Call] = []
        self.ended: dict[str, tuple[float, JobStatus]] = {}
        self.services = _Services(self)

    # -- what happens ------------------------------------------------------------------------------------------

    def add(self, name: str, end: float = NEVER, status: JobStatus = GOOD) -> Thing:
        """Have a thing that ends at a time; the place is what stands before a slash in its name."""
        self.ends[name] = (end, status)
        place, slash, _ = name.partition("/")
        return Thing(name=name, place=place if slash else "here")

    def truth(self, name: str, at: float) -> JobStatus:
        """Say how a thing is at a time."""
        end, status = self.ends[name]
        return RUN if at < end else status

    def watch(self, poll_interval: float = 10.0, **policy: Any) -> Watch:
        """Return a wait over the hub."""
        return Watch(
            ask=self.services.check,
            seat=lambda job: self.hub.seat(job, self.services, poll_interval),
            policy=Policy(poll_interval=poll_interval, **policy),
            clock=self.clock,
        )

    async def follow(self, job: Thing, *, after: float = 0.0, poll_interval: float = 10.0) -> JobStatus:
        """Wait for a thing, from some seconds on, and note when and how that ended."""
        if after:
            await self.clock.sleep(after)
        status = await self.watch(poll_interval).follow(job)
        self.ended[job.name] = (self.clock.monotonic(), status)
        return status

    async def follow_all(self, *jobs: Thing, **how: Any) -> None:
        """Wait for things, each in its own task."""
        await asyncio.gather(*(asyncio.create_task(self.follow(job, **how)) for job in jobs))

    def delay(self, name: str) -> float:
        """Return how long after its end a waiter knew of it."""
        return self.ended[name][0] - self.ends[name][0]

    def times(self, name: str) -> list[float]:
        """Return when a thing was asked for itself."""
        return [ask.start for ask in self.asks if ask.name == name]

    async def until(self, at: float) -> None:
        """Let time pass."""
        await self.clock.sleep(at - self.clock.monotonic())

    # -- Service -----------------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, session: Session, **connection: Any) -> Service:
        """See Service."""
        raise AssertionError("nobody asks this of it")

    async def check(self, job: Thing) -> JobStatus:
        """See Service; the answer is as old as the question."""
        began = self.clock.monotonic()
        latency = self.latency if self.ask_latency is None else self.ask_latency
        await self.called(self.asks, job.name, self.ask_trouble, latency)
        return self.truth(job.name, began)

    def shared(self, job: Thing) -> Shared:
        """See Service."""
        return ThingFeed(self, job.place) if self.how == "feed" else ThingList(self, job.place)

    async def submit(self, job: Any, request: Mapping[str, Any]) -> Job:
        """See Service."""
        raise AssertionError("nobody asks this of it")

    async def cancel(self, job: Any) -> None:
        """See Service."""
        raise AssertionError("nobody asks this of it")

    async def called(
        self, calls: list[Call], name: str, trouble: Callable[[str, float], Trouble], latency: float | None = None
    ) -> None:
        """Note a call, and let it take its time and its trouble."""
        began, number = self.clock.monotonic(), len(calls)
        calls.append(Call(name, began, who=who.get()))
        wrong = trouble(name, began)
        if wrong == "hang":
            self.hanging = asyncio.get_running_loop().create_future()
            await self.hanging
        await self.clock.sleep(self.latency if latency is None else latency)
        calls[number] = Call(name, began, self.clock.monotonic(), who.get())
        if isinstance(wrong, Exception):
            raise wrong


class ThingList(Listing):
    """The running things of a place; what it says is as old as the question, and `lag` older."""

    def __init__(self, world: World, place: str) -> None:
        self.world = world
        self.place = place
        self.least = world.least  # type: ignore[misc]

    @property
    def key(self) -> Hashable:
        """See Shared."""
        return "list", self.place

    def name(self, job: Thing) -> Hashable:
        """See Shared."""
        return job.name

    def read(self, told: Any) -> JobStatus | None:
        """See Shared."""
        return {"RUNNING": RUN}[told]

    async def look(self, names: Collection[Hashable]) -> dict[Hashable, Any]:
        """See Listing."""
        world, at = self.world, self.world.clock.monotonic()
        seen: dict[Hashable, Any] = {
            name: world.raw(name, at)
            for name, (end, _) in world.ends.items()
            if at - world.lag < end and not world.hidden(name, at)
        }
        await world.called(world.looks, self.place, world.list_trouble)
        return seen


class ThingFeed(Feed):
    """The ends of things; its position is the time of the last answer, less `lag`, which a restart makes larger.

    A change that is `hidden` is lost; one that is `modelled` is told with how the thing is.
    """

    WAIT = 20.0
    STEP = 0.1

    def __init__(self, world: World, place: str) -> None:
        self.world = world
        self.place = place

    @property
    def key(self) -> Hashable:
        """See Shared."""
        return "feed", self.place

    def name(self, job: Thing) -> Hashable:
        """See Shared."""
        return job.name

    def read(self, told: Any) -> JobStatus | None:
        """See Shared."""
        return told if isinstance(told, JobStatus) else None

    async def start(self) -> float:
        """See Feed."""
        at = self.world.clock.monotonic()
        await self.world.called(self.world.looks, "start", self.world.list_trouble)
        return at - self.world.lag

    async def changes(self, position: float) -> tuple[Iterable[tuple[Hashable, Any]], float]:
        """See Feed."""
        world = self.world
        await world.called(world.looks, self.place, world.list_trouble)
        until = world.clock.monotonic() + self.WAIT
        while not (told := self._since(position)) and world.clock.monotonic() < until:
            if world.clock.monotonic() - world.lag < position:
                break
            await world.clock.sleep(self.STEP)
        return told, world.clock.monotonic() - world.lag

    def _since(self, position: float) -> list[tuple[Hashable, Any]]:
        world, now = self.world, self.world.clock.monotonic()
        ends = sorted((end, name) for name, (end, _) in world.ends.items() if position < end - world.lag and end <= now)
        told = [(name, world.truth(name, now) if world.modelled(name) else "?") for end, name in ends]
        return [one for one in told if not world.hidden(str(one[0]), now)]


class _Services(Services):
    """Services of which there is one."""

    def __init__(self, world: World) -> None:
        super().__init__(Session(ScriptedDoor(lambda request: Response(status=500))), {})
        self._world = world

    async def of(self, job: Job) -> Service:
        """See Services."""
        return self._world


@dataclass
class ScriptedDoor:
    """A door behind which a function answers."""

    answer: Callable[[Any], Response | Awaitable[Response]]
    requests: list[Any] = field(default_factory=list)

    async def send(self, request: Any) -> Response:
        """See Door."""
        self.requests.append(request)
        answer = self.answer(request)
        return answer if isinstance(answer, Response) else await answer

    async def close(self) -> None:
        """See Door."""


def others() -> list[asyncio.Task[Any]]:
    """Return the tasks of this loop but for the one that asks."""
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not _is_clock(task)]


def timers() -> list[Any]:
    """Return the timers of this loop that are still to come."""
    loop: Any = asyncio.get_running_loop()
    return [timer for timer in loop._scheduled if not timer.cancelled()]


async def settle() -> None:
    """Let all that is ready run."""
    for _ in itertools.repeat(None, 20):
        await asyncio.sleep(0)


def _is_clock(task: asyncio.Task[Any]) -> bool:
    return "FakeClock" in repr(task.get_coro())


async def nothing_left(world: World) -> None:
    """Fail unless the hub is as it was before anybody waited."""
    await settle()
    assert world.hub.scopes == {}
    assert others() == []
    assert timers() == []
    if isinstance(world.clock, FakeClock):
        assert world.clock.sleeping == 0
