"""The book-keeper of the chaos suite sees every breach: books that are right are passed, each false entry is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ork_provider.testing import Outcome
from tests.chaos.ledger import BAD, CANCELLED, GOOD, LIVE, Asked, Books, Life, Trouble, lives, overlap
from tests.chaos.plan import TIMEOUT, Work
from tests.support.cloud import Cloud, serve_cloud

WORKS = [
    Work(kind="http", ending="good", number=0, seconds=9.0),
    Work(kind="http", ending="bad", number=0, seconds=9.0),
    Work(kind="http", ending="late", number=0, seconds=1e6),
    Work(kind="watch", ending="good", number=0, seconds=9.0),
]
KILLED = Work(kind="http", ending="good", number=1, seconds=9.0)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """Serve the services, which do nothing here."""
    with serve_cloud() as served:
        yield served


def life(tag: str, began: float, ended: float, state: str, told: float | None = None) -> Life:
    return Life(tag, f"{tag}-{began:g}", began, ended, state, told)


def right(cloud: Cloud) -> Books:
    """Books of a run in which all went as it should, a kill and a retry included."""
    jobs = [
        life("http-good-0", 0, 9, CANCELLED, 8),  # its worker was told to stop
        life("http-good-0", 10, 19, GOOD),
        life("http-bad-0", 0, 9, BAD),
        life("http-late-0", 0, TIMEOUT + 1, CANCELLED, TIMEOUT),
        life("http-good-1", 0, 6, CANCELLED, 5),
        life("seeded-0", 0, 9, GOOD),
    ]
    asked = Asked(killed={"http-good-1": 5.0})
    asked.stopped["http-good-0"].append(8.0)
    states = {"http-good-0": "success", "http-bad-0": "failed", "http-late-0": "failed", "watch-good-0": "success"}
    states["http-good-1"] = "failed"
    return Books([*WORKS, KILLED], jobs, states, asked, [], cloud)


def test_books_that_are_right(cloud: Cloud) -> None:
    """Nothing is found, and everything was looked at."""
    books = right(cloud)
    assert books.violations() == []
    assert list(books.checked.values()) == [5, 5, 4, 5, 3, 1, 1]


def lose(books: Books) -> None:
    books.states["http-good-0"] = "deferred"


def forget(books: Books) -> None:
    del books.states["watch-good-0"]


def lie(books: Books) -> None:
    books.states["http-bad-0"] = "success"


def believe(books: Books) -> None:
    books.lives[1] = replace(books.lives[1], state=BAD)


def survive(books: Books) -> None:
    books.states["http-good-1"] = "success"


def double(books: Books) -> None:
    books.lives[1] = replace(books.lives[1], began=8.5)


def leave(books: Books) -> None:
    books.lives[4] = replace(books.lives[4], state=LIVE)


def overreach(books: Books) -> None:
    books.lives[2] = replace(books.lives[2], told=4.0)


def meddle(books: Books) -> None:
    books.lives[5] = replace(books.lives[5], told=4.0)


def dawdle(books: Books) -> None:
    books.lives[3] = replace(books.lives[3], told=TIMEOUT + 8.5, ended=TIMEOUT + 9)


FALSE = [
    (lose, ["every task has ended", "with its job's true outcome"]),
    (forget, ["every task has ended", "with its job's true outcome"]),
    (lie, ["with its job's true outcome"]),
    (believe, ["with its job's true outcome"]),
    (survive, ["with its job's true outcome"]),
    (double, ["never two live jobs of one task"]),
    (leave, ["no job is left running"]),
    (overreach, ["no job is cancelled that nobody asked to cancel"]),
    (meddle, ["no job is cancelled that nobody asked to cancel", "jobs of others are left alone"]),
    (dawdle, ["deadlines are kept"]),
]


@pytest.mark.parametrize(("falsify", "names"), FALSE, ids=[one[0].__name__ for one in FALSE])
def test_false_entry(cloud: Cloud, falsify: Callable[[Books], None], names: list[str]) -> None:
    """Each breach is reported under its invariant, and nothing else is."""
    books = right(cloud)
    falsify(books)
    assert [found.partition(":")[0] for found in books.violations()] == names


def test_trouble_excuses_its_own_time_only(cloud: Cloud) -> None:
    """A deadline may be late by the time in which nobody could keep it: Airflow, or the job's own service."""
    books = right(cloud)
    books.lives[3] = replace(books.lives[3], told=TIMEOUT + 20, ended=TIMEOUT + 21)
    down = (TIMEOUT - 5, TIMEOUT + 15)
    for service, excused in [(None, True), (cloud.http_jobs, True), (cloud.dqops, False)]:
        books.troubles = [Trouble(*down, service)]
        assert (books.violations() == []) is excused
    books.troubles = [Trouble(0, TIMEOUT)]
    assert len(books.violations()) == 1


def test_overlap() -> None:
    """Stretches that overlap count once, and only within the time that is asked about."""
    assert overlap([(0, 4), (2, 6), (8, 20)], 1, 10) == 5 + 2
    assert overlap([], 0, 10) == 0


def test_lives_are_the_fakes_own(cloud: Cloud) -> None:
    """A job is known by its tag; what became of it is what the service says."""
    cloud.bigquery.seed("mine", Outcome(pending=0, running=1000))
    (job,) = lives(cloud)
    assert (job.job_id, job.state, job.told) == ("mine", LIVE, None)
    cloud.bigquery.inserted[-1].cancel()
    (job,) = lives(cloud)
    assert (job.state, job.told is not None and job.told <= time.monotonic()) == (CANCELLED, True)
