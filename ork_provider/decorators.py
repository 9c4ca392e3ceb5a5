"""``@task.deferred``: a function starts jobs with any client it likes and returns them; the task ends when they do."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from ork_provider.attempt import Handover, Store
from ork_provider.ending import Watched
from ork_provider.errors import InvalidJob, JobError
from ork_provider.forms import EXPECTED, HandedOver, read_handed_over
from ork_provider.job import Job, JobState, JobStatus
from ork_provider.operator.many import JobsOperator
from ork_provider.operator.owner import OwnerOperator, no_retry
from ork_provider.service import CONNECTIONS
from ork_provider.waiting import needed

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.worker import Worker


class DeferredOperator(DecoratedOperator, JobsOperator, OwnerOperator):
    """The operator behind ``@task.deferred``.

    The function returns jobs in any form of ``ork_provider.forms``, such as ``{"deferred": [...], "rows": 3}``, or
    yields each as soon as it has started it: then a failure between two of them ends those before it. Returns
    ``{"jobs": [...]}`` and the other keys of the function's dict.

    A next try that finds the jobs of an earlier one running or succeeded waits for those and does not call the
    function; otherwise what still runs is ended first (``on_existing``, see OwnerOperator).
    """

    template_fields: Sequence[str] = ("op_args", "op_kwargs", *CONNECTIONS)
    template_fields_renderers: ClassVar[dict[str, str]] = {"op_args": "py", "op_kwargs": "py"}
    custom_operator_name: ClassVar[str] = "@task.deferred"
    ui_color = "#f3e8fd"

    def execute(self, context: Context) -> Any:
        """Take up the jobs of an earlier try or call the function; wait for the jobs."""
        from airflow.sdk.serde import deserialize

        with self._worker() as worker:
            store = Store(context, self.log, Handover)
            handover = self._take_up(store, context, worker) or self._call(store, context, worker)
            self._guard.check()
            self.carried = {"output": deserialize(handover.output) if handover.output else {}}
            return self._watch(context, handover.jobs, handover.deadline, worker)

    def execute_complete(
        self, context: Context, event: Any = None, output: Mapping[str, Any] | None = None, **unknown: Any
    ) -> Any:
        """Turn the trigger's event into the task's result or its failure."""
        self.carried = {"output": self._stored_output(context) if output is None else output}
        return super().execute_complete(context, event, **unknown)

    def _go_on_without_trigger(self, context: Context, gave_up: Exception) -> Any:
        self.carried = {"output": self._stored_output(context)}
        return super()._go_on_without_trigger(context, gave_up)

    def _stored_output(self, context: Context) -> Any:
        """Return what the function returned beside its jobs; ``dags test`` drops all arguments but the event."""
        from airflow.sdk.serde import deserialize

        stored = Store(context, self.log, Handover).load()
        return deserialize(stored.output) if stored and stored.output else {}

    def result(self, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the jobs and what else the function returned."""
        return {**self.carried.get("output", {}), **super().result(jobs)}

    def stored_jobs(self, context: Context) -> Sequence[Job]:
        """See OwnerOperator."""
        stored = Store(context, self.log, Handover).load()
        return stored.jobs if stored else ()

    # What an earlier try left --------------------------------------------------------------------

    def _take_up(self, store: Store[Handover], context: Context, worker: Worker) -> Handover | None:
        """Return what an earlier try handed over if it is to be waited for; else see that its jobs have ended."""
        stored = store.load()
        if stored is None:
            return None
        looked = worker.run_interruptible(self._look_for_certain(stored, worker))
        running = [job for job, status in looked if status.state is JobState.RUNNING]
        if running and self.on_existing == "fail":
            raise JobError(f"{_list(running)} of an earlier try still runs, and on_existing is 'fail'.")
        self._guard.answer_for(*running)
        reason = self._why_anew(stored, [status for _, status in looked], context)
        if reason is None:
            self.log.info("%s of an earlier try: taken up, not started again", _list(stored.jobs))
            return stored
        if running:
            self._retire(running, reason, worker)
        self._guard.check()
        self._guard.answer_for()
        return None

    async def _look_for_certain(self, stored: Handover, worker: Worker) -> Watched:
        """Return how the jobs are; one that its service does not know is lost only when that is certain."""
        lost = JobStatus(state=JobState.LOST)
        seen = await asyncio.gather(*(self._ask_for_certain(job, stored.at, worker) for job in stored.jobs))
        return [(job, status or lost) for job, status in zip(stored.jobs, seen, strict=True)]

    def _why_anew(self, stored: Handover, statuses: Sequence[JobStatus], context: Context) -> str | None:
        """Say why the jobs of an earlier try are not to be waited for, if they are not."""
        if stored.max_tries != _max_tries(context):
            return "the task was cleared"
        if self.on_existing == "new":
            return "on_existing is 'new'"
        if not stored.complete:
            return "the function did not come to its end"
        good = [s for s in statuses if s.state in (JobState.RUNNING, JobState.SUCCEEDED)]
        if len(good) < needed(self.until, len(statuses)):
            return "others have ended without success"
        return None

    # The function --------------------------------------------------------------------------------

    def _call(self, store: Store[Handover], context: Context, worker: Worker) -> Handover:
        """Call the function; what it hands over is remembered at once, and ended if the function fails after it."""
        handover = Handover(
            jobs=(),
            max_tries=_max_tries(context),
            at=self.clock.now(),
            deadline=self._new_deadline(),
            complete=False,
        )
        output: dict[str, Any] = {}
        self._guard.check()
        self._guard.submitting = True
        try:
            for value, last in self._values(context, worker):
                found = read_handed_over(value, "the return value" if last else "what it yielded", may_be_empty=last)
                output = {**output, **found.output}
                handover = self._add(handover, found, output, last)
                worker.run(worker.services.read_connections(found.jobs))
                self._guard.answer_for(*handover.jobs)
                store.save(handover)
                if found.problems:
                    said = " ".join(found.problems)
                    raise InvalidJob(f"{self}: what the function returned cannot be waited for. {said}")
        except (Exception, SystemExit) as exc:
            self._guard.submitting = False
            self._give_up(handover.jobs, worker)
            if isinstance(exc, InvalidJob):
                raise no_retry(exc) from exc
            raise
        finally:
            self._guard.submitting = False
        self._guard.check()
        self.log.info("Started %s", _list(handover.jobs))
        return handover

    def _values(self, context: Context, worker: Worker) -> Iterator[tuple[Any, bool]]:
        """Call the function; go through what it yields and returns, and say which is the last."""
        kwargs = self.determine_kwargs({**context, **self.op_kwargs})
        value = self.python_callable(*self.op_args, **kwargs)
        if inspect.isgenerator(value):
            rest: list[Any] = []
            yield from ((part, False) for part in _go_through(value, rest))
            value = [] if rest[0] is None else rest[0]
        elif inspect.iscoroutine(value):
            value = worker.run(value)
        yield value, True

    def _add(self, handover: Handover, found: HandedOver, output: dict[str, Any], last: bool) -> Handover:
        """Return the handover with what was found; what is wrong with it all is added to the problems."""
        from airflow.sdk.serde import serialize

        jobs = tuple(dict.fromkeys((*handover.jobs, *found.jobs)))
        try:
            serialized = serialize(output) if output else None
        except Exception as exc:
            found.problems.append(f"Its other output cannot be kept ({exc}).")
            serialized = None
        if last and not found.problems:
            found.problems += self._wrong_with(jobs)
        return replace(handover, jobs=jobs, output=serialized, complete=last and not found.problems)

    def _wrong_with(self, jobs: Sequence[Job]) -> list[str]:
        if not jobs:
            return [f"There is no job in it. {EXPECTED}"]
        try:
            needed(self.until, len(jobs))
        except InvalidJob as exc:
            return [str(exc)]
        return []

    def _give_up(self, jobs: Sequence[Job], worker: Worker) -> None:
        """End jobs that nobody is going to wait for."""
        self._guard.join()
        if not jobs or self._guard.killed:
            return
        if not self.cancel_rest:
            self.log.error("Nobody waits for %s, and cancel_rest is False", _list(jobs))
            return
        running = JobStatus(state=JobState.RUNNING)
        _, said = worker.run(self._ender(worker).stop_all([(job, running) for job in jobs]))
        self.log.error("Nobody waits for what was started. %s", " ".join(said))


def _go_through(generator: Generator[Any, Any, Any], rest: list[Any]) -> Iterator[Any]:
    """Yield what a generator yields; what it returns is left in ``rest``."""
    rest.append((yield from generator))


def _max_tries(context: Context) -> int:
    return int(getattr(context["ti"], "max_tries", 0) or 0)


def _list(jobs: Sequence[Job]) -> str:
    some = ", ".join(map(str, jobs[:5]))
    return f"{some} and {len(jobs) - 5} more" if len(jobs) > 5 else some


def deferred_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """Make a task of a function that starts jobs and returns them; it holds no worker while they run.

    :param python_callable: the function
    :param multiple_outputs: push each key of the result as an XCom of its own
    :param kwargs: as WaitForJobsOperator takes them (``until``, ``fail_fast``, ``timeout``, connection ids, ...), and
        ``on_existing``; the jobs are cancelled on a kill or a timeout unless told otherwise
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=DeferredOperator,
        **kwargs,
    )
