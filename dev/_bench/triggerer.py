"""The process that runs triggers: Airflow's own TriggerRunner under its own supervisor, without a metadata database.

What is Airflow's: how triggers travel, are created, run, logged and reported, the exchange of state every second, the
watchdog, and the question to the supervisor for each connection. What is ours: where triggers come from (a file for
each wave, 50 to a loop of the supervisor, as Airflow's `max_trigger_to_select_per_loop` has it), who answers for
connections (this process's AIRFLOW_CONN_* variables, which the runner does not see), and that an event ends in a list
instead of a database. What a real triggerer's database costs is therefore not measured, for anyone.

Started by `_bench.runner`, as `python -m _bench.triggerer FOLDER`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pickle
import resource
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import attrs
from airflow.executors.workloads.trigger import RunTrigger
from airflow.jobs.triggerer_job_runner import TriggerLoggingFactory, TriggerRunner, TriggerRunnerSupervisor
from airflow.models.trigger import Trigger as Row
from airflow.sdk.api.datamodels._generated import ConnectionResponse
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from _bench.board import Board, Order
from _bench.contenders import Trigger
from ork_provider.testing.supervisor import parse_connection
from ork_provider.testing.trigger_runner import task_instance

SAMPLE = 0.1
"""Seconds between two samples of lag and CPU time, in the runner's own event loop."""


class Noting(deque[Any]):
    """A queue that remembers when each thing was put into it."""

    def __init__(self, note: Callable[[Any], None]) -> None:
        super().__init__()
        self._note = note

    def append(self, item: Any) -> None:
        """Note the item, and queue it."""
        self._note(item)
        super().append(item)


