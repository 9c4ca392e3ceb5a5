"""The monkey: breaks things in a real Airflow and in the services, by a seed, one after the other."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from ork_provider.testing import FakeServer, Fault
from ork_provider.testing.local_airflow import LocalAirflow, LocalAirflowError
from ork_provider.testing.server import FaultRule
from tests.chaos.ledger import Asked, Trouble
from tests.chaos.plan import Work
from tests.support.cloud import Cloud
from tests.support.postgres import Postgres


@dataclass(frozen=True)
class Site:
    """What there is to break: an Airflow, its database and the services, and what runs there."""

    works: list[Work]
    cloud: Cloud
    postgres: Postgres
    airflow: LocalAirflow


TRIGGERERS = ("triggerer", "triggerer-2")
SETTLED = 4.0
"""Seconds for which a triggerer must have had a task before a user's kill counts as one that somebody could see."""

SEEN = 4.0
"""Seconds after such a kill in which nothing else is broken."""

BEAT = 20.0
"""Seconds in which the triggerer must give a sign of life after it; until then it has not seen it, and nobody has."""

FAULTS: dict[str, int] = {
    "triggerer SIGKILL": 3,
    "triggerer SIGTERM": 2,
    "scheduler SIGKILL": 2,
    "scheduler SIGTERM": 1,
    "task SIGKILL": 5,
    "worker SIGKILL": 3,
    "task SIGTERM": 3,
    "database cut": 3,
    "outage": 2,
    "429 storm": 2,
    "slow answers": 2,
    "hung sockets": 3,
    "user kill": 5,
    "user clear": 5,
    "kill unseen": 2,
}
"""What is done, and how often."""

HUNG = 40.0
"""Seconds after which whoever sent a request that hangs has given it up, and has sent it again."""

RECOVERY = {"triggerer": 25.0, "scheduler": 30.0, "database": 10.0}
"""Seconds until all works again after a component was lost, at the settings of the suite: its start, and the time after
which Airflow gives up on the lost one."""


@dataclass
class Lasting:
    """A fault of a service that lasts."""

    ends: float
    end: Callable[[], None]


