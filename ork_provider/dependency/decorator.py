"""``@task.dependency_wait``: a function that runs once its dependencies are complete, and gets their outputs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from ork_provider.dependency.job import TaskDependency
from ork_provider.dependency.operator import DependencyWaitOperator
from ork_provider.dependency.outputs import Outputs, read_output
from ork_provider.dependency.service import service_of
from ork_provider.dependency.status import outside_loops
from ork_provider.job import Job, JobStatus

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.worker import Worker


class DependencyWaitDecoratedOperator(DecoratedOperator, DependencyWaitOperator):
    """The operator behind ``@task.dependency_wait``; returns what the function returns."""

    template_fields: Sequence[str] = ("op_args", "op_kwargs", *DependencyWaitOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "op_args": "py",
        "op_kwargs": "py",
        **DependencyWaitOperator.template_fields_renderers,
    }
    custom_operator_name: ClassVar[str] = "@task.dependency_wait"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        given = dict(op_kwargs or {})
        names = list(inspect.signature(python_callable).parameters)
        if "output" in names[len(op_args or ()) :]:
            given.setdefault("output", None)  # the outputs take its place when the function is called
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=given, **kwargs)

    def execute(self, context: Context) -> Any:
        """Wait, then call the function."""
        return DependencyWaitOperator.execute(self, context)

    def _result(self, context: Context, jobs: Sequence[tuple[Job, JobStatus]], worker: Worker) -> Any:
        """Call the function with the outputs of the dependencies."""
        found = [
            (replace(job, conn_id=job.conn_id or self.airflow_conn_id), str(status.stats["run_id"]))
            for job, status in jobs
            if isinstance(job, TaskDependency) and status.stats.get("run_id")
        ]

        def read(job: TaskDependency, run_id: str, task_id: str) -> Any:
            async def reading() -> Any:
                return await read_output(await service_of(job, worker.services), job, run_id, task_id)

            what = f"Reading what {task_id} of {job.dag_id} has returned"
            return outside_loops(lambda: worker.run(self._keep_trying(reading, what)))

        given = {name: value for name, value in self.op_kwargs.items() if name != "output" or value is not None}
        takes = "output" in list(inspect.signature(self.python_callable).parameters)[: len(self.op_args)]
        outputs = {} if takes else {"output": Outputs(found, read)}  # it may be given by its place
        kwargs = self.determine_kwargs({**context, **outputs, **given})
        value = self.python_callable(*self.op_args, **kwargs)
        return asyncio.run(value) if inspect.iscoroutine(value) else value


def dependency_wait_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """Make a task of a function that is called once other tasks are complete; it holds no worker while it waits.

    The function may take ``output``: what the tasks have returned, by task id (see ``Outputs``).

    :param python_callable: the function
    :param multiple_outputs: push each key of the result as an XCom of its own
    :param kwargs: as DependencyWaitOperator takes them; ``depends_on`` is needed
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=DependencyWaitDecoratedOperator,
        **kwargs,
    )
