"""Google's lists behind a scripted door: pages, odd entries, and how many executions pay for a list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest

from ork_provider.bigquery import BigQueryJob
from ork_provider.cloud_run import CloudRunJob
from ork_provider.dataproc import DataprocBatchJob, DataprocJob
from ork_provider.hub import Hub
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.service import Services
from ork_provider.session import Request, Response, Session
from ork_provider.testing.clock import FakeClock
from ork_provider.waiting import Policy, Watch
from tests.support.hub_world import ScriptedDoor

NEVER = 1e12
SIZE = 1000
PLACE = {"project": "p", "region": "r"}

Item = dict[str, Any]


class Google:
    """The lists of Google's services, a thousand jobs on a page, and each job for itself.

    ``ends`` are the times at which jobs end, the newest job last; ``tamper`` may change or replace a page.
    """

    def __init__(self, make: Callable[[str], Job], *, size: int = SIZE) -> None:
        self.clock = FakeClock()
        self.make = make
        self.size = size
        self.ends: dict[str, float] = {}
        self.history = make("x").service.startswith("ork_provider.cloud_run")
        self.tamper: Callable[[int, list[Any]], list[Any] | Response] = lambda page, items: items
        self.lists: list[tuple[float, int]] = []
        self.asks: list[str] = []
        self.door = ScriptedDoor(self.answer)
        self.services = Services(Session(self.door, self._connection), {})
        self.hub = Hub(clock=self.clock)

    @staticmethod
    async def _connection(conn_id: str) -> Any:
        extra = {"is_anonymous": True, "project": "p"}
        return SimpleNamespace(conn_id=conn_id, extra=json.dumps(extra), extra_dejson=extra)

    async def answer(self, request: Request) -> Response:
        """Answer a list or an ask."""
        at = self.clock.monotonic()
        await self.clock.sleep(0.05)
        last = unquote(request.url).rpartition("/")[2]
        if last in ("jobs", "batches", "executions"):
            return self._list(at, last, dict(request.params))
        self.asks.append(last)
        return _json(self._item(last, at, whole=True))

    def _list(self, at: float, items: str, params: Mapping[str, str]) -> Response:
        page = int(params.get("pageToken", 0))
        self.lists.append((at, page))
        names = [name for name, end in reversed(self.ends.items()) if self.history or at < end]
        shown = names[page * self.size : (page + 1) * self.size]
        found = self.tamper(page, [self._item(name, at) for name in shown])
        if isinstance(found, Response):
            return found
        more = {"nextPageToken": str(page + 1)} if len(names) > (page + 1) * self.size else {}
        return _json({items: found, **more})

    def _item(self, name: str, at: float, *, whole: bool = False) -> Item:
        job, done = self.make(name), at >= self.ends[name]
        if isinstance(job, BigQueryJob):
            state = "DONE" if done else "RUNNING"
            reference = {"jobId": name, "location": "US", "projectId": "p"}
            return {"jobReference": reference, "status": {"state": state}} | ({} if whole else {"state": state})
        if isinstance(job, DataprocJob):
            return {"reference": {"jobId": name}, "status": {"state": "DONE" if done else "RUNNING"}}
        if isinstance(job, DataprocBatchJob):
            state = "SUCCEEDED" if done else "RUNNING"
            return {"name": f"projects/p/locations/r/batches/{name}", "state": state}
        counts = {"taskCount": 1, "succeededCount": 1} if done else {"taskCount": 1, "runningCount": 1}
        ended = {"completionTime": "2026-01-01T00:00:00Z"} if done else {}
        state = "CONDITION_SUCCEEDED" if done else "CONDITION_RECONCILING"
        return {
            "name": f"projects/p/locations/r/jobs/nightly/executions/{name}",
            "conditions": [{"type": "Completed", "state": state}],
            **counts,
            **ended,
        }

    async def follow(self, name: str, poll_interval: float = 10.0) -> tuple[JobStatus, float]:
        """Wait for a job; return how and when that ended."""
        watch = Watch(
            ask=self.services.check,
            seat=lambda job: self.hub.seat(job, self.services, poll_interval),
            policy=Policy(poll_interval=poll_interval),
            clock=self.clock,
        )
        return await watch.follow(self.make(name)), self.clock.monotonic()

    async def follow_all(self, *names: str) -> dict[str, float]:
        """Wait for jobs that all succeed; return when each was known to have ended."""
        found = await asyncio.gather(*(self.follow(name) for name in names))
        assert {status.state for status, _ in found} == {JobState.SUCCEEDED}
        assert self.hub.scopes == {}
        return {name: at for name, (_, at) in zip(names, found, strict=True)}


def _json(value: Any, status: int = 200) -> Response:
    return Response(status=status, headers={"content-type": "application/json"}, body=json.dumps(value).encode())


def execution(name: str) -> CloudRunJob:
    return CloudRunJob(**PLACE, job_name="nightly", execution_id=name)


MAKE: dict[str, Callable[[str], Job]] = {
    "bigquery": lambda name: BigQueryJob(project="p", job_id=name),
    "dataproc": lambda name: DataprocJob(**PLACE, job_id=name),
    "dataproc_batch": lambda name: DataprocBatchJob(**PLACE, batch_id=name),
}


@pytest.fixture(params=MAKE)
def google(request: pytest.FixtureRequest) -> Google:
    return Google(MAKE[request.param], size=10)


async def test_many_pages(google: Google) -> None:
    """A list is read to its end, also the jobs that nobody waits for; each job is asked for once, at its end."""
    google.ends = {f"j{i}": NEVER if i % 2 else 20 for i in range(50)}
    known = await google.follow_all(*(f"j{i}" for i in range(0, 50, 2)))
    assert max(known.values()) <= 20 + 2.0 + 1.0
    assert sorted(google.asks) == sorted(known)
    assert max(page for _, page in google.lists) == 4


async def test_page_that_fails(google: Google) -> None:
    """A list of which a page is missing tells nothing of anybody: who is on that page has not ended."""
    google.ends = {f"j{i}": 30 for i in range(35)}
    broken = iter([False, False, True, True, False])
    google.tamper = lambda page, items: _json({}, 503) if page == 2 and next(broken, False) else items
    await google.follow_all(*google.ends)
    assert sorted(google.asks) == sorted(google.ends)


ODD: list[Any] = [
    7, "job", None, [], {}, {"name": None}, {"name": 7}, {"jobReference": None}, {"jobReference": {"jobId": "j1"}},
    {"jobReference": {"jobId": ["j1"], "location": "US"}, "state": "RUNNING"},
    {"jobReference": {"jobId": {}, "location": 7}, "state": []},
    {"reference": []}, {"reference": {"jobId": {"a": 1}}}, {"reference": {"jobId": "x"}, "status": "RUNNING"},
    {"name": "projects/p/locations/r/batches/x", "state": {"a": 1}},
]  # fmt: skip


async def test_odd_entries(google: Google) -> None:
    """Entries of a wrong shape, and names that cannot be looked up, are the trouble of nobody else."""
    google.ends = {f"j{i}": 20 for i in range(20)}
    google.tamper = lambda page, items: [*ODD, *items, *ODD]
    await google.follow_all(*google.ends)
    assert sorted(google.asks) == sorted(google.ends)


@pytest.mark.parametrize(
    "state", ["NEW_IN_2027", 7, None, [], {}, {"state": 7}, {"state": []}, {"state": "NEW_IN_2027"}], ids=repr
)
async def test_odd_state_of_one_job(google: Google, state: Any) -> None:
    """A job whose state in the list makes no sense is asked for itself at its interval; the others are not."""
    google.ends = {"odd": 50, "a": 50, "b": 50}

    def tamper(page: int, items: list[Any]) -> list[Any]:
        for item in items:
            if "odd" in json.dumps(item):
                item.update({name: state for name in ("state", "status") if name in item})
        return items

    google.tamper = tamper
    await google.follow_all("odd", "a", "b")
    assert [google.asks.count(name) for name in ("a", "b")] == [1, 1]
    assert 4 <= google.asks.count("odd") <= 8


@pytest.mark.parametrize("body", [[], "text", 7, None, {"jobs": 7, "batches": 7}, {"jobs": {}, "batches": {"a": 1}}])
async def test_answer_that_is_no_list(google: Google, body: Any) -> None:
    """An answer of another shape is a failure that may pass, or an empty list; jobs are known all the same."""
    google.ends = {"a": 30}
    google.tamper = lambda page, items: _json(body)
    known = await google.follow_all("a")
    assert known["a"] <= 30 + 11.2
    assert 2 <= len(google.asks) <= 7


async def test_same_page_for_ever(google: Google) -> None:
    """A service that names a next page without end is not followed for ever."""
    google.ends = {f"j{i}": 20 for i in range(25)}
    google.tamper = lambda page, items: _json({"jobs": [], "batches": [], "nextPageToken": "0"})
    await google.follow_all("j0")
    at = [start for start, _ in google.lists]
    assert all(at.count(start) == 1 for start in at)
    assert len(at) <= 20 * (35 / 2 + 2)


async def test_jobs_of_one_name_elsewhere() -> None:
    """BigQuery ids are unique in a location only: another job of that name says nothing of ours."""
    google = Google(MAKE["bigquery"])
    google.ends = {"j": NEVER, "other": 30}
    elsewhere = BigQueryJob(project="p", job_id="j", location="EU")
    google.make = lambda name: elsewhere if name == "j" else BigQueryJob(project="p", job_id=name)
    seat = google.hub.seat(elsewhere, google.services, 10)
    status = await seat.ask()
    assert (status.state, google.asks) == (JobState.RUNNING, ["j"])
    seat.leave()


# Cloud Run: where a list pays --------------------------------------------------------------------


async def test_few_executions_are_not_listed() -> None:
    """Nine of one job are asked for one by one."""
    google = Google(execution)
    google.ends = {f"e{i}": 30 for i in range(9)}
    await google.follow_all(*google.ends)
    assert google.lists == []


async def test_ten_executions_are_listed() -> None:
    """From ten on one list serves, and says how they ended; nine may ask before the tenth comes, and as the last."""
    google = Google(execution)
    google.ends = {f"e{i}": 30.0 for i in range(12)}
    known = await google.follow_all(*google.ends)
    assert len(google.lists) >= 14
    assert len(google.asks) <= 9 + 9
    assert max(known.values()) <= 30 + 2 + 1


async def test_executions_become_few() -> None:
    """When fewer than ten are left they are asked for one by one, at their interval."""
    google = Google(execution)
    google.ends = {f"e{i}": 20.0 if i < 5 else 60.0 for i in range(12)}
    await google.follow_all(*google.ends)
    assert max(start for start, _ in google.lists) <= 23
    assert all(google.asks.count(f"e{i}") <= 2 for i in range(5))
    assert all(3 <= google.asks.count(f"e{i}") <= 7 for i in range(5, 12))


async def test_what_the_last_list_told_is_not_asked_again() -> None:
    """Executions that one list says have all ended are known by that, also the last nine."""
    google = Google(execution)
    google.ends = {f"e{i}": 30.0 for i in range(12)}
    await google.follow_all(*google.ends)
    assert len(google.asks) <= 9


async def test_pages_of_executions() -> None:
    """A tenth of the waiting jobs is the number of pages at most, and paging stops when all are found."""
    google = Google(execution, size=5)
    old = {f"old{i}": -1.0 for i in range(60)}
    google.ends = {**{f"e{i}": 50.0 for i in range(5)}, **old, **{f"e{i}": 50.0 for i in range(5, 25)}}
    await google.follow_all(*(f"e{i}" for i in range(25)))
    assert {page for _, page in google.lists} == {0, 1}
    assert all(google.asks.count(f"e{i}") == 0 for i in range(15, 25)), "they are on the first two pages"
    assert all(5 <= google.asks.count(f"e{i}") <= 8 for i in range(5)), "they are behind the history"


async def test_paging_stops_when_all_are_found() -> None:
    """Older executions are nobody's."""
    google = Google(execution, size=20)
    google.ends = {**{f"old{i}": -1.0 for i in range(100)}, **{f"e{i}": 30.0 for i in range(20)}}
    await google.follow_all(*(f"e{i}" for i in range(20)))
    assert {page for _, page in google.lists} == {0}
    assert len(google.asks) <= 9 + 9


# Limits ------------------------------------------------------------------------------------------


async def test_a_page_is_asked_for_with_limits(google: Google) -> None:
    """A page is asked for before all who queue, and takes no longer than a list may."""
    google.ends = {"a": 5}
    await google.follow_all("a")
    pages = [request for request in google.door.requests if request.shared]
    assert len(pages) == len(google.lists)
    assert {request.timeout <= google.hub.rules.look_limit for request in pages} == {True}


async def test_pages_are_bounded(google: Google) -> None:
    """A list of more pages than that is cut; who is behind them is asked for by itself."""
    google.size = 1
    google.ends = {f"j{i}": 30 for i in range(30)}
    known = await google.follow_all("j0", "j29")
    assert max(page for _, page in google.lists) == 19
    assert google.asks.count("j29") == 1
    assert 3 <= google.asks.count("j0") <= 6
    assert max(known.values()) <= 30 + 11.2
