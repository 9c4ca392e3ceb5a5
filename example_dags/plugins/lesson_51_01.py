"""The triggers of section 51.1; see lesson 51.3.3 for why they are not in the DAG files."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import timezone
from airflow.triggers.base import BaseTrigger, TriggerEvent

from ork_provider.supervisor import ask_supervisor

log = logging.getLogger(__name__)


def seconds_until(moment: str) -> float:
    """Return the seconds from now to a moment (ISO 8601, with its time zone), or 0 if it is past."""
    return max(0.0, (timezone.parse(moment) - timezone.utcnow()).total_seconds())


class ReportingTrigger(BaseTrigger):
    """Wait until a moment, then say in which process that was, and from when to when.

    `asked`: when the task deferred, in seconds since the epoch; it goes into the event, for whoever takes the time.
    """

    def __init__(self, moment: str = "", asked: float = 0.0) -> None:
        super().__init__()
        self.moment = moment
        self.asked = asked

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the class, and the arguments to build it again."""
        return "lesson_51_01.ReportingTrigger", {"moment": self.moment, "asked": self.asked}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait without holding anything but a place on the event loop."""
        began = time.time()
        others = len(asyncio.all_tasks()) - 1
        log.info("(51.1.1: 3) process %s runs the trigger, beside %d other coroutines", os.getpid(), others)
        await asyncio.sleep(seconds_until(self.moment))
        yield TriggerEvent({"pid": os.getpid(), "asked": self.asked, "began": began, "ended": time.time()})


class CrowdTrigger(BaseTrigger):
    """One of many: wait until a moment in small steps, and note where that was and how late the steps were.

    `sleepers`: so many more coroutines sleep beside it until then.
    """

    STEP = 0.25  # seconds

    def __init__(self, moment: str = "", asked: float = 0.0, sleepers: int = 0) -> None:
        super().__init__()
        self.moment = moment
        self.asked = asked
        self.sleepers = sleepers

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the class, and the arguments to build it again."""
        kwargs = {"moment": self.moment, "asked": self.asked, "sleepers": self.sleepers}
        return "lesson_51_01.CrowdTrigger", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Take turns with all other triggers on the one thread of the event loop."""
        began, cpu = time.time(), time.process_time()
        left = max(1.0, seconds_until(self.moment))
        crowd = [asyncio.create_task(asyncio.sleep(left)) for _ in range(self.sleepers)]
        await asyncio.sleep(0)  # each of them begins its sleep
        crowded = time.time() - began
        coroutines, steps = len(asyncio.all_tasks()), max(1, round(left / self.STEP))
        late = 0.0
        for _ in range(steps):
            before = time.monotonic()
            await asyncio.sleep(left / steps)  # the others have their turns here
            late = max(late, time.monotonic() - before - left / steps)
        await asyncio.gather(*crowd)
        used = time.process_time() - cpu
        log.info("(51.1.3: 2) thread %s had %d coroutines", threading.current_thread().name, coroutines)
        yield TriggerEvent(
            {
                "trigger_id": self.trigger_id,  # None where no triggerer has set it: `dags test`
                "pid": os.getpid(),
                "parent": os.getppid(),
                "thread": threading.get_ident(),
                "span": [began, time.time()],
                "taken_after": began - self.asked,
                "late": late,
                "cpu": used,
                "coroutines": coroutines,
                "crowded": crowded,
            }
        )


class LifecycleTrigger(BaseTrigger):
    """Ask Airflow for the state of the task that waits for this trigger, wait until a moment, and say what it was.

    `broken`: raise an error instead.
    """

    def __init__(
        self, moment: str = "", dag_id: str = "", run_id: str = "", task_id: str = "", broken: bool = False
    ) -> None:
        super().__init__()
        self.moment = moment
        self.dag_id = dag_id
        self.run_id = run_id
        self.waiting_task = task_id  # `self.task_id` belongs to Airflow
        self.broken = broken

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the class, and the arguments to build it again."""
        names = {"dag_id": self.dag_id, "run_id": self.run_id, "task_id": self.waiting_task}
        return "lesson_51_01.LifecycleTrigger", {"moment": self.moment, "broken": self.broken, **names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait in the middle of the task's life."""
        state = await self._own_state()
        log.info("(51.1.4: 1) while trigger %s waits, its task is %s", self.trigger_id, state)
        await asyncio.sleep(seconds_until(self.moment))
        if self.broken:
            raise ConnectionError(f"the service of trigger {self.trigger_id} has gone away")
        yield TriggerEvent({"state": state, "trigger_id": self.trigger_id, "pid": os.getpid()})

    async def cleanup(self) -> None:
        """Note that Airflow called this: it does after every end of `run()`, and when a triggerer stops."""
        from airflow.sdk.execution_time.comms import SetXCom

        log.info("(51.1.4: 3) cleanup() of trigger %s", self.trigger_id)
        where = {"dag_id": self.dag_id, "run_id": self.run_id, "task_id": self.waiting_task}
        await ask_supervisor(SetXCom(key="cleaned_up", value=self.trigger_id, map_index=-1, **where), timeout=30)

    async def _own_state(self) -> str:
        from airflow.sdk.execution_time.comms import GetTaskStates

        # The first request makes a triggerer build its API: seconds, once.
        answer = await ask_supervisor(GetTaskStates(dag_id=self.dag_id, run_ids=[self.run_id]), timeout=30)
        return str(answer.task_states[self.run_id][self.waiting_task])
