"""Where states come from: four questions that this Airflow's supervisor and another one's REST API both answer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from ork_provider.dependency.job import read_date
from ork_provider.dependency.status import Instance, States
from ork_provider.errors import NotFound
from ork_provider.supervisor import ask_airflow

RunStates = Mapping[str, States]
"""The states of each run's instances, by run id; a run without any is left out."""

ENDED = frozenset({"success", "failed"})
"""States of a run that is over."""

FAR = datetime.fromisoformat("9999-12-31T00:00:00+00:00")

_MAPPED = re.compile(r"(?P<task>.+)_(?P<index>\d+)")


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
    async def runs_of_dates(self, dag_id: str, dates: Collection[str]) -> dict[str, str]:
        """Return the run ids of the logical dates for which there are runs."""

    @abstractmethod
    async def first_run(self, dag_id: str) -> str | None:
        """Return a run of a DAG that had none so far."""

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

    async def run_states(self, dag_id: str, run_ids: Collection[str]) -> dict[str, str]:
        """See Source; one request while no run of them has ended."""
        from airflow.sdk.execution_time.comms import GetDagRunState

        if await self._count(dag_id, run_ids, ["queued", "running"]) == len(run_ids):
            return dict.fromkeys(run_ids, "running")
        if len(run_ids) > 1:
            halves = [await self.run_states(dag_id, half) for half in halve(run_ids)]
            return {**halves[0], **halves[1]}
        (run_id,) = run_ids
        try:
            answer = await ask_airflow(GetDagRunState(dag_id=dag_id, run_id=run_id))
        except NotFound:
            return {}
        state = str(getattr(answer.state, "value", answer.state))
        return {run_id: state if state in ENDED else "running"}

    async def existing(self, dag_id: str, run_ids: Collection[str]) -> set[str]:
        """See Source; one request while all of them exist, or none."""
        count = await self._count(dag_id, run_ids)
        if count in (0, len(run_ids)):
            return set(run_ids) if count else set()
        first, second = halve(run_ids)
        return await self.existing(dag_id, first) | await self.existing(dag_id, second)

    async def _count(self, dag_id: str, run_ids: Collection[str], states: list[str] | None = None) -> int:
        from airflow.sdk.execution_time.comms import GetDRCount

        answer = await ask_airflow(GetDRCount(dag_id=dag_id, run_ids=list(run_ids), states=states))
        return int(answer.count)

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
        """See Source; a second request says which names are those of whole tasks, if any could be an instance's."""
        try:
            answer = await self._task_states(dag_id, run_ids, task_group_id=group_id)
            names = {name for states in answer.values() for name in states}
            whole = {name for name in names if not _MAPPED.fullmatch(name)}
            if whole != names:
                unmapped = await self._task_states(dag_id, run_ids, task_group_id=group_id, map_index=-1)
                whole = {name for states in unmapped.values() for name in states}
        except NotFound:
            return None
        mapped = {match["task"] for name in names - whole if (match := _MAPPED.fullmatch(name))}
        if any((match := _MAPPED.fullmatch(name)) and match["task"] in mapped for name in whole):
            return await self.task_states(dag_id, run_ids, whole | mapped)  # ``a_1`` may hide ``a[1]``
        return {
            run_id: {read_name(name, whole | mapped) or (name, -1): state for name, state in states.items()}
            for run_id, states in answer.items()
        }

    async def _task_states(
        self, dag_id: str, run_ids: Collection[str], **which: Any
    ) -> Mapping[str, Mapping[str, str | None]]:
        from airflow.sdk.execution_time.comms import GetTaskStates

        which = {name: list(value) if name == "task_ids" else value for name, value in which.items()}
        answer = await ask_airflow(GetTaskStates(dag_id=dag_id, run_ids=list(run_ids), **which))
        states: Mapping[str, Mapping[str, str | None]] = answer.task_states
        return states

    async def runs_of_dates(self, dag_id: str, dates: Collection[str]) -> dict[str, str]:
        """See Source; one request while there is none."""
        from airflow.sdk.execution_time.comms import GetDRCount, GetTaskStates

        times = {date: _time(date) for date in dates}
        answer = await ask_airflow(GetDRCount(dag_id=dag_id, logical_dates=list(times.values())))
        found = {}
        for date, time in times.items() if answer.count else ():
            told = await ask_airflow(GetTaskStates(dag_id=dag_id, logical_dates=[time]))
            if told.task_states:
                found[date] = max(told.task_states)
        return found

    async def latest_run(self, dag_id: str) -> str | None:
        """See Source."""
        from airflow.sdk.execution_time.comms import GetPreviousDagRun

        answer = await ask_airflow(GetPreviousDagRun(dag_id=dag_id, logical_date=FAR))
        run = getattr(answer, "dag_run", None)
        return None if run is None else str(run.run_id)

    async def first_run(self, dag_id: str) -> str | None:
        """See Source; of several that have come at once the last by name."""
        from airflow.sdk.execution_time.comms import GetDRCount, GetTaskStates

        if not (await ask_airflow(GetDRCount(dag_id=dag_id))).count:
            return None
        told = await ask_airflow(GetTaskStates(dag_id=dag_id))
        return max(told.task_states, default=None)

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


def apart(task_ids: Iterable[str]) -> list[list[str]]:
    """Sort tasks so that none is in a batch with one of which it could be an instance: Airflow calls both ``a_1``."""
    batches: list[list[str]] = []
    for task_id in sorted(set(task_ids)):
        for batch in batches:
            if not any(_could_be(task_id, other) for other in batch):
                batch.append(task_id)
                break
        else:
            batches.append([task_id])
    return batches


def _could_be(task_id: str, other: str) -> bool:
    match = _MAPPED.fullmatch(task_id)
    return match is not None and match["task"] == other


def read_name(name: str, task_ids: Collection[str]) -> Instance | None:
    """Read what Airflow calls an instance, given the tasks that were asked for."""
    if name in task_ids:
        return name, -1
    match = _MAPPED.fullmatch(name)
    return (match["task"], int(match["index"])) if match and match["task"] in task_ids else None


def _time(text: str) -> datetime:
    time = read_date(text, "logical_date")
    assert time is not None
    return time


def halve(items: Collection[str]) -> tuple[list[str], list[str]]:
    """Cut a list into two."""
    listed = list(items)
    return listed[: len(listed) // 2], listed[len(listed) // 2 :]
