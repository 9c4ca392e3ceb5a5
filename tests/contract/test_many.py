"""One task and one trigger for many jobs of all kinds: how many are enough, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ork_provider.errors import InvalidJob, JobFailed
from ork_provider.job import Job, job_from_dict
from ork_provider.operator import WaitForJobsOperator
from ork_provider.testing import run_trigger
from ork_provider.trigger import JobsTrigger
from tests.contract.kinds import KINDS, Kind
from tests.support.task import Task


class Cloud:
    """A fake of every kind at once, each behind a connection of its own."""

    def __init__(self, kinds: dict[str, Kind]) -> None:
        self.kinds = kinds

    def start(self, name: str, running: float, good: bool = True) -> Job:
        """Start one job of a kind; return it as a watcher gets it."""
        kind = self.kinds[name]
        kind.script(running, good, 0.0)
        Task().start(self.operator(name))
        return job_from_dict({**kind.watch(kind.started()[-1]), "conn_id": name})

    def operator(self, name: str) -> Any:
        """Make an operator of a kind."""
        make = self.kinds[name].operator
        return make(**{next(iter(make().trigger_class.connection_defaults)): name})

    def cancels(self) -> int:
        """How many cancel requests reached any of the services."""
        return sum(kind.cancels() for kind in self.kinds.values())

    def live(self) -> int:
        """How many jobs run anywhere."""
        return sum(len(kind.live()) for kind in self.kinds.values())


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with ExitStack() as stack:
        kinds = {name: stack.enter_context(make()) for name, make in KINDS.items()}
        for name, kind in kinds.items():
            (connection,) = kind.fake.connections().values()
            monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", connection)
        yield Cloud(kinds)


def test_all_kinds_together(cloud: Cloud) -> None:
    """One task waits for a job of every kind, with one trigger, and lists each with state, stats and link."""
    jobs = [cloud.start(name, 2.0) for name in KINDS]
    task = Task()
    deferred = task.start(WaitForJobsOperator(task_id="wait", jobs=jobs, poll_interval=0.2))
    assert isinstance(deferred.trigger, JobsTrigger)
    assert [job["service_type"] for job in task.ti.xcoms["ork_job"]] == list(KINDS)
    operator = WaitForJobsOperator(task_id="wait", jobs=jobs)
    result = task.resume(operator, deferred)
    assert [(job["service_type"], job["state"]) for job in result["jobs"]] == [(name, "succeeded") for name in KINDS]
    assert all({"message", "stats", "link"} <= set(job) for job in result["jobs"])
    json.dumps(result)


def start_64(cloud: Cloud, running: float, bad: int | None = None) -> list[Job]:
    """Start 64 jobs of all kinds in turn; one of them fails early."""
    names = [list(KINDS)[i % len(KINDS)] for i in range(64)]
    return [cloud.start(name, 1.0 if i == bad else running, good=i != bad) for i, name in enumerate(names)]


def test_64_jobs(cloud: Cloud) -> None:
    """64 jobs of all kinds end well in one trigger."""
    jobs = start_64(cloud, 5)
    task = Task()
    result = task.run(WaitForJobsOperator(task_id="wait", jobs=jobs, poll_interval=0.5))
    assert [job["state"] for job in result["jobs"]] == ["succeeded"] * 64
    assert [job["job_id"] for job in result["jobs"]] == [job.to_dict()["job_id"] for job in jobs]
    assert (task.deferrals, cloud.cancels()) == (1, 0)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("cancel_rest", [True, False])
def test_one_failure_with_fail_fast(cloud: Cloud, cancel_rest: bool, deferrable: bool) -> None:
    """The first failure ends the wait; the other running jobs are cancelled, each once, or none is."""
    jobs = start_64(cloud, 120, bad=33)
    operator = WaitForJobsOperator(
        task_id="wait", jobs=jobs, fail_fast=True, cancel_rest=cancel_rest, deferrable=deferrable, poll_interval=0.5
    )
    task = Task()
    with pytest.raises(JobFailed, match="Syntax error") as caught:
        task.run(operator)
    states = [job["state"] for job in caught.value.jobs]
    assert states.pop(33) == "failed"
    assert caught.value.job == caught.value.jobs[33]
    assert task.ti.xcoms["ork_job"] == caught.value.jobs
    if cancel_rest:
        assert (set(states), cloud.cancels(), cloud.live()) == ({"cancelled"}, 63, 0)
    else:
        assert (set(states), cloud.cancels(), cloud.live()) == ({"running"}, 0, 63)


def test_without_fail_fast_all_are_followed_to_their_end(cloud: Cloud) -> None:
    """A failure fails the task, but only after every job has ended and is listed so."""
    jobs = [cloud.start(name, 1.0 + i / 5, good=i != 1) for i, name in enumerate(KINDS)]
    with pytest.raises(JobFailed) as caught:
        Task().run(WaitForJobsOperator(task_id="wait", jobs=jobs, poll_interval=0.2))
    assert [job["state"] for job in caught.value.jobs] == [
        "failed" if i == 1 else "succeeded" for i in range(len(KINDS))
    ]


@pytest.mark.parametrize("until", [3, "any"])
@pytest.mark.parametrize("cancel_rest", [True, False])
def test_enough_jobs(cloud: Cloud, until: Any, cancel_rest: bool) -> None:
    """until=3 ends at the third success, "any" at the first; the rest goes on or is cancelled as cancel_rest says."""
    need = 1 if until == "any" else until
    jobs = [cloud.start(name, 1.0 if i < need else 120) for i, name in enumerate(KINDS)]
    result = Task().run(
        WaitForJobsOperator(task_id="wait", jobs=jobs, until=until, cancel_rest=cancel_rest, poll_interval=0.2)
    )
    states = [job["state"] for job in result["jobs"]]
    rest = len(KINDS) - need
    assert states == ["succeeded"] * need + (["cancelled"] if cancel_rest else ["running"]) * rest
    assert cloud.cancels() == (rest if cancel_rest else 0)


async def test_kill_ends_all(cloud: Cloud) -> None:
    """A deferred task that is killed and owns its jobs ends each of them, with one cancel each."""
    jobs = await asyncio.to_thread(start_64, cloud, 120)
    trigger = JobsTrigger(jobs=[job.to_dict() for job in jobs], poll_interval=1, cancel_on_kill=True)
    result = await run_trigger(trigger, task_state="failed", kill_after=1.0)
    assert result.killed
    assert (cloud.live(), cloud.cancels()) == (0, 64)


def test_outputs_of_mapped_tasks(cloud: Cloud) -> None:
    """The XCom of a mapped task, a list of results, is a list of jobs; what has ended is not waited for."""
    results = []
    for name in ("bigquery", "custom_http"):
        cloud.kinds[name].script(0.1, True)
        results.append({**Task().run(cloud.operator(name)), "conn_id": name})
    task = Task()
    result = task.run(WaitForJobsOperator(task_id="wait", jobs=[results, {"deferred": results[:1]}]))
    assert ([job["state"] for job in result["jobs"]], task.deferrals) == (["succeeded", "succeeded"], 0)


def test_template_that_was_rendered_to_json(cloud: Cloud) -> None:
    """A template may render to JSON text."""
    job = cloud.start("bigquery", 1.0)
    operator = WaitForJobsOperator(task_id="wait", jobs="{{ jobs }}", poll_interval=0.2)
    operator.render_template_fields({"jobs": json.dumps([job.to_dict()])})  # type: ignore[typeddict-item]
    assert Task().run(operator)["jobs"][0]["state"] == "succeeded"


def test_templates_in_jobs(cloud: Cloud) -> None:
    """The fields of a job value are rendered, as any string that a user writes into an operator."""
    job = cloud.start("dqops", 1.0)
    wire = {**job.to_dict(), "job_id": "{{ number }}"}
    operator = WaitForJobsOperator(task_id="wait", jobs=[wire], poll_interval=0.2)
    operator.render_template_fields({"number": job.to_dict()["job_id"]})  # type: ignore[typeddict-item]
    assert Task().run(operator)["jobs"][0]["state"] == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"jobs": []}, "at least one job"),
        ({"jobs": [{}], "until": 0}, "until must be"),
        ({"jobs": [{}], "until": "some"}, "until must be"),
        ({"jobs": [{}], "until": True}, "until must be"),
        ({"jobs": [{}], "poll_interval": 0}, "poll_interval must be"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, Any], said: str) -> None:
    """What cannot be meant fails when the DAG is parsed, and is named."""
    with pytest.raises(InvalidJob, match=said):
        WaitForJobsOperator(task_id="wait", **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"jobs": [{"service_type": "bigqery"}]}, r"jobs\[0\]\.service_type: unknown job kind 'bigqery'; known kinds"),
        ({"jobs": "not json"}, "'not json' is not a job"),
        ({"jobs": [{"service_type": "custom_http", "url": "/x"}], "until": 2}, "until: expected .* from 1 to 1"),
    ],
    ids=str,
)
def test_bad_jobs(arguments: dict[str, Any], said: str) -> None:
    """What turns out when the task runs fails at once, and is named."""
    with pytest.raises(InvalidJob, match=said):
        WaitForJobsOperator(task_id="wait", **arguments).execute(Task().context)
