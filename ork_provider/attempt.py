"""What a task remembers of the job it started: the attempt, kept where deferral and retries find it again.

Airflow's task state store holds it (an XCom would be wiped at every try). It is written twice: before the call
that starts the job (the *intent*, with the id we are going to use) and after it (the job). So whatever kills a
worker, and whenever, the next try knows which job may exist.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from ork_provider.errors import MISSHAPEN, InvalidJob
from ork_provider.job import Job, describe, job_from_dict

STORE_KEY = "ork_attempt"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at running one job.

    :param nonce: 128 random bits in hex, part of every id, so that no other attempt can have the same id
    :param request_hash: sha256 of the rendered request; another one means that the user changed the task
    :param max_tries: the task instance's at that time; another one means that the user cleared the task
    :param at: when this was stored
    :param deadline: when the wait for this attempt ends, however often it is resumed
    :param job: the job; before the service's answer the one we are going to ask for, None if it names its jobs
        itself
    :param submitted: whether the service has confirmed the job
    :param findable: False if a request has been sent by which no job can be found again
    :param place: where a job is looked for that its service names; a changed request may be for another place
    """

    nonce: str
    request_hash: str
    max_tries: int
    at: datetime
    deadline: datetime | None = None
    job: Job | None = None
    submitted: bool = False
    findable: bool = True
    place: Mapping[str, str] = field(default_factory=dict)

    def confirmed(self, job: Job, at: datetime) -> Attempt:
        """Return the attempt after the service's answer."""
        return replace(self, job=job, submitted=True, at=at)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, without secrets."""
        return {
            "version": 1,
            "nonce": self.nonce,
            "request_hash": self.request_hash,
            "max_tries": self.max_tries,
            "at": self.at.isoformat(),
            "deadline": self.deadline.isoformat() if self.deadline else "",
            "job": self.job.sealed_dict() if self.job else {},
            "submitted": self.submitted,
            **({} if self.findable else {"findable": False}),
            **({"place": dict(self.place)} if self.place else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Attempt:
        """Read what ``to_dict`` wrote, in this release or an earlier one."""
        try:
            return cls(
                nonce=str(data["nonce"]),
                request_hash=str(data["request_hash"]),
                max_tries=int(data["max_tries"]),
                at=_read_time(data["at"]),
                deadline=_read_time(data["deadline"]) if data.get("deadline") else None,
                job=job_from_dict(data["job"]) if data.get("job") else None,
                submitted=bool(data.get("submitted")),
                findable=bool(data.get("findable", True)),
                place={str(name): str(value) for name, value in (data.get("place") or {}).items()},
            )
        except MISSHAPEN as exc:
            raise _unreadable(data, exc) from exc


@dataclass(frozen=True, kw_only=True)
class Handover:
    """The jobs that a task's own code has started and handed over, in one try.

    :param jobs: the jobs
    :param output: what else the code returned, as Airflow serializes it
    :param max_tries: as in Attempt
    :param at: when the code began
    :param deadline: as in Attempt
    :param complete: whether the code has come to its end
    """

    jobs: tuple[Job, ...]
    max_tries: int
    at: datetime
    output: Any = None
    deadline: datetime | None = None
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, without secrets."""
        return {
            "version": 1,
            "jobs": [job.sealed_dict() for job in self.jobs],
            "output": self.output,
            "max_tries": self.max_tries,
            "at": self.at.isoformat(),
            "deadline": self.deadline.isoformat() if self.deadline else "",
            "complete": self.complete,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Handover:
        """Read what ``to_dict`` wrote, in this release or an earlier one."""
        try:
            return cls(
                jobs=tuple(job_from_dict(job) for job in data["jobs"]),
                max_tries=int(data["max_tries"]),
                at=_read_time(data["at"]),
                output=data.get("output"),
                deadline=_read_time(data["deadline"]) if data.get("deadline") else None,
                complete=bool(data.get("complete", True)),
            )
        except MISSHAPEN as exc:
            raise _unreadable(data, exc) from exc


def _read_time(text: str) -> datetime:
    """Read a time; one without a zone could not be compared with ours."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"a time without a zone: {text!r}")
    return time


def _unreadable(data: Any, exc: Exception) -> InvalidJob:
    try:
        holds = json.dumps(data)[:300]
    except (TypeError, ValueError, RecursionError):
        holds = describe(data)
    return InvalidJob(
        f"The task state store's {STORE_KEY!r} cannot be read ({repr(exc)[:500]}). A job of an earlier try may "
        f"still run; look for it in the service, then delete the key (task instance page, tab "
        f"'Task State Store'). It holds: {holds}"
    )


Kept = TypeVar("Kept", Attempt, Handover)


class Store(Generic[Kept]):
    """What a task remembers, in ``context["task_state_store"]``; nothing is kept where there is none.

    :param of: the class of what it remembers
    """

    def __init__(self, context: Mapping[str, Any], log: Any, of: type[Kept]) -> None:
        self._of: type[Kept] = of
        self._store = context.get("task_state_store")
        if self._store is None:
            log.warning("No task state store here: a next try will not find a job that this one starts")

    def load(self) -> Kept | None:
        """Return what an earlier try left, if anything."""
        data = self._store.get(STORE_KEY) if self._store is not None else None
        return self._of.from_dict(data) if data else None

    def save(self, kept: Kept) -> None:
        """Remember it."""
        if self._store is not None:
            self._store.set(STORE_KEY, kept.to_dict())

    def forget(self) -> None:
        """Forget it: certainly nothing was started."""
        if self._store is not None:
            self._store.delete(STORE_KEY)


class AttemptStore(Store[Attempt]):
    """Remembers the attempt of an operator that starts one job."""

    def __init__(self, context: Mapping[str, Any], log: Any) -> None:
        super().__init__(context, log, Attempt)


def new_nonce() -> str:
    """Return 128 random bits in hex."""
    return secrets.token_hex(16)


def hash_request(request: Mapping[str, Any]) -> str:
    """Return the sha256 of a rendered request."""
    try:
        canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as exc:
        raise InvalidJob(f"The rendered request cannot be sent as JSON ({exc}): {describe(request)}") from exc
    return hashlib.sha256(canonical.encode()).hexdigest()


def readable_id(ti: Any, nonce: str, *, limit: int, separator: str = "_") -> str:
    """Return an id for a new job: a slug of dag, task and map index that a person knows again, and the nonce.

    :param limit: characters that the service allows; the slug is cut, never the nonce
    """
    parts = ["airflow", ti.dag_id, ti.task_id]
    if ti.map_index is not None and ti.map_index >= 0:
        parts.append(str(ti.map_index))
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", separator.join(parts))
    return f"{slug[: min(200, limit - len(nonce) - 1)]}{separator}{nonce}"
