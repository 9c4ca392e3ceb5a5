"""Pages of the fakes' lists: the jobs behind the last one that was shown, without a walk over those before it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol, TypeVar


class Numbered(Protocol):
    """A job of a fake that counts its jobs."""

    @property
    def number(self) -> int:
        """1 for the oldest, more for each younger one."""


Job = TypeVar("Job", bound=Numbered)


def behind(stored: Iterable[Job], last: int | None, *, newest_first: bool = True) -> Iterator[Job]:
    """Go through jobs, stored oldest first, from the one behind the number `last`; through all if that is None."""
    jobs = list(stored)  # others may be stored meanwhile
    if newest_first:
        return reversed(jobs if last is None else jobs[: bisect_left(jobs, last, key=_number)])
    return iter(jobs if last is None else jobs[bisect_right(jobs, last, key=_number) :])


def page_of(jobs: Iterable[Job], size: int) -> tuple[list[Job], dict[str, str]]:
    """Return the first `size` jobs, and the `nextPageToken` if there are more: the number of the last one shown."""
    found = list(islice(jobs, size + 1))
    page = found[:size]
    return page, {"nextPageToken": str(page[-1].number)} if len(found) > size else {}


def _number(job: Numbered) -> int:
    return job.number
