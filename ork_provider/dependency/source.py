"""Where states come from: four questions that this Airflow's supervisor and another one's REST API both answer."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ork_provider.dependency.job import read_date
from ork_provider.dependency.status import Instance, States
from ork_provider.errors import BadRequest, NotFound, TryAgain
from ork_provider.job import show
from ork_provider.supervisor import ask_airflow

RunStates = Mapping[str, States]
"""The states of each run's instances, by run id; a run without any is left out."""

ENDED = frozenset({"success", "failed"})
"""States of a run that is over."""

FAR = datetime.fromisoformat("9999-12-31T00:00:00+00:00")

_MAPPED = re.compile(r"(?P<task>.+)_(?P<index>\d+)")

ROOM = 16_000
"""Characters of ids in one request: they travel in a URL, which may have 65,536 in all."""

COUNTABLE = 100
"""Runs among which the latest without a logical date, or the first, is looked for: it takes the states of all tasks."""

KNOWN_FOR = 60.0
"""Seconds for which it is remembered that the name of an instance is no task's."""


class TooMany(BadRequest):
    """A DAG has so many runs that it cannot be said which of them is meant."""


class Source(ABC):
    """An Airflow that can be asked; every question is about many runs of one DAG, none of which is an empty list."""

    @abstractmethod
    async def run_states(self, dag_id: str, run_ids: Collection[str]) -> dict[str, str]:
        """Return the state of each run that exists; ``running`` stands for all that are not over."""

    @abstractmethod
    async def existing(self, dag_id: str, run_ids: Collection[str]) -> set[str]:
        """Return which of the runs exist."""

    @abstractmethod
    async def task_states(self, dag_id: str, run_ids: Collection[str], task_ids: Collection[str]) -> RunStates:
        """Return the states of tasks."""

    @abstractmethod
    async def group_states(self, dag_id: str, run_ids: Collection[str], group_id: str | None) -> RunStates | None:
        """Return the states of a group's tasks, or of all tasks; None: the DAG has no such group."""

    @abstractmethod
    def runs_of_dates(self, dag_id: str, dates: Collection[str]) -> AsyncIterator[tuple[str, str]]:
        """Go through the logical dates for which there are runs, with their ids, each as soon as it is found."""

    @abstractmethod
    async def first_run(self, dag_id: str) -> str | None:
        """Return the earliest run of a DAG that had none so far.

        :raises TooMany: it has many by now
        """

    @abstractmethod
    async def latest_run(self, dag_id: str) -> str | None:
        """Return the run with the latest logical date; not for triggers."""

    @abstractmethod
    async def has_dag(self, dag_id: str) -> bool:
        """Whether there is such a DAG; not for triggers."""

    @abstractmethod
    async def xcom(self, dag_id: str, run_id: str, task_id: str, index: int) -> Any:
        """Return what a task instance has returned, None if nothing; not for triggers."""


