"""A worker's side of the world: coroutines run from an operator's plain code, and the end of a killed task.

On SIGTERM Airflow runs ``on_kill`` inside the main thread, between two of its instructions, and then *execute
goes on*; five seconds later comes SIGKILL. So ``on_kill`` must not wait for anything that the main thread
holds: it sets a flag and cancels the job from a thread with a loop and a door of its own.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from ork_provider.errors import Killed, OrkError, TryAgain
from ork_provider.job import Job, cancel_by_hand
from ork_provider.service import Services
from ork_provider.session import HttpxDoor, ReadConnection, Session, read_connection

T = TypeVar("T")

CANCEL_BUDGET = 20.0
"""Seconds that the cancel of a killed task may take; a supervisor that means it sends SIGKILL after 5."""

CANCEL_PAUSE = 0.25

CANCEL_CALL = 10.0
"""Seconds that one cancel is waited for before it is sent again, so that one that hangs holds up no other."""

SAY_AFTER = 3.5
"""Seconds after which the log names what is not cancelled yet: soon enough before that SIGKILL."""

ABSENT = 2.0
"""Seconds after a submit has ended in which a job that the service does not know may still appear."""


class Worker:
    """An event loop with a door, for one stretch of an operator's code; use it as a context manager.

    :param connections: the operator's connection parameters
    :param read: how Airflow connections are read
    """

    def __init__(self, connections: Mapping[str, Any], read: ReadConnection = read_connection) -> None:
        self._loop = asyncio.new_event_loop()
        self.session = Session(HttpxDoor(), read)
        self._connections = connections
        self._current: asyncio.Task[Any] | None = None

    def __enter__(self) -> Worker:
        self.services = self.run(self._open())
        return self

    async def _open(self) -> Services:
        return Services(self.session, self._connections)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        result: T = self._loop.run_until_complete(coroutine)
        return result

    def run_interruptible(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that ``interrupt`` may stop: a wait, never a submit."""
        current = self._current = self._loop.create_task(coroutine)
        try:
            result: T = self._loop.run_until_complete(current)
            return result
        except asyncio.CancelledError:
            raise Killed("The task was told to stop while it waited for its job.") from None
        finally:
            self._current = None

    def interrupt(self) -> None:
        """Stop the wait, if there is one; safe in a signal handler."""
        if self._current is not None:
            self._loop.call_soon_threadsafe(self._current.cancel)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run(self._shut())
            self.run(self._loop.shutdown_asyncgens())
            self.run(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    async def _shut(self) -> None:
        """Stop what an exception out of a signal handler may have left behind; close the door."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.session.close()


@dataclass
class Ending:
    """How far the cancel of one job has come."""

    done: bool = False
    error: object = "the service does not know it"
    absent_until: float | None = None


class KillSwitch:
    """What ``on_kill`` needs to know, set by the main thread as it goes.

    ``jobs`` are those that this process is answerable for: from just before the call that starts one until it
    has been handed to a trigger or has ended. ``submitting`` is true while that call is in the air.
    """

    def __init__(self, log: Any, connections: Mapping[str, Any]) -> None:
        self.killed = False
        self.jobs: tuple[Job, ...] = ()
        self.submitting = False
        self.worker: Worker | None = None
        self._log = log
        self._connections = connections
        self._thread: threading.Thread | None = None

    def answer_for(self, *jobs: Job) -> None:
        """Name the jobs that a kill must end from now on; none when there are none."""
        self.jobs = jobs

    def check(self) -> None:
        """Raise Killed, after the cancel has been seen to, if the task was told to stop."""
        if self.killed:
            self.join()
            raise Killed("The task was told to stop while it was starting its job.")

    def kill(self, *, cancels: bool) -> None:
        """Do what ``on_kill`` must; may be called more than once."""
        self.killed = True
        responsible = self.submitting or self.jobs
        if cancels and responsible and self._thread is None:
            self._thread = threading.Thread(target=self._cancel, name="ork-cancel")
            self._thread.start()
        if not self.submitting:  # otherwise the main thread must go on, to hear the answer
            self.join()
            if self.worker is not None:
                self.worker.interrupt()

    def join(self) -> None:
        """Wait until the jobs are cancelled: Airflow ends the process without waiting for threads."""
        if self._thread is not None:
            self._thread.join(CANCEL_BUDGET)

    def _cancel(self) -> None:
        session = self.worker.session if self.worker else None

        async def read(conn_id: str) -> Any:
            if session and conn_id in session.missing:
                raise session.missing[conn_id]
            known = session.known_connections() if session else {}
            if conn_id not in known:
                raise TryAgain(f"connection {conn_id!r} was not read before the kill")
            return known[conn_id]

        with Worker(self._connections, read) as worker:
            worker.run(self._cancel_until_done(worker.services))

    async def _cancel_until_done(self, services: Services) -> None:
        """Cancel the jobs, each once it is there: the call that starts one may still be in the air.

        A job is known by its place in ``jobs``: the service's answer may give it another name. While nothing is
        known of any, the budget does not run.
        """
        while self.submitting and not self.jobs:  # noqa: ASYNC110 - the main thread sets no event of this loop
            await asyncio.sleep(CANCEL_PAUSE)
        until = time.monotonic() + CANCEL_BUDGET - 1
        endings: dict[int, Ending] = {}
        saying = asyncio.get_running_loop().call_later(SAY_AFTER, self._say_what_is_left, endings)
        while (seconds := until - time.monotonic()) > 0:
            jobs, submitting = self.jobs, self.submitting
            left = [(job, endings.setdefault(i, Ending())) for i, job in enumerate(jobs)]
            limit = min(seconds, CANCEL_CALL)
            trying = [self._try_to_cancel(job, e, services, submitting, limit) for job, e in left if not e.done]
            await asyncio.gather(*trying)
            if not submitting and all(ending.done for _, ending in left):
                saying.cancel()
                return
            await asyncio.sleep(CANCEL_PAUSE)
        for i, job in enumerate(self.jobs):
            if not endings.get(i, Ending()).done:
                self._log.error("%s", cancel_by_hand(job, endings.get(i, Ending()).error))

    def _say_what_is_left(self, endings: Mapping[int, Ending]) -> None:
        """Name what is not cancelled yet: nobody may live to say that it could not be."""
        for i, job in enumerate(self.jobs):
            if not endings.get(i, Ending()).done:
                link = job.link or "in the service"
                self._log.warning("%s is not cancelled yet. If this is the last line, see to it by hand: %s", job, link)

    async def _try_to_cancel(
        self, job: Job, ending: Ending, services: Services, submitting: bool, limit: float
    ) -> None:
        try:
            if await asyncio.wait_for(services.cancel(job), limit):
                self._log.info("Cancelled %s, because the task was told to stop", job)
                ending.done = True
                return
        except asyncio.TimeoutError:
            ending.error = f"the service did not answer within {limit:.0f} s"
            return
        except Exception as exc:  # one job's trouble, even a bug, must not leave the others running
            ending.error = exc if isinstance(exc, OrkError) else repr(exc)
            if not isinstance(exc, TryAgain) and not submitting:
                self._log.error("%s", cancel_by_hand(job, ending.error))
                ending.done = True
            return
        if not submitting:
            ending.absent_until = ending.absent_until or time.monotonic() + ABSENT
            ending.done = time.monotonic() > ending.absent_until  # it never came to be
