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
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ork_provider.errors import InvalidJob
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
    """

    nonce: str
    request_hash: str
    max_tries: int
    at: datetime
    deadline: datetime | None = None
    job: Job | None = None
    submitted: bool = False
    findable: bool = True

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
            "job": self.job.public_dict() if self.job else {},
            "submitted": self.submitted,
            **({} if self.findable else {"findable": False}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Attempt:
        """Read what ``to_dict`` wrote, in this release or an earlier one."""
        try:
            return cls(
                nonce=str(data["nonce"]),
                request_hash=str(data["request_hash"]),
                max_tries=int(data["max_tries"]),
                at=datetime.fromisoformat(data["at"]),
                deadline=datetime.fromisoformat(data["deadline"]) if data.get("deadline") else None,
                job=job_from_dict(data["job"]) if data.get("job") else None,
                submitted=bool(data.get("submitted")),
                findable=bool(data.get("findable", True)),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise InvalidJob(
                f"The task state store's {STORE_KEY!r} cannot be read ({exc!r}). A job of an earlier try may "
                f"still run; look for it in the service, then delete the key (task instance page, tab "
                f"'Task State Store'). It holds: {json.dumps(data)[:300]}"
            ) from exc


class AttemptStore:
    """The task's attempt in ``context["task_state_store"]``; in memory where there is none."""

    def __init__(self, context: Mapping[str, Any], log: Any) -> None:
        self._store = context.get("task_state_store")
        if self._store is None:
            log.warning("No task state store here: a next try will not find a job that this one starts")

    def load(self) -> Attempt | None:
        """Return what an earlier try left, if anything."""
        data = self._store.get(STORE_KEY) if self._store is not None else None
        return Attempt.from_dict(data) if data else None

    def save(self, attempt: Attempt) -> None:
        """Remember the attempt."""
        if self._store is not None:
            self._store.set(STORE_KEY, attempt.to_dict())

    def forget(self) -> None:
        """Forget it: certainly nothing was started."""
        if self._store is not None:
            self._store.delete(STORE_KEY)


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
