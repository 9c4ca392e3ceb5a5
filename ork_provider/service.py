"""What every service knows how to do with a job (four verbs), and which of its calls tell of many jobs at once.

Operators and triggers never talk to a service themselves: they go through ``Services``, which opens each
service once per connection and hands every job to its own.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

from ork_provider.errors import NotFound, OrkError
from ork_provider.job import Job, JobStatus, load
from ork_provider.session import Session

CONNECTIONS: dict[str, Any] = {
    "gcp_conn_id": "google_cloud_default",
    "impersonation_chain": None,
    "http_conn_id": "http_default",
    "dqops_conn_id": "dqops_default",
    "airflow_conn_id": None,
}
"""Connection parameters of all services, for what waits for jobs of any kinds. A table, because the services'
modules are loaded when they are needed; a test compares them."""


class Shared(ABC):
    """A poll that serves many jobs at once; see ``ork_provider.hub``."""

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """What is shared: jobs whose polls have equal keys are served by one."""

    @abstractmethod
    def name(self, job: Any) -> Hashable:
        """Return what the poll's answers call a job."""

    @abstractmethod
    def read(self, told: Any) -> JobStatus | None:
        """Read what an answer says of one job; None if the job must be asked for itself."""


class Listing(Shared):
    """A call that lists jobs: one that is not in it, or not any more, is asked for itself."""

    interval: ClassVar[float] = 0.0
    """Least seconds between two lists, if that is more than the hub's own; a waiter may always ask for less."""

    limit: ClassVar[float] = 0.0
    """Seconds that one list may take, if that is more than the hub's own limit."""

    least: ClassVar[int] = 1
    """Fewest waiting jobs for which it pays to list."""

    @abstractmethod
    async def look(self, names: Collection[Hashable]) -> dict[Hashable, Any]:
        """List once; return what is said of each job, by name.

        :param names: the jobs that are waited for; what is said of others does no harm
        """


class Feed(Shared):
    """A call that waits for changes and tells of them, from a position on."""

    interval: ClassVar[float] = 1.0
    """Least seconds between two calls that tell of changes."""

    @abstractmethod
    async def start(self) -> Any:
        """Return the position from which nothing is missed."""

    @abstractmethod
    async def changes(self, position: Any) -> tuple[Iterable[tuple[Hashable, Any]], Any]:
        """Wait for changes, for a limited time; return them, by name and oldest first, and the next position."""


class Service(ABC):
    """One service over one connection."""

    connection_defaults: ClassVar[dict[str, Any]] = {}
    """Names of the connection parameters of its operators and triggers, with defaults; the first is the id."""

    @classmethod
    @abstractmethod
    async def open(cls, session: Session, **connection: Any) -> Service:
        """Read the connection; cheap to call again."""

    @abstractmethod
    async def check(self, job: Any) -> JobStatus:
        """Ask once how the job is.

        :raises TryAgain: no good answer this time (NotFound: the service does not know the job)
        :raises BadRequest: asking again cannot help
        """

    def shared(self, job: Any) -> Shared | None:
        """Return the poll that a waiting job shares with others; None if each has to be asked for itself."""
        return None

    @abstractmethod
    async def submit(self, job: Any, request: Mapping[str, Any]) -> Job:
        """Start the job and return it as the service names it; sending the same job twice starts one.

        :raises Conflict: the id is taken; ``existing`` on it names the job that has it
        """

    @abstractmethod
    async def cancel(self, job: Any) -> None:
        """Ask the service to stop the job; a job that has ended already is left as it is.

        :raises NotFound: there is no such job
        """


class Services:
    """Every service that the jobs of one task need, opened when first needed.

    :param session: the loop's share of the world
    :param connections: connection parameters by name, such as ``{"gcp_conn_id": "google_cloud_default"}``
    """

    def __init__(self, session: Session, connections: Mapping[str, Any]) -> None:
        self.session = session
        self.connections = connections
        self._open: dict[tuple[str, str], Service] = {}
        self._opening = asyncio.Lock()

    @classmethod
    def of_all(cls, session: Session, connections: Mapping[str, Any]) -> Services:
        """Return the services that all tasks of a session share whose connection parameters are the same."""
        key = ("services", json.dumps(connections, sort_keys=True))
        if key not in session.cache:
            session.cache[key] = cls(session, connections)
        services: Services = session.cache[key]
        return services

    async def join(self, job: Job) -> Service:
        """Return the service of a job for a wait that begins: its connection is read again if that was long ago."""
        if (conn_id := self._conn_id_of(job)) is not None:
            await self.session.renew_connection(conn_id, if_old=True)
        return await self.of(job)

    async def of(self, job: Job) -> Service:
        """Return the service of a job."""
        key = (job.service, job.conn_id or "")
        if key not in self._open:
            async with self._opening:
                if key not in self._open:
                    self._open[key] = await self.open(load(job.service), job.conn_id)
        return self._open[key]

    async def open(self, service: type[Service], conn_id: str | None = None) -> Service:
        """Open a service over the given connection, else over the task's."""
        wanted = {name: self.connections.get(name, d) for name, d in service.connection_defaults.items()}
        if conn_id is not None:
            wanted[next(iter(wanted))] = conn_id
        return await service.open(self.session, **wanted)

    async def read_connections(self, jobs: Iterable[Job]) -> None:
        """Read the connections of jobs ahead: what cancels them after a kill can read none."""
        for job in jobs:
            if (conn_id := self._conn_id_of(job)) is not None:
                with suppress(OrkError):  # a job with an absolute URL needs none
                    await self.session.connection(conn_id)

    def _conn_id_of(self, job: Job) -> str | None:
        defaults = load(job.service).connection_defaults
        name = next(iter(defaults))
        conn_id: str | None = job.conn_id or self.connections.get(name) or defaults[name]
        return conn_id

    async def check(self, job: Job) -> JobStatus:
        """Ask for one job itself."""
        return await (await self.of(job)).check(job)

    async def submit(self, job: Job, request: Mapping[str, Any]) -> Job:
        """Start a job."""
        return await (await self.of(job)).submit(job, request)

    async def cancel(self, job: Job) -> bool:
        """Stop a job; return False if its service does not know it."""
        try:
            await (await self.of(job)).cancel(job)
        except NotFound:
            return False
        return True
