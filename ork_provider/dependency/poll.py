"""The poll that all who wait for runs of one DAG share, and what one look says of each dependency."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from ork_provider import metrics
from ork_provider.dependency.job import END, TaskDependency, read_date
from ork_provider.dependency.source import ENDED, RunStates, Source, TooMany
from ork_provider.dependency.status import FAILED, GONE, DependencyStatus, Instance, States, name_of, sum_up
from ork_provider.job import JobState, JobStatus
from ork_provider.service import Listing

OVER_EVERY = 60.0
"""Seconds from one look at whether runs are over in which nothing that is wanted has begun, to the next."""


@dataclass
class Looked:
    """What one look has found.

    :param runs: the states of runs, of those that somebody waits for as a whole
    :param existing: runs of which it was asked whether they exist, and that do
    :param tasks: the states of tasks, by what they were asked for: task ids or a group
    :param dates: runs of logical dates
    :param first: the first run of a DAG that had none
    :param over: the states of runs that are over although what is wanted of them has not begun
    :param sums: what this comes to, by what is waited for
    """

    runs: dict[str, str] = field(default_factory=dict)
    existing: set[str] = field(default_factory=set)
    tasks: RunStates = field(default_factory=dict)
    groups: dict[str, RunStates | None] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    first: str | None = None
    over: dict[str, str] = field(default_factory=dict)
    sums: dict[Hashable, DependencyStatus] = field(default_factory=dict)


class DagPoll(Listing):
    """Asks for the runs of one DAG that are waited for, in as few requests as its Airflow allows.

    It lives as long as its service: what is known to exist, or to be absent, is not asked for anew each time.

    :param turns: for one that does not live that long: when it was asked last whether runs are over
    """

    interval = float("inf")  # only as often as those who wait want it
    limit = 60.0  # many requests one after the other, of which a busy supervisor may take seconds for each

    def __init__(self, source: Source, where: Hashable, dag_id: str, turns: Turns | None = None) -> None:
        self._source = source
        self._where = where
        self._dag_id = dag_id
        self._turns = turns
        self._over_due = time.monotonic() + random.uniform(0, OVER_EVERY)  # the workers have asked; not all at once
        self._dates: dict[str, str] = {}
        self._first: str | None = None
        self._too_many = ""
        self._absent: set[str] = set()

    @property
    def key(self) -> Hashable:
        """See Shared."""
        return ("dependency", self._where, self._dag_id)

    def name(self, job: TaskDependency) -> Hashable:
        """See Shared: the dependency itself."""
        return Wanted(job)

    def read(self, told: Any) -> JobStatus | None:
        """See Shared."""
        status: DependencyStatus = told
        return status.to_job_status()

    def __str__(self) -> str:
        return f"The look at the runs of DAG {self._dag_id}"

    async def look(self, names: Collection[Hashable]) -> dict[Hashable, Any]:
        """See Listing."""
        metrics.looked(self._dag_id)
        wanted = [name.job for name in names if isinstance(name, Wanted)]
        looked = await self._look(wanted)
        return {Wanted(job): self._status_of(job, looked) for job in wanted}

    # -- asking ------------------------------------------------------------------------------------------------

    async def _look(self, wanted: Collection[TaskDependency]) -> Looked:
        await self._find_runs(wanted)
        looked = Looked(dates=self._dates, first=self._first)
        run_ids = {job: run_id for job in wanted if (run_id := self._run_id_of(job))}
        await self._find_absent(set(run_ids.values()))
        there = {job: run_id for job, run_id in run_ids.items() if run_id not in self._absent}
        whole = {run_id for job, run_id in there.items() if not job.which_tasks}
        if whole:
            looked.runs = await self._source.run_states(self._dag_id, whole)
            self._absent |= whole - looked.runs.keys()
        await self._look_at_tasks(there, looked)
        await self._look_for_runs(there, looked)
        await self._look_for_ends(there, looked)
        return looked

    async def _find_runs(self, wanted: Collection[TaskDependency]) -> None:
        """Find out which runs are meant; what is no longer wanted, or has been deleted, is forgotten."""
        dates = {job.logical_date for job in wanted if job.logical_date}
        self._dates = {date: run for date, run in self._dates.items() if date in dates and run not in self._absent}
        if unknown := dates - self._dates.keys():  # what is found stays so, even if this look is cut short
            async for date, run_id in self._source.runs_of_dates(self._dag_id, unknown):
                self._dates[date] = run_id
        if not any(job.run for job in wanted) or self._first in self._absent:
            self._first = None
        if self._first is None and any(job.run for job in wanted):
            try:
                self._first, self._too_many = await self._source.first_run(self._dag_id), ""
            except TooMany as exc:  # which is nothing to those who wait for other runs
                self._too_many = str(exc)

    async def _find_absent(self, run_ids: set[str]) -> None:
        """Ask whether runs that did not exist do so now."""
        self._absent &= run_ids
        if self._absent:
            self._absent -= await self._source.existing(self._dag_id, self._absent)

    async def _look_at_tasks(self, there: Mapping[TaskDependency, str], looked: Looked) -> None:
        """Ask for the tasks of all dependencies at once, and for each group."""
        run_ids = {run_id for job, run_id in there.items() if job.task_ids}
        task_ids = {task_id for job in there for task_id in job.task_ids}
        if run_ids:
            found = await self._source.task_states(self._dag_id, run_ids, task_ids)
            looked.tasks = {**looked.tasks, **found}
        groups: dict[str, set[str]] = defaultdict(set)
        for job, run_id in there.items():
            if job.task_group_id:
                groups[job.task_group_id].add(run_id)
        for group_id, of_runs in groups.items():
            found_in_group = await self._source.group_states(self._dag_id, of_runs, group_id)
            known = looked.groups.get(group_id)
            looked.groups[group_id] = {**known, **found_in_group} if known and found_in_group else found_in_group

    async def _look_for_runs(self, there: Mapping[TaskDependency, str], looked: Looked) -> None:
        """Ask whether runs exist of which nothing was said."""
        silent = {
            run_id for job, run_id in there.items() if job.which_tasks and run_id not in (_states_of(job, looked) or {})
        }
        if silent:
            looked.existing = await self._source.existing(self._dag_id, silent)
            self._absent |= silent - looked.existing

    async def _look_for_ends(self, there: Mapping[TaskDependency, str], looked: Looked) -> None:
        """Ask whether runs are over although what is wanted of them has not begun: then it never will.

        The tasks are looked at again before it is believed, as they may have run meanwhile, and the runs after that,
        as they may have been cleared.
        """
        idle = [job for job in there if job.which_tasks and _is_idle(self._status_of(job, looked))]
        if not idle or not self._has_turn(idle):
            return
        over = await self._over({there[job] for job in idle})
        if over:
            await self._look_at_tasks({job: run_id for job, run_id in there.items() if run_id in over}, looked)
            looked.over = await self._over(over.keys())
            looked.sums.clear()

    def _has_turn(self, idle: Iterable[TaskDependency]) -> bool:
        """Whether it is time to ask again if runs are over."""
        if self._turns is not None:
            return self._turns.take((self._dag_id, frozenset(map(Wanted, idle))))
        due = time.monotonic() >= self._over_due
        if due:
            self._over_due = time.monotonic() + OVER_EVERY
        return due

    async def _over(self, run_ids: Collection[str]) -> dict[str, str]:
        states = await self._source.run_states(self._dag_id, run_ids)
        return {run_id: state for run_id, state in states.items() if state in ENDED}

    def _run_id_of(self, job: TaskDependency) -> str | None:
        if job.run_id:
            return job.run_id
        return self._dates.get(job.logical_date) if job.logical_date else self._first

    # -- reading -----------------------------------------------------------------------------------------------

    def _status_of(self, job: TaskDependency, looked: Looked) -> DependencyStatus:
        """Read what a look says of a dependency; all who wait for the same are told the same, but for the time."""
        what = _what(job)
        if what not in looked.sums:
            looked.sums[what] = self._sum_up(job, looked)
        status = looked.sums[what]
        waiting = status.missing and status.state is JobState.RUNNING
        return replace(status, state=JobState.LOST) if waiting and _is_late(job) else status

    def _sum_up(self, job: TaskDependency, looked: Looked) -> DependencyStatus:
        run_id = self._run_id_of(job)
        if run_id is None and job.run and self._too_many:
            return DependencyStatus(run_state=f"unknown: {self._too_many}", state=JobState.LOST)
        if run_id is None or run_id in self._absent:
            return _missing([f"run {job.which_run} of DAG {self._dag_id}"])
        if not job.which_tasks:
            return _status_of_run(job, run_id, looked.runs[run_id])
        found = _states_of(job, looked)
        if found is None:
            return _missing([f"group {job.task_group_id} of DAG {self._dag_id}"])
        states = {instance: state for instance, state in found.get(run_id, {}).items() if state not in GONE}
        chosen = dict(_choose(job, states))
        status = sum_up(chosen, end=job.wait_for == END, run_id=run_id)
        if run_id in looked.over and _is_idle(status):
            status = _given_up(status, looked.over[run_id], end=job.wait_for == END)
        if absent := _absent(job, states, chosen):
            where = f"of DAG {self._dag_id}, run {run_id}"
            return _missing([f"{name} {where}" for name in absent], status)
        return status


class Wanted:
    """A dependency as a name: equal ones are the same, whichever task waits."""

    __slots__ = ("_key", "job")

    def __init__(self, job: TaskDependency) -> None:
        self.job = job
        self._key = (job, tuple(job.task_ids), tuple(job.map_indexes))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wanted) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class Turns:
    """When it was asked last whether runs are over, by what is waited for."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}

    def take(self, name: Hashable) -> bool:
        """Whether it may be asked now."""
        now = time.monotonic()
        self._until = {known: until for known, until in self._until.items() if until > now}
        if name in self._until:
            return False
        self._until[name] = now + OVER_EVERY
        return True


