"""A job is a value: a frozen set of JSON fields that names one piece of work somewhere else.

Its fields are written once, in a dataclass. The wire format (what crosses XCom, trigger kwargs and a task's
return value) is ``to_dict()``: the fields, ``service_type`` (the kind) and ``job_id`` (what the service
calls it). ``job_from_dict()`` reads it back and says which field is wrong when one is.
"""

from __future__ import annotations

import sys
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

from ork_provider.errors import InvalidJob
from ork_provider.portable import is_portable_int, is_portable_text, portable
from ork_provider.session.secrets import hide_secrets
from ork_provider.text import WORD, one_line

KINDS: dict[str, str] = {
    "bigquery": "ork_provider.bigquery:BigQueryJob",
    "cloudrun": "ork_provider.cloud_run:CloudRunJob",
    "custom_http": "ork_provider.http:HttpJob",
    "dataproc": "ork_provider.dataproc:DataprocJob",
    "dataproc_batch": "ork_provider.dataproc:DataprocBatchJob",
    "dependency": "ork_provider.dependency:TaskDependency",
    "dqops": "ork_provider.dqops:DqopsJob",
}
"""Every kind of job and where its class lives. A table, because a registry that imports fill is empty in
the triggerer."""

INTERNED = 100
"""Characters of the longest text of a job of which there is one copy, however many jobs have it."""

DERIVED = frozenset({"service_type", "job_id", "state", "message", "stats", "link"})
"""Keys that a job dict may carry beside the fields: the wire format's own and those of an event."""


class JobState(str, Enum):
    """What a job has come to, in the words of every event and XCom."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether the job will never change again."""
        return self is not JobState.RUNNING


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStatus:
    """One answer to "how is the job?".

    :param state: what it came to so far
    :param remote_state: the service's own word for it, such as ``PENDING``
    :param message: the service's own words when it failed, or progress while it runs
    :param stats: what it cost and did; JSON values, units in the names

    Both texts are made one line of a limited length, because they go into logs, messages, events and XComs.
    """

    state: JobState
    remote_state: str = ""
    message: str = ""
    stats: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "remote_state", one_line(self.remote_state, WORD))
        object.__setattr__(self, "message", one_line(self.message))


@dataclass(frozen=True, kw_only=True)
class Job(ABC):
    """Base of all jobs.

    :param conn_id: the Airflow connection to ask with; the operator's when None
    """

    kind: ClassVar[str]
    service: ClassVar[str]
    """``module:Class`` of the service that can submit, check and cancel this kind."""

    lost_words: ClassVar[str] = "is no longer known to its service"
    """What is said of a lost one."""

    conn_id: str | None = None

    @property
    @abstractmethod
    def remote_id(self) -> str:
        """What the service calls this job; ``job_id`` on the wire."""

    @property
    def link(self) -> str | None:
        """Page of the job in the service's own console, where there is one."""
        return None

    @property
    def secrets(self) -> Set[str]:
        """Texts of the job that no log may show."""
        return frozenset()

    def to_dict(self) -> dict[str, Any]:
        """Return the wire format: plain JSON, complete, without secrets of a connection."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.conn_id is None:
            del values["conn_id"]
        return {"service_type": self.kind, "job_id": self.remote_id, **values}

    def public_dict(self) -> dict[str, Any]:
        """Return the wire format for XCom and events: as ``to_dict()``, less what is secret."""
        return self.to_dict()

    def sealed_dict(self) -> dict[str, Any]:
        """Return the wire format for what must be able to ask later: what is secret is encrypted, or left out."""
        return self.to_dict()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "job") -> Job:
        """Read the wire format; raise InvalidJob that names the field if it cannot be read."""
        known = {f.name: f for f in fields(cls)}
        data = cls.read_aliases(data)
        if unknown := sorted(str(name) for name in set(data) - set(known) - DERIVED):
            _warn_unknown(cls.__name__, tuple(unknown))
        for name, f in known.items():
            if name in data:
                check_type(data[name], _hints(cls)[name], f"{where}.{name}")
            elif f.default is MISSING and f.default_factory is MISSING:
                raise InvalidJob(f"{where}.{name}: missing; a {cls.kind} job needs it. Got {describe(data)}.")
        return cls(**{name: _as_json(data[name]) for name in known if name in data})

    @classmethod
    def read_aliases(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return ``data`` with other accepted spellings of the fields replaced by ours."""
        return data

    def __str__(self) -> str:
        return f"{self.kind} job {self.remote_id}"


