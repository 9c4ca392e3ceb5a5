"""A trigger and an operator of one's own: wait for a file that somebody else delivers; shown by docs/patterns.md."""

# [START trigger]
import asyncio
import os
from datetime import datetime, timezone

from airflow.triggers.base import BaseTrigger, TriggerEvent


class DeliveryTrigger(BaseTrigger):
    """Waits until a file is there and has stopped growing; a request file asks for it."""

    def __init__(self, path=None, request=None, deadline=None, poll_interval=5.0, **unknown):
        super().__init__()  # and nothing but assignments: what raises here takes the triggerer down
        self.path = path
        self.request = request
        self.deadline = deadline
        self.poll_interval = poll_interval

    def serialize(self):
        names = ("path", "request", "deadline", "poll_interval")
        return "delivery.DeliveryTrigger", {name: getattr(self, name) for name in names}

    async def run(self):
        yield TriggerEvent(await self._wait())  # one event, plain JSON, whatever has happened

    async def _wait(self):
        end = datetime.fromisoformat(self.deadline)  # of the attempt: a restart of the triggerer does not extend it
        before = None
        while (left := (end - datetime.now(timezone.utc)).total_seconds()) > 0:
            size = await asyncio.to_thread(size_of, self.path)  # a disk may hang; the event loop must not
            if size is not None and size == before:
                return {"status": "success", "path": self.path, "size": size}
            before = size
            await asyncio.sleep(min(self.poll_interval, left))
        return {"status": "timeout", "message": f"{self.path} has not come until {self.deadline}"}

    # [END trigger]
    # [START on_kill]
    async def on_kill(self):
        self._killing = asyncio.ensure_future(self._withdraw())  # goes on when Airflow cancels a second time
        await asyncio.shield(self._killing)

    async def _withdraw(self):
        if await self._state() == "deferred":
            return  # not killed: only moved to another triggerer
        await asyncio.to_thread(remove, self.request)

    async def _state(self):
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import GetTaskStates

        ti = self.task_instance
        question = GetTaskStates(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index)
        answer = await asyncio.wait_for(task_runner.SUPERVISOR_COMMS.asend(question), 10)
        name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
        return answer.task_states.get(ti.run_id, {}).get(name)

    async def cleanup(self):
        """End what this process holds, and nothing else: a move to another triggerer calls it, too."""

    # [END on_kill]


# [START helpers]
def size_of(path):
    return os.path.getsize(path) if os.path.exists(path) else None


def remove(path):
    if os.path.exists(path):
        os.remove(path)


# [END helpers]
# [START operator]
from datetime import timedelta  # noqa: E402

from airflow.sdk import BaseOperator  # noqa: E402
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout  # noqa: E402


class DeliveryOperator(BaseOperator):
    """Asks for a file, waits for it without a worker, and returns its size."""

    template_fields = ("path",)

    def __init__(self, *, path, timeout=3600, poll_interval=5, **kwargs):
        super().__init__(**kwargs)
        self.path = path
        self.timeout = timeout
        self.poll_interval = poll_interval

    @property
    def request(self):
        return f"{self.path}.request"

    def execute(self, context):
        open(self.request, "w").close()
        wait = timedelta(seconds=self.timeout)
        trigger = DeliveryTrigger(
            path=self.path,
            request=self.request,
            deadline=(datetime.now(timezone.utc) + wait).isoformat(),
            poll_interval=self.poll_interval,
        )
        # Airflow's timeout is a net for a triggerer that does not run: it tells neither trigger nor operator.
        self.defer(trigger=trigger, method_name="execute_complete", timeout=wait + timedelta(minutes=5))

    def execute_complete(self, context, event=None):
        remove(self.request)
        if not event or event.get("status") != "success":
            raise RuntimeError((event or {}).get("message", f"no event that is known: {event}"))
        return event["size"]

    def resume_execution(self, next_method, next_kwargs, context):
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError):  # execute_complete is not called then
            remove(self.request)
            raise


# [END operator]