class Supervisor(Source):
    """Our own Airflow, through the supervisor of a task or of the triggerer; the latter answers fewer questions.

    Where a count says that something has changed, but not of which run, the runs are halved until that is known.
    """

    def __init__(self) -> None:
        self._checked: dict[str, tuple[float, dict[str, bool]]] = {}

    async def run_states(self, dag_id: str, run_ids: Collection[str]) -> dict[str, str]:
        """See Source; one request while no run of them has ended."""
        return await self._states_of(dag_id, run_ids, await self._count_live(dag_id, run_ids))

    async def _states_of(self, dag_id: str, run_ids: Collection[str], live: int) -> dict[str, str]:
        """Return the states of runs of which so many have not ended.

        One half is counted, what is left are those of the other half. A run that ends between two counts may be taken
        for one that runs until the next look; that one has ended is only believed when Airflow says so of itself.
        """
        if live == len(run_ids):
            return dict.fromkeys(run_ids, "running")
        if live == 0 or len(run_ids) == 1:
            found = [(run_id, await self._state_of(dag_id, run_id)) for run_id in run_ids]
            return {run_id: state for run_id, state in found if state is not None}
        first, second = halve(run_ids)
        there = await self._count_live(dag_id, first)
        rest = min(max(live - there, 0), len(second))
        return {**await self._states_of(dag_id, first, there), **await self._states_of(dag_id, second, rest)}

    async def _state_of(self, dag_id: str, run_id: str) -> str | None:
        """Return the state of one run; None if there is none."""
        from airflow.sdk.execution_time.comms import GetDagRunState

        try:
            answer = await ask_airflow(GetDagRunState(dag_id=dag_id, run_id=run_id))
        except NotFound:
            return None
        state = getattr(answer, "state", None)
        if state is None:
            raise _odd("GetDagRunState", answer)
        state = str(getattr(state, "value", state))
        return state if state in ENDED else "running"

    async def _count_live(self, dag_id: str, run_ids: Collection[str]) -> int:
        return await self._count(dag_id, run_ids, ["queued", "running"])

    async def existing(self, dag_id: str, run_ids: Collection[str]) -> set[str]:
        """See Source; one request while all of them exist, or none."""
        count = await self._count(dag_id, run_ids)
        if count in (0, len(run_ids)):
            return set(run_ids) if count else set()
        first, second = halve(run_ids)
        return await self.existing(dag_id, first) | await self.existing(dag_id, second)

    async def _count(self, dag_id: str, run_ids: Collection[str], states: list[str] | None = None) -> int:
        from airflow.sdk.execution_time.comms import GetDRCount

        asked = [GetDRCount(dag_id=dag_id, run_ids=some, states=states) for some in cut(run_ids)]
        return sum([await ask_for_count(one) for one in asked])

    async def task_states(self, dag_id: str, run_ids: Collection[str], task_ids: Collection[str]) -> RunStates:
        """See Source; one request, unless the name of a task may be taken for an instance of another."""
        found: dict[str, dict[Instance, str | None]] = {}
        for batch in apart(task_ids):
            answer = await self._task_states(dag_id, run_ids, task_ids=batch)
            for run_id, states in answer.items():
                told = (read_name(name, batch) for name in states)
                found.setdefault(run_id, {}).update(
                    {instance: state for instance, state in zip(told, states.values(), strict=True) if instance}
                )
        return found

    async def group_states(self, dag_id: str, run_ids: Collection[str], group_id: str | None) -> RunStates | None:
        """See Source; now and then a second request says which names are tasks, if any could be an instance's."""
        try:
            answer = await self._task_states(dag_id, run_ids, task_group_id=group_id)
        except NotFound:
            return None
        names = {name for states in answer.values() for name in states}
        unsure = {name for name in names if _MAPPED.fullmatch(name)}
        real = await self._real_tasks(dag_id, run_ids, unsure)
        tasks = names - unsure | real | _bases(unsure - real)
        if real:
            count = await self._count_instances(dag_id, run_ids, group_id)
            if count > sum(len(states) for states in answer.values()):  # ``a_1`` hides ``a[1]``
                return await self.task_states(dag_id, run_ids, tasks | _bases(real))
            return _fitting(await self.task_states(dag_id, run_ids, tasks), answer)
        return {
            run_id: {read_name(name, tasks) or (name, -1): state for name, state in states.items()}
            for run_id, states in answer.items()
        }

    async def _count_instances(self, dag_id: str, run_ids: Collection[str], group_id: str | None) -> int:
        from airflow.sdk.execution_time.comms import GetTICount

        asked = [GetTICount(dag_id=dag_id, run_ids=some, task_group_id=group_id) for some in cut(run_ids)]
        return sum([await ask_for_count(one) for one in asked])

    async def _real_tasks(self, dag_id: str, run_ids: Collection[str], names: Collection[str]) -> set[str]:
        """Return which of the names are those of tasks themselves, not of their instances."""
        at, known = self._checked.get(dag_id, (0.0, {}))
        if time.monotonic() - at > KNOWN_FOR:
            at, known = time.monotonic(), {}
        if new := set(names) - known.keys():
            told = await self.task_states(dag_id, run_ids, new)
            real = {task_id for states in told.values() for task_id, _ in states}
            known = {**known, **{name: name in real for name in new}}
            recent = {dag: one for dag, one in self._checked.items() if time.monotonic() - one[0] <= KNOWN_FOR}
            self._checked = {**recent, dag_id: (at, known)}
        return {name for name in names if known[name]}

    async def _task_states(
        self, dag_id: str, run_ids: Collection[str], task_ids: Collection[str] | None = None, **which: Any
    ) -> Mapping[str, Mapping[str, str | None]]:
        from airflow.sdk.execution_time.comms import GetTaskStates

        found: dict[str, dict[str, str | None]] = {}
        for runs in cut(run_ids):
            for tasks in [None] if task_ids is None else cut(task_ids):
                asked = GetTaskStates(dag_id=dag_id, run_ids=runs, task_ids=tasks, **which)
                for run_id, states in (await ask_for_states(asked)).items():
                    found.setdefault(run_id, {}).update(states)
        return found

    async def runs_of_dates(self, dag_id: str, dates: Collection[str]) -> AsyncIterator[tuple[str, str]]:
        """See Source; one request while there is none."""
        from airflow.sdk.execution_time.comms import GetDRCount, GetTaskStates

        left = list(cut(dates))
        while left:
            some = left.pop()
            count = await ask_for_count(GetDRCount(dag_id=dag_id, logical_dates=list(map(_time, some))))
            if count and len(some) > count:
                left += halve(some)
                continue
            for date in some if count else ():
                if runs := await ask_for_states(GetTaskStates(dag_id=dag_id, logical_dates=[_time(date)])):
                    yield date, max(runs)

    async def latest_run(self, dag_id: str) -> str | None:
        """See Source; of runs that have no logical date, as those that assets have started, the last by its id."""
        from airflow.sdk.execution_time.comms import GetPreviousDagRun

        answer = await ask_airflow(GetPreviousDagRun(dag_id=dag_id, logical_date=FAR))
        run = getattr(answer, "dag_run", None)
        if run is not None:
            return str(run.run_id)
        unsaid = "runs, none with a logical date, so that Airflow does not say which is the latest"
        return max(await self._all_runs(dag_id, unsaid), key=_when, default=None)

    async def first_run(self, dag_id: str) -> str | None:
        """See Source; by their ids, so that it stays the same when others come."""
        runs = await self._all_runs(dag_id, "runs by now, and Airflow does not say which came first")
        return min(runs, key=lambda run_id: (not _when(run_id)[0], _when(run_id)), default=None)

    async def _all_runs(self, dag_id: str, unsaid: str) -> Collection[str]:
        from airflow.sdk.execution_time.comms import GetDRCount, GetTaskStates

        count = await ask_for_count(GetDRCount(dag_id=dag_id))
        if count > COUNTABLE:
            raise TooMany(f"DAG {dag_id} has {count} {unsaid}; name it by run_id.")
        return (await ask_for_states(GetTaskStates(dag_id=dag_id))).keys() if count else ()

    async def has_dag(self, dag_id: str) -> bool:
        """See Source."""
        from airflow.sdk.execution_time.comms import GetDag

        try:
            await ask_airflow(GetDag(dag_id=dag_id))
        except NotFound:
            return False
        return True

    async def xcom(self, dag_id: str, run_id: str, task_id: str, index: int) -> Any:
        """See Source; read as a task does it, by the XCom backend that is set."""
        from airflow.sdk.bases.xcom import BaseXCom
        from airflow.sdk.execution_time.xcom import XCom

        return XCom.get_one(
            key=BaseXCom.XCOM_RETURN_KEY, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=index
        )


