"""Jobs in every form in which a task may hand them over; the one place that reads them.

A job is a ``Job``, its dict, or an object of ``ork_sdk`` (anything with ``service_type()`` and ``to_dict()``). Jobs
are one of these, a list of them, ``{"deferred": [...]}`` as Ork has it, or ``{"jobs": [...]}`` as our operators
return them; lists may hold lists, as the XCom of a mapped task does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from ork_provider.errors import InvalidJob
from ork_provider.job import KINDS, Job, describe, job_from_dict

CONTAINERS = ("deferred", "jobs")
"""Keys of a dict that hold jobs."""


@dataclass
class HandedOver:
    """What a task has handed over.

    :param jobs: the jobs, each once
    :param output: the other keys of the dict, if it was one
    :param problems: what could not be read, and where
    """

    jobs: tuple[Job, ...] = ()
    output: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_jobs(value: Any, where: str = "jobs") -> tuple[Job, ...]:
    """Return the jobs; raise InvalidJob that names all that is wrong."""
    found = read_handed_over(value, where)
    if found.problems:
        raise InvalidJob(" ".join(found.problems))
    return found.jobs


def read_handed_over(value: Any, where: str = "jobs", *, may_be_empty: bool = False) -> HandedOver:
    """Return the jobs that can be read, the rest of the dict, and what is wrong; nothing is lost.

    :param may_be_empty: whether there may be no job, as in what a generator returns after it has yielded its jobs
    """
    found = HandedOver()
    jobs: list[Job] = []
    if may_be_empty and isinstance(value, Mapping) and "service_type" not in value and not _containers_of(value):
        return HandedOver(output=dict(value))
    for item, place in _items(value, where):
        try:
            jobs.append(_read_job(item, place))
        except InvalidJob as exc:
            found.problems.append(str(exc))
        except Exception as exc:  # of a foreign object's own methods
            found.problems.append(f"{place}: {describe(item)} cannot be read ({type(exc).__name__}: {exc}).")
    found.jobs = tuple(dict.fromkeys(jobs))
    found.output = _rest(value)
    if not jobs and not found.problems and not may_be_empty:
        found.problems.append(f"{where}: no job in {describe(value)}. {EXPECTED}")
    return found


EXPECTED = (
    "Expected a job, a list of jobs or {'deferred': [...]}; a job is a dict with 'service_type' (known kinds: "
    f"{', '.join(KINDS)}) or a job object."
)


def _items(value: Any, where: str) -> Iterator[tuple[Any, str]]:
    """Go through containers; yield what must be a job, and where it is."""
    if isinstance(value, Mapping) and (keys := _containers_of(value)):
        for key in keys:
            yield from _items(value[key], f"{where}[{key!r}]")
    elif isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes):
        for i, item in enumerate(value):
            yield from _items(item, f"{where}[{i}]")
    else:
        yield value, where


def _containers_of(value: Mapping[str, Any]) -> list[str]:
    return [] if "service_type" in value else [key for key in CONTAINERS if key in value]


def _rest(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or "service_type" in value:
        return {}
    return {key: item for key, item in value.items() if key not in CONTAINERS}


def _read_job(item: Any, where: str) -> Job:
    if isinstance(item, Job):  # its fields are checked when it is read from a dict, as its trigger does later
        return job_from_dict(item.to_dict(), where)
    if isinstance(item, Mapping) and "service_type" in item:
        return job_from_dict(item, where)
    if callable(getattr(item, "service_type", None)) and callable(getattr(item, "to_dict", None)):
        return job_from_dict({"service_type": item.service_type(), **item.to_dict()}, where)
    raise InvalidJob(f"{where}: {describe(item)} is not a job. {EXPECTED}")
