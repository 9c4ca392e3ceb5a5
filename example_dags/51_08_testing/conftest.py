"""What the tests of section 51.8 share: a job service, and Airflow's task runner without a scheduler."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="lesson-tests-"))  # before airflow is imported

from airflow.sdk import DAG, timezone
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.execution_time.supervisor import set_supervisor_comms
from airflow.sdk.serde import deserialize, serialize
from airflow.triggers.base import BaseTrigger

from ork_provider.testing import FakeHttpJobs, RecordedRequest


class AskedJobs(FakeHttpJobs):
    """Jobs whose time is counted in questions: one that runs for 3 has ended at the third question, on any machine."""

    def __init__(self) -> None:
        self.asked = 0
        super().__init__(pending=0, running=1000, clock=lambda: self.asked)

    def authorize(self, request: RecordedRequest) -> None:
        """Count; the service calls this for every request that it answers itself."""
        self.asked += request.method == "GET"


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[AskedJobs]:
    """Serve jobs at the end of the connection `http_default`; they do not end if their body does not say when."""
    with AskedJobs() as service:
        for name, value in service.connections().items():
            monkeypatch.setenv(name, value)
        yield service


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str, Any], None]:
    """Let a test say what it has seen: as `record_property`, but text only, which every report can hold."""
    return lambda name, value: request.node.user_properties.append((name, str(value)))


@pytest.fixture
def _execute_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test call `execute()`: Airflow refuses it outside its task runner."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


@dataclass
class TaskRun:
    """One task instance in Airflow's own task runner; it sends what it wants of Airflow here, as to its supervisor."""

    operator: Any
    should_retry: bool = False
    xcoms: dict[str, Any] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    deferral: comms.DeferTask | None = None
    error: BaseException | None = None

    def start(self) -> str:
        """Run the task from its beginning, as a worker does; return its state."""
        self.xcoms.clear()
        return self._run(None, None)

    def resume(self, event: Any) -> str:
        """Run the rest of it, as the scheduler has it done after an event."""
        assert self.deferral is not None
        return self._run(self.deferral.next_method, {**(deserialize(self.deferral.next_kwargs) or {}), "event": event})

    def give_up(self, error: str) -> str:
        """Run the rest of it, as the scheduler has it done without an event: `error` says why."""
        return self._run("__fail__", {"error": error})

    @property
    def trigger(self) -> BaseTrigger:
        """The trigger, built from what the task has sent to Airflow."""
        assert self.deferral is not None
        new: BaseTrigger = import_string(self.deferral.classpath)(**deserialize(self.deferral.trigger_kwargs))
        return new

    def send(self, msg: Any) -> Any:
        """Answer the task runner."""
        if isinstance(msg, comms.SetXCom):
            self.xcoms[msg.key] = msg.value
        if isinstance(msg, comms.GetXCom):
            return comms.XComResult(key=msg.key, value=self.xcoms.get(msg.key))
        return None

    def _run(self, method: str | None, kwargs: dict[str, Any] | None) -> str:
        ti = _task_instance(self.operator, self.should_retry, method, kwargs)
        with set_supervisor_comms(self):
            state, msg, self.error = task_runner.run(ti, ti.get_template_context(), task_runner.structlog.get_logger())
        self.deferral = msg if isinstance(msg, comms.DeferTask) else None
        self.states.append(state.value)
        return state.value


@pytest.fixture
def task_run() -> Iterator[Callable[..., TaskRun]]:
    """Put an operator into a DAG and into the task runner, which takes SIGTERM for itself."""
    sigterm = signal.getsignal(signal.SIGTERM)

    def make(operator: Any, **options: Any) -> TaskRun:
        with DAG("tested", schedule=None) as dag:
            dag.add_task(operator)
        return TaskRun(operator, **options)

    yield make
    signal.signal(signal.SIGTERM, sigterm)


def _task_instance(operator: Any, should_retry: bool, method: str | None, kwargs: dict[str, Any] | None) -> Any:
    now = timezone.utcnow()
    run = DagRun(
        dag_id=operator.dag_id,
        run_id="run",
        logical_date=now,
        data_interval_start=now,
        data_interval_end=now,
        run_after=now,
        start_date=now,
        end_date=None,
        run_type="manual",
        state="running",
        consumed_asset_events=[],
        partition_key=None,
    )
    from_server = TIRunContext(
        dag_run=run,
        max_tries=1,
        should_retry=should_retry,
        next_method=method,
        next_kwargs=serialize(kwargs) if kwargs else None,
    )
    return task_runner.RuntimeTaskInstance.model_construct(
        id=uuid4(),
        task_id=operator.task_id,
        dag_id=operator.dag_id,
        run_id="run",
        try_number=1,
        map_index=-1,
        dag_version_id=uuid4(),
        task=operator,
        bundle_instance=None,
        start_date=now,
        _ti_context_from_server=from_server,
    )
