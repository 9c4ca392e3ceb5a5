"""What every kind of job must do for those that only watch it: WaitForJobsOperator and the one trigger behind it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from ork_provider import trigger as trigger_module
from ork_provider.errors import JobCancelled, JobFailed, JobLost, Killed, TimedOut
from ork_provider.job import KINDS as JOB_KINDS
from ork_provider.job import Job, job_class, job_from_dict
from ork_provider.operator import WaitForJobsOperator
from ork_provider.testing import Fault, run_trigger
from ork_provider.trigger import JobsTrigger
from ork_provider.waiting import Policy
from tests.contract.kinds import KINDS, Kind
from tests.support.task import Instance, Task


def started(kind: Kind, running: float = 60, good: bool = True, pending: float = 0.1) -> Job:
    """Start a job as somebody else would, and return it as a watcher gets it."""
    kind.script(running, good, pending)
    Task().start(kind.operator())
    return job_from_dict(kind.watch(kind.started()[-1]))


def watcher(*jobs: Job, **kwargs: Any) -> WaitForJobsOperator:
    return WaitForJobsOperator(**{"task_id": "wait", "jobs": list(jobs), "poll_interval": 0.2, **kwargs})


def test_every_kind_is_under_the_contract() -> None:
    """A kind that is not here is not held to anything."""
    assert set(KINDS) == set(JOB_KINDS) - {"dependency"}  # nobody starts or cancels one: test_dependency_*.py


def test_round_trip(kind: Kind) -> None:
    """A job's dict is plain JSON and reads back as the same job, also with the keys of a result beside it."""
    job = started(kind)
    wire = json.loads(json.dumps(job.to_dict()))
    assert wire["service_type"] == kind.name
    assert job_from_dict(wire) == job
    assert job_from_dict({**wire, "state": "succeeded", "message": "", "stats": {}, "link": job.link}) == job
    assert type(job) is job_class(kind.name)


def test_success(kind: Kind) -> None:
    """A watched job that ends well is listed with its state, stats and link; nothing is started or cancelled."""
    job = started(kind, running=1.5)
    task = Task()
    (listed,) = task.run(watcher(job))["jobs"]
    assert (listed["state"], listed["job_id"], listed["link"]) == ("succeeded", job.to_dict()["job_id"], job.link)
    assert isinstance(listed["stats"], dict)
    assert (len(kind.started()), kind.cancels(), task.deferrals) == (1, 0, 1)


def test_failure_is_for_good(kind: Kind) -> None:
    """A failed job stays failed: Airflow does not try again."""
    job = started(kind, running=1.0, good=False)
    with pytest.raises(JobFailed, match="Syntax error") as caught:
        Task().run(watcher(job))
    assert isinstance(caught.value, AirflowFailException)


def test_cancelled_is_for_good(kind: Kind) -> None:
    """A job that somebody cancels is its own outcome."""
    job = started(kind)
    kind.live()[0].cancel()
    with pytest.raises(JobCancelled) as caught:
        Task().run(watcher(job))
    assert isinstance(caught.value, AirflowFailException)


def test_lost(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that its service no longer knows is lost, once it cannot be too new to be seen; that is for good."""
    monkeypatch.setitem(Policy.__init__.__kwdefaults__, "not_found_grace", 0.5)  # type: ignore[arg-type]
    monkeypatch.setattr(trigger_module, "policy_of", Policy)  # none that was made before
    job = started(kind)
    kind.ask_one_by_one()
    kind.fake.fail(Fault.status(404), on=kind.on_status, times=-1)
    with pytest.raises(JobLost, match="no longer known") as caught:
        Task().run(watcher(job))
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("cancels", [False, True])
def test_deadline(kind: Kind, cancels: bool) -> None:
    """Who only watches leaves the job running at the deadline, unless told otherwise; a timeout may be tried again."""
    job = started(kind)
    kwargs = {"cancel_on_timeout": True} if cancels else {}
    with pytest.raises(TimedOut) as caught:
        Task().run(watcher(job, timeout=0.5, **kwargs))
    assert not isinstance(caught.value, AirflowFailException)
    assert (len(kind.live()), kind.cancels()) == ((0, 1) if cancels else (1, 0))


@pytest.fixture
def sigterm() -> Iterator[dict[str, Any]]:
    """Do as Airflow's task runner does: SIGTERM calls on_kill in the main thread, and execute goes on."""
    target: dict[str, Any] = {}
    old = signal.signal(signal.SIGTERM, lambda *_: target["operator"].on_kill())
    yield target
    signal.signal(signal.SIGTERM, old)


@pytest.mark.parametrize("cancels", [False, True])
def test_kill_of_a_running_watcher(kind: Kind, sigterm: dict[str, Any], cancels: bool) -> None:
    """A watcher that is killed in its worker leaves the job alone, unless told otherwise."""
    job = started(kind)
    kwargs = {"cancel_on_kill": True} if cancels else {}
    operator = sigterm["operator"] = watcher(job, deferrable=False, **kwargs)
    threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Killed):
        operator.execute(Task().context)
    assert (len(kind.live()), kind.cancels()) == ((0, 1) if cancels else (1, 0))


