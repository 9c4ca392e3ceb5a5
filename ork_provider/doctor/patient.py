"""Patient, the deployment that is examined: what was read of it, each once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.configuration import conf
from airflow.utils.net import get_hostname

from ork_provider.cli.reading import Deferred, Triggerer, count_triggers, now, read_deferred, read_triggerers
from ork_provider.doctor.processes import TriggererProcess, find_processes


class Patient:
    """A deployment, as far as this machine can see it.

    :param session: a session of the metadata database
    :param logs: files that triggerers of this machine write their own log to, beside those that are found
    """

    def __init__(self, session: Any, logs: Sequence[Path] = ()) -> None:
        self.session = session
        self.logs = tuple(logs)
        self.hostname: str = get_hostname()  # type: ignore[no-untyped-call]
        self.now = now()

    @cached_property
    def deferred(self) -> list[Deferred]:
        """The deferred tasks, the longest waiting first."""
        return read_deferred(self.session, self.triggerers)

    @cached_property
    def triggerers(self) -> dict[int, Triggerer]:
        """All triggerers that the database knows, by id."""
        return read_triggerers(self.session, self.now)

    @property
    def alive(self) -> list[Triggerer]:
        """Those that Airflow counts as alive."""
        return [triggerer for triggerer in self.triggerers.values() if triggerer.alive]

    @cached_property
    def held(self) -> dict[int | None, int]:
        """How many triggers each triggerer has; under None: nobody's."""
        return count_triggers(self.session)

    @cached_property
    def processes(self) -> list[TriggererProcess]:
        """The triggerers that run on this machine, with their processes."""
        running = [t for t in self.triggerers.values() if t.ended is None and t.hostname == self.hostname]
        return find_processes(running)

    @property
    def elsewhere(self) -> list[Triggerer]:
        """The living triggerers whose processes cannot be seen from here."""
        here = {process.triggerer.id for process in self.processes}
        return [triggerer for triggerer in self.alive if triggerer.id not in here]

    def capacity(self, triggerer: Triggerer) -> int:
        """How many triggers a triggerer takes: by its command line where it is seen, else by the setting here."""
        for process in self.processes:
            if process.triggerer.id == triggerer.id and process.capacity is not None:
                return process.capacity
        return int(conf.getint("triggerer", "capacity"))