def _states_of(job: TaskDependency, looked: Looked) -> RunStates | None:
    return looked.groups.get(job.task_group_id) if job.task_group_id else looked.tasks


def _choose(job: TaskDependency, states: States) -> Iterable[tuple[Instance, str | None]]:
    """Return the instances that a dependency is about; a mapped task that has not been expanded yet counts as one."""
    for instance, state in states.items():
        task_id, index = instance
        mine = not job.task_ids or task_id in job.task_ids
        if mine and (not job.map_indexes or index < 0 or index in job.map_indexes):
            yield instance, state


def _absent(job: TaskDependency, states: States, chosen: Mapping[Instance, str | None]) -> list[str]:
    """Return the names of tasks and instances that the run does not have."""
    known = {task_id for task_id, _ in states}
    if job.task_group_id and not states:
        return [f"a task of group {job.task_group_id}"]
    tasks = job.task_ids or sorted(known)
    absent = [task_id for task_id in tasks if task_id not in known]
    for task_id in sorted(set(tasks) & known):
        if (task_id, -1) not in chosen:  # it has been expanded
            absent += [name_of((task_id, i)) for i in job.map_indexes if (task_id, i) not in chosen]
    return absent


def _status_of_run(job: TaskDependency, run_id: str, state: str) -> DependencyStatus:
    if state not in ENDED:
        became = JobState.RUNNING
    else:
        became = JobState.SUCCEEDED if state == "success" or job.wait_for == END else JobState.FAILED
    return DependencyStatus(run_id=run_id, run_state=state, state=became)