class Runner(TriggerRunner):
    """Airflow's runner, with a note of when each event was sent and how late the event loop was."""

    def __init__(self, board: Board, folder: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.board = board
        self.folder = folder
        self.parses = _count_parses()
        self.reported: list[tuple[int, float, Any]] = []
        self.broken: list[tuple[int, float, str]] = []
        self.samples: list[tuple[float, float, float]] = []
        self.events = Noting(lambda entry: self.reported.append((entry[0], time.time(), entry[1].payload)))
        self.failed_triggers = Noting(lambda entry: self.broken.append((entry[0], time.time(), repr(entry[1]))))

    async def arun(self) -> None:
        """Run, and sample."""
        self.board["pid"] = os.getpid()
        sampling = asyncio.create_task(self._sample())
        await super().arun()  # type: ignore[no-untyped-call]
        sampling.cancel()

    async def _sample(self) -> None:
        board, clock = self.board, time.monotonic
        while not board["stop"]:
            began = clock()
            await asyncio.sleep(SAMPLE)
            self.samples.append((time.time(), clock() - began - SAMPLE, time.process_time()))
            board["running"], board["reported"], board["failed"] = (
                len(self.triggers),
                len(self.reported),
                len(self.broken),
            )
        self._dump()
        os._exit(0)  # at once: a trigger that is cancelled would cancel its job

    def _dump(self) -> None:
        found = {"events": self.reported, "failures": self.broken, "samples": self.samples, "parses": self.parses[0]}
        (self.folder / "record.json").write_text(json.dumps(found, default=repr))


def _count_parses() -> list[int]:
    """Count from now on how often a private key is read from its PEM text."""
    from cryptography.hazmat.primitives import serialization

    count, parse = [0], serialization.load_pem_private_key

    def counted(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        return parse(*args, **kwargs)

    setattr(serialization, "load_pem_private_key", counted)  # noqa: B010 - as google-auth finds it
    return count


class Client:
    """Answers the supervisor for connections as Airflow's API does, out of this process's environment."""

    @property
    def connections(self) -> Client:
        """The connections; everything else that Airflow's client has is missing."""
        return self

    def get(self, conn_id: str) -> ConnectionResponse | ErrorResponse:
        """Return a connection."""
        given = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
        if given is None:
            return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": conn_id})
        conn = parse_connection(conn_id, given)
        names = ("conn_type", "host", "login", "password", "port", "extra")
        values = {name: getattr(conn, name) or None for name in names}
        return ConnectionResponse.model_validate({"conn_id": conn_id, "schema": conn.schema or None, **values})


@attrs.define(kw_only=True)
class Supervisor(TriggerRunnerSupervisor):
    """Airflow's supervisor, with files where the database would be."""

    folder: ClassVar[Path]
    board: ClassVar[Board]
    order: ClassVar[Order]

    waves: int = attrs.field(init=False, default=0)
    waiting: dict[int, Trigger] = attrs.field(init=False, factory=dict)
    unassigned: deque[int] = attrs.field(init=False, factory=deque)
    assigned: set[int] = attrs.field(init=False, factory=set)

    @classmethod
    def run_in_process(cls) -> None:
        """Be the runner's process."""
        for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
            del os.environ[name]
        for path in cls.order.prepare:
            module, _, name = path.partition(":")
            getattr(importlib.import_module(module), name)(cls.order.addresses)
        Runner(cls.board, cls.folder).run()  # type: ignore[no-untyped-call]

    def make_client(self) -> Any:
        """See TriggerRunnerSupervisor."""
        return Client()

    def load_triggers(self) -> None:
        """Read a new wave, if there is one, and hand the next 50 triggers to the runner."""
        if self.board["waves"] > self.waves:
            self.waves += 1
            wave: list[Trigger] = pickle.loads((self.folder / f"wave-{self.waves}.pickle").read_bytes())
            start = len(self.waiting) + 1
            self.waiting.update(enumerate(wave, start))
            self.unassigned.extend(range(start, start + len(wave)))
        for _ in range(min(self.order.per_loop, len(self.unassigned))):
            self.assigned.add(self.unassigned.popleft())
        self.update_triggers(set(self.assigned))

    def build_trigger_workloads(self, new_trigger_ids: set[int]) -> list[RunTrigger]:
        """Make what the database and the scheduler make of a deferred task: encrypted kwargs and a log file."""
        return [self._workload(number, *self.waiting[number]) for number in sorted(new_trigger_ids)]

    def _workload(self, number: int, classpath: str, kwargs: dict[str, Any]) -> RunTrigger:
        ti = task_instance(id=uuid.uuid4(), dag_id="bench", task_id=f"wait_{number}")
        self.logger_cache[number] = TriggerLoggingFactory(log_path=log_name(number), ti=ti)
        return RunTrigger(id=number, classpath=classpath, encrypted_kwargs=Row.encrypt_kwargs(kwargs), ti=ti)

    def on_trigger_event(self, trigger_id: int, event: Any) -> None:
        """Forget the trigger, as the database does when its task goes on."""
        self.assigned.discard(trigger_id)

    def on_trigger_failure(self, trigger_id: int, exc: list[str] | None) -> None:
        """Forget the trigger."""
        self.assigned.discard(trigger_id)

    def clean_unused(self) -> None:
        """There is no database to clean."""

    def heartbeat(self) -> None:
        """There is no database to tell."""

    def metric_tags(self) -> dict[str, str]:
        """See TriggerRunnerSupervisor."""
        return {"hostname": "bench"}


def log_name(number: int) -> str:
    """Return the path of a trigger's log below the folder of logs."""
    return f"bench/{number}.log"


def main(folder: Path) -> None:
    """Supervise until the benchmark sets `stop` on the board, or the runner dies."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Supervisor.folder, Supervisor.board = folder, Board(folder / "board")
    Supervisor.order = pickle.loads((folder / "order.pickle").read_bytes())
    Supervisor.start(capacity=1_000_000).run()


if __name__ == "__main__":
    importlib.import_module("_bench.triggerer").main(Path(sys.argv[1]))
