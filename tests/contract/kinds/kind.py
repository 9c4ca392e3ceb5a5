"""What the contract needs to know of a kind of job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ork_provider.testing import Fault


@dataclass(kw_only=True)
class Kind:
    """A service under the contract.

    :param name: the kind's name on the wire (``service_type``)
    :param fake: the running fake service; the jobs that it has started have ``created_at``, ``cancelled_at`` (None
        unless cancelled) and ``cancel()``
    :param operator: makes an operator; ``what`` varies the request
    :param script: decides the outcome of jobs started from now on: seconds of running, whether it goes well (if not,
        "Syntax error" is part of the service's message), seconds pending
    :param started: every job that was really started, oldest first
    :param on_submit, on_status, on_cancel: which requests a fault is for, as ``"GET */jobs/*"``
    :param on_shared: the request that tells of all waiting jobs at once, if there is one
    :param result: arguments with which the operator fetches a result after success, if it can
    :param on_result: the request that fetches it
    :param watch: makes the dict of a job, from one of ``started``, as a watcher gets it
    :param on_search: the request that looks for a job whose answer was lost; where there is none the start is
        repeated, because the service knows a repeated request by itself
    """

    name: str
    fake: Any
    operator: Callable[..., Any]
    script: Callable[..., None]
    started: Callable[[], list[Any]]
    on_submit: str
    on_status: str
    on_cancel: str
    watch: Callable[[Any], Mapping[str, Any]]
    on_shared: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    on_result: str = ""
    on_search: str = ""

    def ask_one_by_one(self) -> None:
        """Refuse the request that tells of all jobs at once, so that each is asked for by itself."""
        if self.on_shared:
            self.fake.fail(Fault.google(403, "accessDenied"), on=self.on_shared, times=-1)

    def live(self) -> list[Any]:
        """Jobs that have not ended."""
        return list(self.fake.live())

    def cancels(self) -> int:
        """How many cancel requests reached the service."""
        return self._calls(self.on_cancel)

    def submits(self) -> int:
        """How many submit requests reached the service."""
        return self._calls(self.on_submit)

    def asks(self) -> int:
        """How many requests that ask for a job reached the service."""
        return self._calls(self.on_status)

    def _calls(self, on: str) -> int:
        method, _, path = on.partition(" ")
        return len(self.fake.calls(method, path))