async def ask_for_count(message: Any) -> int:
    """Return how many Airflow has counted."""
    count = getattr(answer := await ask_airflow(message), "count", None)
    if not isinstance(count, int):
        raise _odd(type(message).__name__, answer)
    return count


async def ask_for_states(message: Any) -> Mapping[str, Mapping[str, str | None]]:
    """Return the states that Airflow tells, by run and by what it calls an instance."""
    states = getattr(answer := await ask_airflow(message), "task_states", None)
    if not isinstance(states, Mapping):
        raise _odd(type(message).__name__, answer)
    return states


def _odd(asked: str, answer: object) -> TryAgain:
    return TryAgain(f"Airflow's answer to {asked} is none: {show(answer)}")


def apart(task_ids: Iterable[str]) -> list[set[str]]:
    """Sort tasks so that none is in a batch with one of which it could be an instance: Airflow calls both ``a_1``."""
    batches: list[set[str]] = []
    for task_id in sorted(set(task_ids)):  # ``a`` comes before ``a_1``
        match = _MAPPED.fullmatch(task_id)
        for batch in batches:
            if match is None or match["task"] not in batch:
                batch.add(task_id)
                break
        else:
            batches.append({task_id})
    return batches


def read_name(name: str, task_ids: Collection[str]) -> Instance | None:
    """Read what Airflow calls an instance, given the tasks that were asked for."""
    if name in task_ids:
        return name, -1
    match = _MAPPED.fullmatch(name)
    return (match["task"], int(match["index"])) if match and match["task"] in task_ids else None


def _bases(names: Iterable[str]) -> set[str]:
    """Return the tasks of which these could be instances."""
    return {match["task"] for name in names if (match := _MAPPED.fullmatch(name))}


def _fitting(found: RunStates, answer: Mapping[str, Mapping[str, str | None]]) -> RunStates:
    """Return the instances that an answer is about, each of whose names is one instance's only.

    A task that was found because it is called as an instance in the answer is of another group.
    """
    fitting = {}
    for run_id, states in found.items():
        mapped = {f"{task_id}_{index}" for task_id, index in states if index >= 0}
        keys = {one: one[0] if one[1] < 0 else f"{one[0]}_{one[1]}" for one in states}
        fitting[run_id] = {
            one: state
            for one, state in states.items()
            if keys[one] in answer.get(run_id, {}) and (one[1] >= 0 or keys[one] not in mapped)
        }
    return fitting


def cut(ids: Collection[str]) -> Iterator[list[str]]:
    """Cut a list of ids into such as fit into one request each."""
    batch: list[str] = []
    room = ROOM
    for name in ids:
        size = len(quote(name, safe="")) + len("&run_ids=")
        if batch and size > room:
            yield batch
            batch, room = [], ROOM
        batch.append(name)
        room -= size
    if batch:
        yield batch


def _when(run_id: str) -> tuple[bool, str, str]:
    """Sort runs by the time in their ids, whatever has started them: ``manual__2026-..`` before ``asset__2027-..``.

    One that has none in it comes before.
    """
    time_in_it = run_id.partition("__")[2]
    return time_in_it[:1].isdigit(), time_in_it, run_id


def _time(text: str) -> datetime:
    time = read_date(text, "logical_date")
    assert time is not None
    return time


def halve(items: Collection[str]) -> tuple[list[str], list[str]]:
    """Cut a list into two."""
    listed = list(items)
    return listed[: len(listed) // 2], listed[len(listed) // 2 :]