@pytest.mark.parametrize("cancels", [False, True])
async def test_kill_of_a_deferred_watcher(kind: Kind, cancels: bool) -> None:
    """A watcher that is killed while it is deferred leaves the job alone, unless told otherwise."""
    job = await asyncio.to_thread(started, kind)
    trigger = JobsTrigger(jobs=[job.to_dict()], poll_interval=0.2, cancel_on_kill=cancels)
    result = await run_trigger(trigger, task_state="failed", kill_after=0.3)
    assert result.killed
    assert (len(kind.live()), kind.cancels()) == ((0, 1) if cancels else (1, 0))


@pytest.mark.parametrize("single", [True, False], ids=["own trigger", "JobsTrigger"])
async def test_restart(kind: Kind, single: bool) -> None:
    """A trigger that goes on in another triggerer, from its row, ends as ever; nothing is cancelled."""
    kind.script(2.0, True)
    deferred = await asyncio.to_thread(Task().start, kind.operator())
    trigger = deferred.trigger if single else JobsTrigger(jobs=deferred.trigger.jobs, poll_interval=0.2)
    moved = await run_trigger(trigger, task_state="deferred", kill_after=0.3)
    assert (moved.killed, kind.cancels()) == (True, 0)
    _, kwargs = trigger.serialize()
    again = type(trigger)(**json.loads(json.dumps(kwargs)))
    result = await run_trigger(again)
    assert [job["state"] for job in result.payload["jobs"]] == ["succeeded"]
    assert (len(kind.started()), kind.cancels()) == (1, 0)


def test_two_connections(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs of one kind over two connections, in one task: each is asked for at its own service."""
    here = started(kind, running=1.5)
    with KINDS[kind.name]() as elsewhere:
        ((_, value),) = elsewhere.fake.connections().items()
        monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", value)
        elsewhere.script(1.5, True)
        default = next(iter(elsewhere.operator().trigger_class.connection_defaults))
        Task().start(elsewhere.operator(**{default: "elsewhere"}))
        there = job_from_dict({**elsewhere.watch(elsewhere.started()[0]), "conn_id": "elsewhere"})
        result = Task().run(watcher(here, there))
        assert [job["state"] for job in result["jobs"]] == ["succeeded", "succeeded"]
        assert "elsewhere" in json.dumps(result["jobs"][1])
        assert (len(kind.started()), len(elsewhere.started())) == (1, 1)
        assert kind.fake.calls(*kind.on_status.split(" "))
        assert elsewhere.fake.calls(*elsewhere.on_status.split(" "))


def test_mapped(kind: Kind) -> None:
    """Mapped instances of one task have a job each, and a retry of one finds its own."""
    kind.script(60, True)
    tasks = [Task(Instance(map_index=i, max_tries=1)) for i in (0, 1)]
    ids = [task.start(kind.operator(what=i)).trigger.jobs[0]["job_id"] for i, task in enumerate(tasks)]
    assert len(set(ids)) == 2
    again = [task.retry().start(kind.operator(what=i)).trigger.jobs[0]["job_id"] for i, task in enumerate(tasks)]
    assert again == ids
    assert len(kind.started()) == 2


def test_pending_job_is_taken_up(kind: Kind) -> None:
    """A retry that finds the job before it has begun waits for it."""
    kind.script(0.2, True, 1.0)
    task = Task()
    task.ti.max_tries = 1
    task.start(kind.operator())
    assert task.retry().run(kind.operator())["state"] == "succeeded"
    assert len(kind.started()) == 1
