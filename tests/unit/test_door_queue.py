"""The queue before each host: so many requests at a time, whoever sends them, and a shared poll before all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest

from ork_provider.errors import TryAgain
from ork_provider.session import AiohttpDoor, Request
from ork_provider.session.door import CONNECTIONS_PER_HOST
from ork_provider.testing import Answer, FakeServer, RecordedRequest, Route


class Counting(FakeServer):
    """Answers `/hold/S` after S seconds, `/gate` when it is open; counts how many it has at a time."""

    def __init__(self, **server: Any) -> None:
        super().__init__(**server)
        self.now = self.most = 0
        self.is_open = True

    def routes(self) -> list[Route]:
        """See FakeServer."""
        return [Route("GET", "/hold/{seconds}", self.hold), Route("GET", "/gate", self.gate)]

    async def hold(self, request: RecordedRequest, seconds: str) -> Answer:
        return await self._count(asyncio.sleep(float(seconds)))

    async def gate(self, request: RecordedRequest) -> Answer:
        return await self._count(self._pass())

    async def _pass(self) -> None:
        while not self.is_open:  # noqa: ASYNC110 - it is opened from another thread
            await asyncio.sleep(0.005)

    async def _count(self, work: Awaitable[None]) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await work
        finally:
            self.now -= 1
        return Answer.json({})


@pytest.fixture
def server() -> Iterator[Counting]:
    with Counting() as running:
        yield running


@pytest.fixture
async def door() -> AsyncIterator[AiohttpDoor]:
    made = AiohttpDoor()
    yield made
    await made.close()


def get(server: Counting, path: str, **more: Any) -> Request:
    return Request(method="GET", url=f"{server.url}{path}", **more)


def send(door: AiohttpDoor, request: Request, count: int = 1) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(door.send(request)) for _ in range(count)]


async def held(server: Counting, count: int) -> None:
    """Wait until the server has so many requests."""
    for _ in range(2000):
        if server.now == count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"the server has {server.now} requests, not {count}")


async def test_no_more_than_so_many_at_a_time(door: AiohttpDoor, server: Counting) -> None:
    """However many ask, one host has no more than CONNECTIONS_PER_HOST requests at a time; all are answered."""
    answers = await asyncio.gather(*send(door, get(server, "/hold/0.02"), 300))
    assert {answer.status for answer in answers} == {200}
    assert server.most == CONNECTIONS_PER_HOST
    assert len(server.requests) == 300


async def test_shared_request_does_not_queue(door: AiohttpDoor, server: Counting) -> None:
    """A poll for many goes at once, before all who wait for their turn."""
    server.is_open = False
    singles = send(door, get(server, "/gate"), 2 * CONNECTIONS_PER_HOST)
    await held(server, CONNECTIONS_PER_HOST)
    answer = await asyncio.wait_for(door.send(get(server, "/hold/0", shared=True)), 5)
    assert answer.status == 200
    assert not any(task.done() for task in singles)
    server.is_open = True
    await asyncio.gather(*singles)


async def test_other_host_is_not_affected(door: AiohttpDoor, server: Counting) -> None:
    """Each host has a queue of its own; another port is another host."""
    server.is_open = False
    singles = send(door, get(server, "/gate"), CONNECTIONS_PER_HOST + 1)
    await held(server, CONNECTIONS_PER_HOST)
    with Counting() as other:
        assert (await asyncio.wait_for(door.send(get(other, "/hold/0")), 5)).status == 200
    server.is_open = True
    await asyncio.gather(*singles)


async def test_time_in_the_queue_does_not_count(door: AiohttpDoor, server: Counting) -> None:
    """The timeout of a request begins when it is sent, however long it has queued."""
    server.is_open = False
    ahead = send(door, get(server, "/gate"), CONNECTIONS_PER_HOST)
    await held(server, CONNECTIONS_PER_HOST)
    (queued,) = send(door, get(server, "/hold/0", timeout=0.5))
    await asyncio.sleep(0.8)
    server.is_open = True
    assert (await queued).status == 200
    await asyncio.gather(*ahead)


async def test_timeout_counts_once_it_is_sent(door: AiohttpDoor, server: Counting) -> None:
    """A request that times out gives its place to the next."""
    server.is_open = False
    failed = await asyncio.gather(*send(door, get(server, "/gate", timeout=0.3), 100), return_exceptions=True)
    assert {type(exc) for exc in failed} == {TryAgain}
    server.is_open = True
    assert (await door.send(get(server, "/hold/0"))).status == 200


@pytest.mark.parametrize("when", ["queued", "sent", "both"])
async def test_cancelled_waiters_leak_no_place(door: AiohttpDoor, server: Counting, when: str) -> None:
    """Whoever is cancelled, in the queue or on the way, gives the place back: as many as before go at a time."""
    for _ in range(3):
        server.is_open = False
        tasks = send(door, get(server, "/gate"), 2 * CONNECTIONS_PER_HOST)
        await held(server, CONNECTIONS_PER_HOST)
        sent, queued = tasks[:CONNECTIONS_PER_HOST], tasks[CONNECTIONS_PER_HOST:]
        leaving = {"queued": queued, "sent": sent, "both": tasks}[when]
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        server.is_open = True
        await asyncio.gather(*tasks, return_exceptions=True)
        await held(server, 0)
    server.is_open, server.most = False, 0
    tasks = send(door, get(server, "/gate"), 2 * CONNECTIONS_PER_HOST)
    await held(server, CONNECTIONS_PER_HOST)
    await asyncio.sleep(0.05)
    assert server.most == CONNECTIONS_PER_HOST
    server.is_open = True
    await asyncio.gather(*tasks)


async def test_cancelled_as_its_turn_comes(door: AiohttpDoor, server: Counting) -> None:
    """One that is cancelled in the moment in which it gets its turn passes it on."""
    server.is_open = False
    ahead = send(door, get(server, "/gate"), CONNECTIONS_PER_HOST)
    queued = send(door, get(server, "/hold/0"), CONNECTIONS_PER_HOST)
    await held(server, CONNECTIONS_PER_HOST)
    for task in ahead:
        task.add_done_callback(lambda _: queued.pop(0).cancel() if queued else None)
    last = send(door, get(server, "/hold/0"), 20)
    server.is_open = True
    assert {answer.status for answer in await asyncio.wait_for(asyncio.gather(*last), 10)} == {200}


async def test_close_while_some_queue(server: Counting) -> None:
    """A door that closes leaves no request waiting for ever; afterwards it opens again by itself."""
    door = AiohttpDoor()
    server.is_open = False
    tasks = send(door, get(server, "/gate"), 2 * CONNECTIONS_PER_HOST)
    await held(server, CONNECTIONS_PER_HOST)
    await door.close()
    server.is_open = True
    ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert all(isinstance(one, TryAgain) or getattr(one, "status", None) == 200 for one in ended)
    assert (await door.send(get(server, "/hold/0"))).status == 200
    await door.close()


async def test_refused_request_gives_its_place_back(door: AiohttpDoor, server: Counting) -> None:
    """A request that cannot be sent at all does not keep a place."""
    port = server.port
    server.stop()
    for _ in range(2):
        failed = await asyncio.gather(*send(door, get(server, "/hold/0"), 100), return_exceptions=True)
        assert {type(exc) for exc in failed} == {TryAgain}
    server.start()
    assert server.port == port
    assert (await door.send(get(server, "/hold/0"))).status == 200


async def test_first_come_first_served(door: AiohttpDoor, server: Counting) -> None:
    """Requests leave the queue in the order in which they came."""
    server.is_open = False
    ahead = send(door, get(server, "/gate"), CONNECTIONS_PER_HOST)
    await held(server, CONNECTIONS_PER_HOST)
    order: list[int] = []
    queued = [asyncio.create_task(door.send(get(server, "/hold/0"))) for _ in range(100)]
    for number, task in enumerate(queued):
        task.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
    began = time.monotonic()
    server.is_open = True
    await asyncio.gather(*ahead, *queued)
    assert time.monotonic() - began < 10
    assert sorted(order) == list(range(100))
    assert all(abs(place - number) < CONNECTIONS_PER_HOST for place, number in enumerate(order))


async def test_a_cancel_does_not_queue(server: Counting, door: AiohttpDoor) -> None:
    """What starts or cancels a job gets through while all places are taken by those who ask."""
    server.is_open = False
    asking = send(door, get(server, "/gate"), 2 * CONNECTIONS_PER_HOST)
    try:
        while server.now < CONNECTIONS_PER_HOST:  # noqa: ASYNC110 - counted in another thread
            await asyncio.sleep(0.01)
        sent = door.send(Request(method="DELETE", url=f"{server.url}/gate"))
        assert (await asyncio.wait_for(sent, 5)).status == 404
    finally:
        server.is_open = True
        await asyncio.gather(*asking)


async def test_a_turn_that_does_not_come(server: Counting, door: AiohttpDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits too long for a turn is told so, and the request is known not to have been sent."""
    monkeypatch.setattr("ork_provider.session.door.QUEUE_TIMEOUT", 0.2)
    server.is_open = False
    asking = send(door, get(server, "/gate"), CONNECTIONS_PER_HOST)
    try:
        while server.now < CONNECTIONS_PER_HOST:  # noqa: ASYNC110 - counted in another thread
            await asyncio.sleep(0.01)
        with pytest.raises(TryAgain, match="requests to this host") as caught:
            await door.send(get(server, "/gate"))
        assert not caught.value.processed
    finally:
        server.is_open = True
        await asyncio.gather(*asking)
    assert (await door.send(get(server, "/gate"))).status == 200
