"""DependencyService: this Airflow or another one, as the service whose jobs are DAG runs and tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast
from weakref import WeakValueDictionary

from ork_provider.dependency.job import END, LATEST, TaskDependency
from ork_provider.dependency.poll import DagPoll, Turns
from ork_provider.dependency.source import Source, Supervisor
from ork_provider.dependency.status import DependencyStatus, sum_up
from ork_provider.errors import BadRequest
from ork_provider.job import Job, JobStatus
from ork_provider.service import Service, Services
from ork_provider.session import Session

AIRFLOW_CONNECTION: dict[str, Any] = {"airflow_conn_id": None}
"""Connection parameters: the HTTP connection of another Airflow; None is this one."""


class DependencyService(Service):
    """Asks how DAG runs and tasks are; starts and stops none."""

    connection_defaults: ClassVar[dict[str, Any]] = AIRFLOW_CONNECTION

    def __init__(self, source: Source, where: str | None) -> None:
        self.source = source
        self._where = where
        self._polls: WeakValueDictionary[str, DagPoll] = WeakValueDictionary()  # as long as a hub's scope has them
        self._turns = Turns()
        self._alone: WeakValueDictionary[str, LoneLooks] = WeakValueDictionary()

    @classmethod
    async def open(cls, session: Session, **connection: Any) -> DependencyService:
        """See Service."""
        conn_id = connection["airflow_conn_id"]
        if conn_id is None:
            return cls(Supervisor(), None)
        from ork_provider.dependency.rest import RestApi

        return cls(RestApi(session, conn_id), conn_id)

    async def check(self, job: TaskDependency) -> JobStatus:
        """See Service."""
        return (await self.status(job)).to_job_status()

    async def status(self, job: TaskDependency) -> DependencyStatus:
        """Ask how a dependency is.

        :raises BadRequest: it does not say which run is meant
        """
        if not (job.run_id or job.logical_date or job.run):
            raise BadRequest(f"{job}: which run? Only a DependencyWaitOperator can find it by its own logical date.")
        looks = self._alone.get(job.dag_id)
        if looks is None:
            looks = self._alone[job.dag_id] = LoneLooks(
                lambda: DagPoll(self.source, self._where, job.dag_id, self._turns)
            )
        return await looks.status(job)

    def shared(self, job: TaskDependency) -> DagPoll | None:
        """See Service."""
        if not (job.run_id or job.logical_date or job.run):
            return None
        poll = self._polls.get(job.dag_id)
        if poll is None:
            poll = self._polls[job.dag_id] = DagPoll(self.source, self._where, job.dag_id)
        return poll

    async def submit(self, job: Any, request: Mapping[str, Any]) -> Job:
        """See Service; a dependency is never started."""
        raise BadRequest(f"{job} cannot be started, only waited for")

    async def cancel(self, job: Any) -> None:
        """See Service; a dependency is never stopped."""
        raise BadRequest(f"{job} cannot be cancelled, only waited for")


@dataclass(eq=False)
class Ask:
    """One who asks for himself, and the answer."""

    job: TaskDependency
    told: DependencyStatus | Exception | None = None


class LoneLooks:
    """Looks at the runs of one DAG for those who ask for themselves: all who come during one share the next.

    A look asks the same, however many it is for; one for each of a thousand would only make Airflow slower.

    :param new_poll: makes what looks once
    """

    def __init__(self, new_poll: Callable[[], DagPoll]) -> None:
        self._new_poll = new_poll
        self._asks: list[Ask] = []
        self._looking = asyncio.Lock()

    async def status(self, job: TaskDependency) -> DependencyStatus:
        """Look, or have somebody else look, at a dependency."""
        mine = Ask(job)
        self._asks.append(mine)
        async with self._looking:
            if mine.told is None:
                await asyncio.sleep(0)  # for those who ask at the same moment
                await self._answer()
        if isinstance(mine.told, Exception):
            raise mine.told.with_traceback(None)  # it is raised for each
        assert mine.told is not None
        return mine.told

    async def _answer(self) -> None:
        asks, self._asks = self._asks, []
        poll = self._new_poll()
        try:
            told = await poll.look({poll.name(ask.job) for ask in asks})
        except Exception as exc:
            for ask in asks:
                ask.told = exc
        except BaseException:  # who looks is stopped: then somebody else does
            self._asks = asks + self._asks
            raise
        else:
            for ask in asks:
                ask.told = told[poll.name(ask.job)]


async def find_run(job: TaskDependency, services: Services) -> TaskDependency:
    """Return a dependency with the id of its run, if there is one yet; not for triggers."""
    source = (await service_of(job, services)).source
    if job.run == LATEST:
        run_id = await source.latest_run(job.dag_id)
        return replace(job, run_id=run_id, run=None) if run_id else job
    if job.run_id is None and job.logical_date:
        found = [run_id async for _, run_id in source.runs_of_dates(job.dag_id, [job.logical_date])]
        return replace(job, run_id=found[0], logical_date=None) if found else job
    return job


async def look_closely(job: TaskDependency, services: Services) -> DependencyStatus:
    """Look at a dependency once; of a whole run count the tasks as well. Not for triggers."""
    job = await find_run(job, services)
    service = await service_of(job, services)
    status = await service.status(job)
    if job.which_tasks or status.missing or status.run_id is None:
        return status
    states = (await service.source.group_states(job.dag_id, [status.run_id], None) or {}).get(status.run_id, {})
    counted = sum_up(states, end=job.wait_for == END, run_id=status.run_id, run_state=status.run_state)
    return replace(counted, state=status.state)


async def service_of(job: TaskDependency, services: Services) -> DependencyService:
    """Return the service of a dependency."""
    return cast("DependencyService", await services.of(job))