@dataclass
class Monkey:
    """What it did is in `log` (seconds since the start, words), `done` (how often) and `asked`."""

    seed: int
    site: Site
    run_id: str
    asked: Asked = field(default_factory=Asked)
    done: Counter[str] = field(default_factory=Counter)
    log: list[tuple[float, str]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.airflow, self.postgres, self.cloud = self.site.airflow, self.site.postgres, self.site.cloud
        self.works = {(work.task_id, work.number): work for work in self.site.works}
        self.began = time.monotonic()
        self._lasting: list[Lasting] = []
        self._hanging: list[tuple[FakeServer, FaultRule]] = []
        self._down: dict[str, float] = {}

    # -- the course of things ----------------------------------------------------------------------------------

    def rage(self, seconds: float) -> None:
        """Do all of `FAULTS` in random order, spread over so many seconds; come back when everything runs again."""
        todo = [name for name, times in FAULTS.items() for _ in range(times)]
        self.dice.shuffle(todo)
        pace = seconds / len(todo)
        for i, name in enumerate(todo):
            self._rest_until(self.began + i * pace)
            with contextlib.suppress(httpx.HTTPError, LocalAirflowError):  # the API server is in trouble itself
                self._do(name)
        self.soothe()

    def soothe(self) -> None:
        """End what lasts, and see to it that every component runs."""
        for lasting in self._lasting:
            lasting.end()
        self._lasting.clear()
        self._down = dict.fromkeys(self._down, 0.0)
        self.tend()

    def tend(self) -> None:
        """Start what is down, as a service manager does, and end what has lasted long enough."""
        now = time.monotonic()
        for lasting in [lasting for lasting in self._lasting if lasting.ends <= now]:
            lasting.end()
            self._lasting.remove(lasting)
        for service, rule in self._hanging:  # behind another fault of the service, these requests come later
            if rule.applied < rule.times:
                self._trouble_of(service, HUNG)
        for component in self.airflow.components:
            if not self.airflow.runs(component):
                since = self._down.setdefault(component, now)
                if now - since >= 2 or since == 0.0:
                    self.airflow.launch(component)
                    self._note(f"{component} is started again")
                    self._trouble(component.partition("-")[0])
                    del self._down[component]

    def _rest_until(self, at: float) -> None:
        while (left := at - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(0.5, left))
        self.tend()

    def _do(self, name: str) -> None:
        actions: dict[str, Callable[[], str | None]] = {
            "triggerer SIGKILL": lambda: self._kill(self.dice.choice(TRIGGERERS), signal.SIGKILL),
            "triggerer SIGTERM": lambda: self._kill(self.dice.choice(TRIGGERERS), signal.SIGTERM),
            "scheduler SIGKILL": lambda: self._kill("scheduler", signal.SIGKILL),
            "scheduler SIGTERM": lambda: self._kill("scheduler", signal.SIGTERM),
            "task SIGKILL": lambda: self._strike(signal.SIGKILL),
            "worker SIGKILL": lambda: self._strike(signal.SIGKILL, supervisor=True),
            "task SIGTERM": lambda: self._strike(signal.SIGTERM),
            "database cut": self._cut,
            "outage": lambda: self._last(60.0, Fault.status(503)),
            "429 storm": lambda: self._last(20.0, Fault.retry_after(429, 2)),
            "slow answers": self._slow,
            "hung sockets": self._hang,
            "user kill": lambda: self._user("killed"),
            "user clear": lambda: self._user("cleared"),
            "kill unseen": self._kill_unseen,
        }
        if (what := actions[name]()) is not None:
            self.done[name] += 1
            self._note(f"{name}: {what}")

    def _note(self, what: str) -> None:
        self.log.append((time.monotonic() - self.began, what))

    def _trouble(self, component: str) -> None:
        now = time.monotonic()
        self.troubles.append(Trouble(now - 5.0, now + RECOVERY.get(component, 10.0)))

    def _trouble_of(self, service: FakeServer, seconds: float) -> None:
        now = time.monotonic()
        self.troubles.append(Trouble(now, now + seconds, service))

    # -- Airflow's parts -----------------------------------------------------------------------------------------

    def _kill(self, component: str, number: int) -> str | None:
        if not self.airflow.runs(component):
            return None
        if component == "scheduler":
            for instance in self._instances("running", "queued", "scheduled"):
                self._note_strike(instance, number)
        self._trouble(component.partition("-")[0])
        self.airflow.kill(component, number)
        return component

    def _strike(self, number: int, *, supervisor: bool = False) -> str | None:
        """Send a signal to the process of a running task, and perhaps to its supervisor as well."""
        running = [i for i in self._instances("running") if i["pid"]]
        if not running:
            return None
        instance = self.dice.choice(running)
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            process = psutil.Process(instance["pid"])
            parent = process.parent()
            self._note_strike(instance, number)
            if supervisor and parent is not None and "airflow" in " ".join(parent.cmdline()):
                os.kill(parent.pid, signal.SIGKILL)
            os.kill(instance["pid"], number)
            return self._tag(instance)
        return None

    def _note_strike(self, instance: dict[str, Any], number: int) -> None:
        """Note that a task's worker is told to stop or killed; a kill in the last try is one that nobody can see."""
        tag, now = self._tag(instance), time.monotonic()
        note = self.asked.stopped if number == signal.SIGTERM else self.asked.struck
        note[tag].append(now)
        if number == signal.SIGKILL and instance["try_number"] > instance["max_tries"]:
            self.asked.unowned[tag] = now

    def _cut(self) -> str:
        self.postgres.cut()
        self._trouble("database")
        return "every connection"

    # -- the services ----------------------------------------------------------------------------------------------

    def _service(self) -> FakeServer:
        return self.dice.choice(self.cloud.all)

    def _last(self, seconds: float, fault: Fault) -> str:
        service = self._service()
        rule = service.fail(fault, times=-1)
        self._lasting.append(Lasting(time.monotonic() + seconds, lambda: _forget(rule)))
        self._trouble_of(service, seconds + 5)
        return f"{service.service}, {seconds:g} s"

    def _slow(self) -> str:
        service = self._service()
        service.latency = 3.0

        def end() -> None:
            service.latency = 0.0

        self._lasting.append(Lasting(time.monotonic() + 15.0, end))
        self._trouble_of(service, 25.0)
        return service.service

    def _hang(self) -> str:
        service = self._service()
        self._hanging.append((service, service.fail(Fault.hang(120), times=6)))
        self._trouble_of(service, HUNG)
        return f"{service.service}, 6 requests"

    # -- the user ---------------------------------------------------------------------------------------------------

    def _user(self, what: str) -> str | None:
        """Kill or clear a deferred task that a triggerer has, and has had for some seconds, and let it be seen."""
        victim = self._owned()
        if victim is None:
            return None
        (task_id, index), owner = victim
        self._rest_until(time.monotonic() + SETTLED)
        if self._owners().get((task_id, index)) != owner or not self._is_up(owner):
            return None
        tag = self.works[task_id, index].tag
        if what == "killed":
            self.asked.killed[tag] = time.monotonic()
            self.airflow.set_task_state("chaos", self.run_id, task_id, "failed", map_index=index)
        else:
            self.asked.cleared[tag].append(time.monotonic())
            self.airflow.clear("chaos", self.run_id, [(task_id, index)])
        if not self._beats(owner) and what == "killed":
            self.asked.unowned[tag] = self.asked.killed.pop(tag)
        return tag

    def _beats(self, owner: int) -> bool:
        """Wait for a sign of life of a triggerer that is younger than now; return whether there was one in time."""
        query = f"SELECT extract(epoch FROM latest_heartbeat) FROM job WHERE id = {owner}"
        began, deadline = time.time(), time.monotonic() + BEAT
        while time.monotonic() < deadline:
            self._rest_until(time.monotonic() + SEEN)
            if float(self.postgres.rows(query)[0][0]) > began + SEEN / 2:
                return True
        return False

    def _kill_unseen(self) -> str | None:
        """Kill a triggerer, and then, as a user, a task that it had: nobody is there to see it."""
        victim = self._owned()
        if victim is None:
            return None
        (task_id, index), owner = victim
        component = self.components().get(owner)
        if component is None:
            return None
        self._kill(component, signal.SIGKILL)
        tag = self.works[task_id, index].tag
        self.asked.unowned[tag] = time.monotonic()
        self.airflow.set_task_state("chaos", self.run_id, task_id, "failed", map_index=index)
        return tag

    def _owned(self) -> tuple[tuple[str, int], int] | None:
        """Return a deferred task, not yet touched, that a live triggerer has, with the number of that triggerer."""
        touched = {*self.asked.killed, *self.asked.unowned, *self.asked.cleared}
        owners = {
            key: owner
            for key, owner in self._owners().items()
            if self._is_up(owner) and self.works[key].tag not in touched and self.works[key].kind != "watch"
        }
        return self.dice.choice(sorted(owners.items())) if owners else None

    def _owners(self) -> dict[tuple[str, int], int]:
        """Return the triggerer's job number of each deferred task that has one."""
        found = self.postgres.rows(
            "SELECT ti.task_id, ti.map_index, t.triggerer_id FROM task_instance ti "
            "JOIN trigger t ON t.id = ti.trigger_id WHERE ti.state = 'deferred' AND t.triggerer_id IS NOT NULL"
        )
        return {(task_id, index): owner for task_id, index, owner in found}

    def components(self) -> dict[int, str]:
        """Return which component each live triggerer's job number is."""
        found = {}
        rows = self.postgres.rows(
            "SELECT id, hostname, extract(epoch FROM start_date) FROM job WHERE job_type = 'TriggererJob' ORDER BY id"
        )
        for component in TRIGGERERS:
            with contextlib.suppress(KeyError, psutil.Error):
                born = psutil.Process(self.airflow.pid(component)).create_time()
                own = [number for number, name, at in rows if name == component and float(at) > born]
                found.update(dict.fromkeys(own[-1:], component))
        return found

    def _is_up(self, owner: int) -> bool:
        component = self.components().get(owner)
        return component is not None and self.airflow.runs(component)

    def _instances(self, *states: str) -> Iterator[dict[str, Any]]:
        for instance in self.airflow.task_instances("chaos", self.run_id):
            if instance["state"] in states and (instance["task_id"], instance["map_index"]) in self.works:
                yield instance

    def _tag(self, instance: dict[str, Any]) -> str:
        return self.works[instance["task_id"], instance["map_index"]].tag


def _forget(rule: FaultRule) -> None:
    rule.times = 0
