"""The book-keeper: what the fakes' own log says of every job, and whether what Airflow says of the tasks agrees.

It knows nothing of operators, triggers or the state store. A job belongs to the task whose tag it carries; its life is
what the fake did with it. All times are readings of this machine's monotonic clock, which the fakes and the monkey use.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ork_provider.testing import FakeServer
from tests.chaos.plan import POLL_INTERVAL, TIMEOUT, Work
from tests.support.cloud import Cloud

GOOD, BAD, CANCELLED, LIVE = "succeeded", "failed", "cancelled", "live"
KEPT = POLL_INTERVAL + 5.0
"""Seconds after its deadline in which a job must have been told to stop."""


@dataclass(frozen=True)
class Life:
    """One job: when it began and ended, what became of it, and when it was told to stop, if ever."""

    tag: str
    job_id: str
    began: float
    ended: float
    state: str
    told: float | None


@dataclass(frozen=True)
class Trouble:
    """A stretch of time in which something was down that tasks need: a part of Airflow, or one service."""

    start: float
    end: float
    service: FakeServer | None = None


@dataclass
class Asked:
    """What was done to tasks on purpose, by tag: only their jobs may be cancelled.

    `killed` and `cleared` by a user while a live process owned the task, `unowned`: killed while none did; `stopped`:
    their worker was told to stop; `struck`: their worker was killed. Who was killed unowned is tried again in the end.
    """

    killed: dict[str, float] = field(default_factory=dict)
    cleared: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    unowned: dict[str, float] = field(default_factory=dict)
    stopped: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    struck: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def may_be_cancelled(self, tag: str) -> bool:
        """Say if there is a reason to cancel a job of the task."""
        known = (self.killed, self.cleared, self.unowned, self.stopped)
        return any(tag in asked for asked in known) or "-late-" in tag


def lives(cloud: Cloud) -> list[Life]:
    """Return the life of every job that carries a tag, oldest first."""
    return sorted(_all_lives(cloud), key=lambda life: life.began)


def _all_lives(cloud: Cloud) -> Iterator[Life]:
    now = time.monotonic()
    for query in cloud.bigquery.inserted:
        state = LIVE if query.state != "DONE" else _state(query.error and query.error.get("reason"))
        yield Life(_quoted(query.sql), query.job_id, query.created_at, query.work.ended_at, state, query.cancelled_at)
    for job in cloud.http_jobs.created:
        state = {"completed": GOOD, "failed": BAD, "cancelled": CANCELLED}.get(job.status, LIVE)
        natural = job.created_at + job.outcome.pending + job.outcome.running
        ended = job.cancelled_at if state == CANCELLED and job.cancelled_at is not None else natural
        yield Life(job.body["tag"], job.job_id, job.created_at, ended, state, job.cancelled_at)
    for run in cloud.cloud_run.started:
        state = {"SUCCEEDED": GOOD, "FAILED": BAD, "CANCELLED": CANCELLED}.get(run.state, LIVE)
        yield Life(run.env["TAG"], run.execution_id, run.created_at, run.ended_at, state, run.cancelled_at)
    for item in (*cloud.dataproc.jobs.values(), *cloud.dataproc.batches.values()):
        state = {"DONE": GOOD, "SUCCEEDED": GOOD, "CANCELLED": CANCELLED}.get(item.state, BAD)
        state = state if item.ended else LIVE
        spark = item.resource.get("pysparkJob") or item.resource["pysparkBatch"]
        yield Life(spark["args"][0], item.name, item.created_at, item.ended_at, state, item.cancelled_at)
    for check in cloud.dqops.started:
        state = {"finished": GOOD, "failed": BAD, "cancelled": CANCELLED}.get(check.status, LIVE)
        ended = check.moves()[-1][0] if check.done else now
        tag = check.body["check_search_filters"]["connection"]
        yield Life(tag, str(check.job_id), check.created_at, ended, state, check.cancelled_at)


def _state(reason: Any) -> str:
    return {None: GOOD, "stopped": CANCELLED}.get(reason, BAD)


def _quoted(sql: str) -> str:
    found = re.search(r"'([^']+)'", sql)
    return found.group(1) if found else sql


@dataclass
class Books:
    """Everything that is known in the end.

    :param states: what Airflow says each task came to, by tag
    """

    works: list[Work]
    lives: list[Life]
    states: dict[str, str]
    asked: Asked
    troubles: list[Trouble]
    cloud: Cloud
    checked: dict[str, int] = field(default_factory=dict)

    def violations(self) -> list[str]:
        """Return every breach of an invariant; `checked` says how often each one was looked at."""
        found: list[str] = []
        for name, check in {
            "every task has ended": self._unended,
            "with its job's true outcome": self._untrue,
            "never two live jobs of one task": self._doubled,
            "no job is left running": self._left,
            "no job is cancelled that nobody asked to cancel": self._unasked,
            "jobs of others are left alone": self._touched,
            "deadlines are kept": self._late,
        }.items():
            self.checked[name] = 0
            for subject, problem in check():
                self.checked[name] += 1
                if problem:
                    found.append(f"{name}: {subject}: {problem}")
        return found

    def by_tag(self) -> dict[str, list[Life]]:
        """Return each task's jobs, oldest first."""
        grouped: dict[str, list[Life]] = defaultdict(list)
        for life in self.lives:
            grouped[life.tag].append(life)
        return grouped

    def _unended(self) -> Iterator[tuple[str, str]]:
        for work in self.works:
            state = self.states.get(work.tag, "missing")
            yield work.tag, "" if state in ("success", "failed") else f"is {state}"

    def _untrue(self) -> Iterator[tuple[str, str]]:
        jobs = self.by_tag()
        for work in self.works:
            state, own = self.states.get(work.tag), jobs.get(work.tag, [])
            last = own[-1].state if own else "none"
            if work.tag in self.asked.killed:
                wanted = "failed"
            elif work.kind == "watch" or work.tag in self.asked.unowned:  # which was tried again, with a good job
                wanted = "success"
            else:
                wanted = "success" if work.ending == "good" else "failed"
            problem = "" if state == wanted else f"is {state}, expected {wanted}; its last job is {last}"
            if not problem and wanted == "success" and work.kind != "watch" and last != GOOD:
                problem = f"is a success, but its last job is {last}"
            yield work.tag, problem

    def _doubled(self) -> Iterator[tuple[str, str]]:
        for tag, own in self.by_tag().items():
            if tag.startswith("seeded"):
                continue
            for before, after in pairwise(own):
                overlap = before.ended - after.began
                problem = f"{before.job_id} ({before.state}) and {after.job_id} lived together for {overlap:.2f} s"
                yield tag, problem if overlap > 0 else ""
            if len(own) == 1:
                yield tag, ""

    def _left(self) -> Iterator[tuple[str, str]]:
        for life in self.lives:
            if not life.tag.startswith("seeded"):
                yield life.tag, f"{life.job_id} still runs" if life.state == LIVE else ""

    def _unasked(self) -> Iterator[tuple[str, str]]:
        for life in self.lives:
            if life.told is not None:
                yield life.tag, "" if self.asked.may_be_cancelled(life.tag) else f"{life.job_id} was told to stop"

    def _touched(self) -> Iterator[tuple[str, str]]:
        for life in self.lives:
            if life.tag.startswith("seeded"):
                yield life.tag, f"{life.job_id} was told to stop" if life.told is not None else ""

    def _late(self) -> Iterator[tuple[str, str]]:
        for life in self.late():
            late = self.lateness(life)
            yield life.tag, f"{life.job_id} was told to stop {late:.1f} s too late" if late > KEPT else ""

    def lateness(self, life: Life) -> float:
        """Return how many seconds after its deadline a job was told to stop, less those in which nobody could."""
        assert life.told is not None
        service = self.cloud.of_kind(life.tag.partition("-")[0])
        troubles = [(one.start, one.end) for one in self.troubles if one.service in (None, service)]
        return self.raw_lateness(life) - overlap(troubles, life.began + TIMEOUT, life.told)

    def raw_lateness(self, life: Life) -> float:
        """Return how many seconds after its deadline a job was told to stop, whatever the trouble."""
        assert life.told is not None
        return life.told - life.began - TIMEOUT

    def late(self) -> list[Life]:
        """Return the jobs that were told to stop at their deadlines; who was killed unseen has none that counts."""
        return [
            life
            for life in self.lives
            if "-late-" in life.tag and life.told is not None and life.tag not in self.asked.unowned
        ]


def overlap(stretches: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """Return how much of a stretch of time lies within others, which may overlap."""
    covered, reached = 0.0, start
    for first, last in sorted(stretches):
        begin, finish = max(first, reached), min(last, end)
        if finish > begin:
            covered += finish - begin
            reached = finish
    return covered
