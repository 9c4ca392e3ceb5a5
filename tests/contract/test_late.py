"""A job that appears only after its try has died: the next try, and a clear, wait for it before they start another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ork_provider.cloud_run import CloudRunJobOperator
from ork_provider.cloud_run import operator as cloud_run_operator
from ork_provider.dqops import DqopsRunChecksOperator
from ork_provider.operator import owner
from ork_provider.testing import DqopsOutcome, ExecutionOutcome, FakeCloudRun, FakeDqops
from tests.contract.test_reattach import Died, die
from tests.support.task import Task

LATE = 1.5


@contextmanager
def late_cloud_run(running: float) -> Iterator[Any]:
    with FakeCloudRun() as fake:
        fake.script(lambda _: True, ExecutionOutcome(pending=0, running=running, appears_after=LATE))
        yield fake


@contextmanager
def late_dqops(running: float) -> Iterator[Any]:
    with FakeDqops(appears_after=LATE) as fake:
        fake.script(lambda _: True, DqopsOutcome(pending=0, running=running))
        yield fake


def cloud_run_task() -> Any:
    return CloudRunJobOperator(task_id="load", region="r", job_name="nightly", poll_interval=0.2)


def dqops_task() -> Any:
    return DqopsRunChecksOperator(task_id="load", connection="c", poll_interval=0.2)


KINDS = {"cloudrun": (late_cloud_run, cloud_run_task), "dqops": (late_dqops, dqops_task)}


@pytest.fixture(autouse=True)
def _graces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a minute be five seconds: on a busy machine a request takes one."""
    monkeypatch.setattr(owner, "INTENT_GRACE", 5.0)
    monkeypatch.setattr(owner, "CLEAR_GRACE", 0.0)
    monkeypatch.setattr(cloud_run_operator, "LOOK_AGAIN", 0.05)


@pytest.mark.parametrize("cleared", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_late_job(name: str, cleared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry finds the job that was not there at first; a clear ends it before another starts. Never two at once."""
    make_fake, make = KINDS[name]
    with make_fake(60 if cleared else 3) as fake:
        for variable, value in fake.connections().items():
            monkeypatch.setenv(variable, value)
        task = Task()
        task.ti.max_tries = 1
        with pytest.raises(Died):
            die(make(), sent=True).execute(task.context)
        if cleared:
            task.clear().start(make())
            old, new = fake.started
            assert old.cancelled_at <= new.created_at
            assert len(fake.live()) == 1
        else:
            assert task.retry().run(make())["state"] == "succeeded"
            assert len(fake.started) == 1


@pytest.mark.parametrize("name", KINDS)
def test_job_that_never_came_to_be(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace a request that was never sent is sent."""
    make_fake, make = KINDS[name]
    with make_fake(0.5) as fake:
        for variable, value in fake.connections().items():
            monkeypatch.setenv(variable, value)
        task = Task()
        task.ti.max_tries = 1
        with pytest.raises(Died):
            die(make(), sent=False).execute(task.context)
        assert not fake.started
        assert task.retry().run(make())["state"] == "succeeded"
        assert len(fake.started) == 1