def _is_idle(status: DependencyStatus) -> bool:
    """Whether all that has not ended waits for the scheduler, which does nothing for a run that is over."""
    waiting = status.pending and not status.running and "queued" not in status.incomplete.values()
    return bool(waiting and status.state is JobState.RUNNING)


def _given_up(status: DependencyStatus, run_state: str, *, end: bool) -> DependencyStatus:
    """Count what waits for the scheduler as failed, and as ended."""
    said = {
        name: state if state in FAILED else f"{state}, and the run has ended"
        for name, state in status.incomplete.items()
    }
    return replace(
        status,
        run_state=run_state,
        failed=status.failed + status.pending,
        pending=0,
        incomplete=said,
        state=JobState.SUCCEEDED if end else JobState.FAILED,
    )


def _missing(what: list[str], status: DependencyStatus | None = None) -> DependencyStatus:
    """Add to what is known what does not exist; if something has failed, that is not waited for."""
    status = status or DependencyStatus()
    became = status.state if status.state is JobState.FAILED else JobState.RUNNING
    return replace(status, missing=tuple(what), state=became)


def _is_late(job: TaskDependency) -> bool:
    """Whether what does not exist by now counts as lost."""
    exists_by = read_date(job.exists_by, "exists_by")
    return exists_by is not None and datetime.now(timezone.utc) >= exists_by


def _what(job: TaskDependency) -> Hashable:
    """Return what is waited for, whoever waits and however long."""
    run = (job.run_id, job.logical_date, job.run)
    return (*run, tuple(job.task_ids), job.task_group_id, tuple(job.map_indexes), job.wait_for)