def job_class(kind: object, where: str = "job") -> type[Job]:
    """Return the class of a kind; raise InvalidJob with the known kinds if there is none."""
    path = KINDS.get(kind) if isinstance(kind, str) else None
    if path is None:
        raise InvalidJob(f"{where}.service_type: unknown job kind {show(kind)}; known kinds: {', '.join(KINDS)}.")
    loaded: type[Job] = load(path)
    return loaded


def job_from_dict(data: object, where: str = "job") -> Job:
    """Read one job of any kind from its wire format."""
    if isinstance(data, Job):
        return data
    if not isinstance(data, Mapping):
        raise InvalidJob(f"{where}: expected a job dict with 'service_type', got {describe(data)}.")
    return job_class(data.get("service_type"), where).from_dict(data, where)


def jobs_from_dicts(data: object, where: str = "jobs") -> tuple[Job, ...]:
    """Read a non-empty list of jobs."""
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Sequence) or not data:
        raise InvalidJob(f"{where}: expected a non-empty list of job dicts, got {describe(data)}.")
    return tuple(job_from_dict(item, f"{where}[{i}]") for i, item in enumerate(data))


def describe_job(job: Job, status: JobStatus, *, sealed: bool = False) -> dict[str, Any]:
    """Return the job as events (``sealed``) and XComs list it: its dict + state, message, stats and link."""
    listed: dict[str, Any] = portable(
        {
            **(job.sealed_dict() if sealed else job.public_dict()),
            "state": status.state.value,
            "message": status.message,
            "stats": status.stats,
            "link": job.link,
        }
    )
    return listed


def cancel_by_hand(job: Job, why: object) -> str:
    """Say that a job could not be cancelled, and what a person must do."""
    return f"{job} could not be cancelled: {why}. Cancel it by hand: {job.link or 'in the service'}"


@cache
def load(path: str) -> Any:
    """Import ``module:name``."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def describe(value: object) -> str:
    """Say briefly what a wrong value is, without spilling a large one or a secret."""
    return f"{type(value).__name__} {show(value)}"


def show(value: object) -> str:
    """Write a value out, cut to one line."""
    try:
        text = repr(hide_secrets(value))
    except (ValueError, RecursionError):  # Python writes out neither 5000 digits nor 1000 lists within lists
        return "too large to be shown"
    return text if len(text) <= 80 else text[:77] + "..."


def check_type(value: object, hint: Any, where: str) -> None:
    """Raise InvalidJob naming ``where`` if ``value`` is not of the annotated type, or cannot be stored."""
    if not _matches(value, hint):
        raise InvalidJob(f"{where}: expected {_spell(hint)}, got {describe(value)}{_why_not(value)}.")


def _why_not(value: object) -> str:
    """Say why a value is refused although its type may be the right one."""
    if isinstance(value, str) and not is_portable_text(value):
        return "; a text with NUL or half a character cannot be stored"
    if isinstance(value, int) and not is_portable_int(value):
        return "; a number of more than 64 bits cannot be stored"
    return ""


def _as_json(value: Any) -> Any:
    """Return a tuple, which Airflow's serializer keeps as one, as the list that it was in JSON.

    A short text is one that others have as well: thousands of jobs are of one project.
    """
    if type(value) is str and len(value) <= INTERNED:
        return sys.intern(value)
    return list(value) if isinstance(value, tuple) else value


@cache
def _hints(cls: type[Job]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _matches(value: object, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, option) for option in inner)
    if origin is list:
        return isinstance(value, list | tuple) and all(_matches(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_matches(item, inner[1]) for item in value.values())
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float if hint is float else hint) and not _why_not(value)


def _spell(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


@cache  # once per process and set of names: a job dict is read again at every restart
def _warn_unknown(owner: str, names: tuple[str, ...]) -> None:
    import logging

    logging.getLogger(__name__).warning("%s: ignoring unknown fields %s", owner, ", ".join(names))
