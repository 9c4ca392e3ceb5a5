"""What a next try does with the job of an earlier one: never two live jobs, never an old job's result."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ork_provider import ending
from ork_provider.errors import BadRequest, JobError, JobFailed, Killed, TryAgain
from ork_provider.operator import owner
from ork_provider.testing import Fault
from tests.contract.kinds import Kind
from tests.support.task import Task


def most_live(kind: Kind) -> int:
    """Return the largest number of jobs that were alive at one moment, from the fake's own log."""
    moments = []
    for job in kind.started():
        end = job.cancelled_at or job.ended_at if hasattr(job, "ended_at") else job.cancelled_at or float("inf")
        moments += [(job.created_at, 1), (end, -1)]
    alive = peak = 0
    for _, step in sorted(moments):
        alive += step
        peak = max(peak, alive)
    return peak


def first_try(kind: Kind, running: float = 60, good: bool = True, **kwargs: Any) -> Task:
    """Start a job and leave the task deferred."""
    kind.script(running, good)
    task = Task()
    task.ti.max_tries = 1
    task.start(kind.operator(**kwargs))
    return task


def ended(kind: Kind) -> None:
    while kind.live():
        time.sleep(0.05)


def test_running_job_is_taken_up(kind: Kind) -> None:
    """A retry waits for the job that still runs; nothing is submitted, the deadline is inherited."""
    task = first_try(kind, running=1.5, timeout=100)
    deadline = task.attempt["deadline"]
    again = task.retry()
    result = again.run(kind.operator(timeout=100))
    assert result["state"] == "succeeded"
    assert (len(kind.started()), kind.cancels()) == (1, 0)
    assert again.attempt["deadline"] == deadline


def test_succeeded_job_is_taken(kind: Kind) -> None:
    """A job that has succeeded meanwhile gives its result; it is not paid for twice."""
    task = first_try(kind, running=1)
    ended(kind)
    result = task.retry().run(kind.operator())
    assert result["state"] == "succeeded"
    assert len(kind.started()) == 1


def test_failed_job_is_started_anew(kind: Kind) -> None:
    """A failed job is what retries are for: another one is started, under another id."""
    task = first_try(kind, running=1, good=False)
    ended(kind)
    kind.script(0.2, True)
    result = task.retry().run(kind.operator())
    assert result["state"] == "succeeded"
    assert len(kind.started()) == 2


def test_cancelled_job_is_started_anew(kind: Kind) -> None:
    """A job that was cancelled is not waited for."""
    task = first_try(kind)
    kind.live()[0].cancel()
    kind.script(0.2, True)
    assert task.retry().run(kind.operator())["state"] == "succeeded"
    assert len(kind.started()) == 2


def test_forbidden_is_an_error(kind: Kind) -> None:
    """When the service does not let us see the old job, no second one is started."""
    task = first_try(kind)
    kind.fake.fail(Fault.google(403, "accessDenied", "Access Denied: Job"), on=kind.on_status, times=-1)
    with pytest.raises(BadRequest, match="Access Denied"):
        task.retry().run(kind.operator())
    assert len(kind.started()) == 1


def test_unknown_job_is_started_anew(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that the service no longer knows is started anew, once it cannot be too new to be seen."""
    monkeypatch.setattr(owner, "INTENT_GRACE", 0.5)
    task = first_try(kind)
    kind.fake.fail(Fault.status(404), on=kind.on_status, times=2)
    kind.live()[0].cancel()
    kind.script(0.1, True)
    assert task.retry().run(kind.operator())["state"] == "succeeded"
    assert len(kind.started()) == 2


def test_one_404_starts_no_second_job(kind: Kind) -> None:
    """A single 404, however old the job, is not yet a lost job."""
    task = first_try(kind, running=3)
    stored = task.attempt
    task.store.set("ork_attempt", {**stored, "at": "2026-01-01T00:00:00+00:00"})
    kind.fake.fail(Fault.status(404), on=kind.on_status)
    assert task.retry().run(kind.operator())["state"] == "succeeded"
    assert len(kind.started()) == 1


def test_changed_request_ends_the_old_job_first(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the user has changed the task, the old job's result is not wanted: it is cancelled, then another starts."""
    monkeypatch.setattr(owner, "CLEAR_GRACE", 0.0)
    task = first_try(kind)
    kind.script(0.2, True)
    result = task.retry().run(kind.operator(what=2))
    assert result["state"] == "succeeded"
    assert (len(kind.started()), kind.cancels(), most_live(kind)) == (2, 1, 1)
    assert result["job_id"] == task.attempt["job"]["job_id"]


def test_changed_request_does_not_take_an_old_result(kind: Kind) -> None:
    """A job that has succeeded with another request is not the one that is wanted now."""
    task = first_try(kind, running=1)
    ended(kind)
    first = kind.started()[0]
    task.retry().run(kind.operator(what=2))
    assert len(kind.started()) == 2
    assert kind.started()[1] is not first


def test_cleared_task_starts_anew(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear asks for a new job, after the old one has ended; never two at once."""
    monkeypatch.setattr(owner, "CLEAR_GRACE", 0.0)
    task = first_try(kind)
    kind.script(0.2, True)
    assert task.clear().run(kind.operator())["state"] == "succeeded"
    assert (len(kind.started()), kind.cancels(), most_live(kind)) == (2, 1, 1)


def test_cleared_after_success_starts_anew(kind: Kind) -> None:
    """Clearing a task that succeeded runs its job again."""
    task = first_try(kind, running=1)
    ended(kind)
    task.clear().run(kind.operator())
    assert len(kind.started()) == 2


def test_clear_leaves_the_triggerer_its_kill(kind: Kind) -> None:
    """The triggerer cancels a cleared task's job at the same time; the new try lets it, and cancels nothing itself."""
    import threading

    task = first_try(kind)
    old = kind.live()[0]
    threading.Timer(0.7, old.cancel).start()
    kind.script(0.2, True)
    task.clear().run(kind.operator())
    assert (len(kind.started()), kind.cancels(), most_live(kind)) == (2, 0, 1)


def test_on_existing_new(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """on_existing='new' ends the old job and starts another on every try."""
    monkeypatch.setattr(owner, "CLEAR_GRACE", 0.0)
    task = first_try(kind)
    kind.script(0.2, True)
    task.retry().run(kind.operator(on_existing="new"))
    assert (len(kind.started()), kind.cancels(), most_live(kind)) == (2, 1, 1)


def test_on_existing_fail(kind: Kind) -> None:
    """on_existing='fail' fails while the old job runs, and leaves it alone."""
    task = first_try(kind)
    with pytest.raises(JobError, match="on_existing is 'fail'"):
        task.retry().run(kind.operator(on_existing="fail"))
    assert (len(kind.started()), kind.cancels()) == (1, 0)


def test_old_job_that_cannot_be_ended_blocks_a_new_one(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather no job than two: if the old one cannot be seen to end, the task fails and says what to do."""
    monkeypatch.setattr(owner, "CLEAR_GRACE", 0.0)
    monkeypatch.setattr(ending, "SETTLE", 0.5)
    task = first_try(kind)
    kind.fake.fail(Fault.status(403), on=kind.on_cancel, times=-1)
    with pytest.raises(JobError, match="two must not run at once"):
        task.clear().run(kind.operator())
    assert len(kind.started()) == 1


@pytest.mark.parametrize(
    "fault",
    [Fault.reset(after=True), Fault.status(503, after=True), Fault.truncated(), Fault.malformed(after=True)],
    ids=lambda fault: fault.kind,
)
def test_lost_answer_to_the_submit_starts_one_job(kind: Kind, fault: Fault) -> None:
    """The job was created but the answer was lost: asking again finds it, there is no second one."""
    kind.script(0.3, True)
    kind.fake.fail(fault, on=kind.on_submit)
    result = Task().run(kind.operator())
    assert result["state"] == "succeeded"
    assert (len(kind.started()), kind.submits()) == (1, 1 if kind.on_search else 2)


class Died(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


def die(operator: Any, *, sent: bool) -> Any:
    """Make a worker die in its submit call, after or before the request has reached the service."""
    submit = operator.submit

    async def dying(*args: Any) -> None:
        if sent:
            await submit(*args)
        raise Died

    operator.submit = dying
    return operator


def test_worker_that_died_during_the_submit(kind: Kind) -> None:
    """The intent is stored before the call, so the next try finds the job of a worker that was SIGKILLed."""
    kind.script(1.0, True)
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(Died):
        die(kind.operator(), sent=True).execute(task.context)
    assert (len(kind.started()), task.attempt["submitted"]) == (1, False)
    assert task.retry().run(kind.operator())["state"] == "succeeded"
    assert len(kind.started()) == 1


def test_worker_that_died_before_the_submit(kind: Kind) -> None:
    """An intent that never reached the service is submitted by the next try, under the same id."""
    kind.script(0.2, True)
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(Died):
        die(kind.operator(), sent=False).execute(task.context)
    nonce = task.attempt["nonce"]
    again = task.retry()
    assert again.run(kind.operator())["state"] == "succeeded"
    assert (len(kind.started()), again.attempt["nonce"]) == (1, nonce)


@pytest.mark.parametrize("kind", ["bigquery"], indirect=True)
def test_worker_that_died_and_a_clear(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that only the intent knows is ended before a cleared task starts another."""
    monkeypatch.setattr(owner, "CLEAR_GRACE", 0.0)
    kind.script(60, True)
    task = Task()
    with pytest.raises(Died):
        die(kind.operator(), sent=True).execute(task.context)
    kind.script(0.2, True)
    assert task.clear().run(kind.operator())["state"] == "succeeded"
    assert (len(kind.started()), kind.cancels(), most_live(kind)) == (2, 1, 1)


@pytest.mark.parametrize("good", [True, False])
def test_ended_job_that_only_the_intent_knows(kind: Kind, good: bool) -> None:
    """A job whose answer was lost and that has ended by now counts as any other: success is taken, failure replaced."""
    kind.script(0.1, good)
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(Died):
        die(kind.operator(), sent=True).execute(task.context)
    ended(kind)
    kind.script(0.2, True)
    if kind.name == "custom_http" and not good:  # the repeated request finds the failed job; the next try another
        with pytest.raises(JobFailed):
            task.retry().run(kind.operator())
        return
    assert task.retry().run(kind.operator())["state"] == "succeeded"
    assert len(kind.started()) == (1 if good else 2)


NAMED_OR_FOUND = ["bigquery", "cloudrun", "dataproc", "dataproc_batch", "dqops"]


@pytest.mark.parametrize("kind", NAMED_OR_FOUND, indirect=True)
@pytest.mark.parametrize("on_existing", ["new", "fail"])
def test_worker_that_died_and_on_existing(kind: Kind, on_existing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that only the intent knows is an existing one too: it is ended, or it stops the next try."""
    monkeypatch.setattr(owner, "CLEAR_GRACE", 0.0)
    kind.script(60, True)
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(Died):
        die(kind.operator(), sent=True).execute(task.context)
    kind.script(0.2, True)
    again = kind.operator(on_existing=on_existing)
    if on_existing == "fail":
        with pytest.raises(JobError, match="on_existing is 'fail'"):
            task.retry().run(again)
        assert (len(kind.started()), kind.cancels()) == (1, 0)
    else:
        assert task.retry().run(again)["state"] == "succeeded"
        assert (len(kind.started()), kind.cancels(), most_live(kind)) == (2, 1, 1)


@pytest.mark.parametrize("refusal", [Fault.status(401), Fault.status(400)], ids=lambda f: f.kind)
def test_refusal_after_a_lost_answer_forgets_nothing(kind: Kind, refusal: Fault) -> None:
    """A refusal says nothing of a request before it whose answer was lost: the next try asks under the same id."""
    kind.script(1, True)
    kind.fake.fail(Fault.reset(after=True), on=kind.on_submit)
    if kind.on_search:
        kind.fake.fail(refusal, on=kind.on_search, times=2)
    else:
        kind.fake.fail(refusal, on=kind.on_submit, nth=2, times=2)
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(BadRequest):
        task.run(kind.operator())
    kind.fake.heal()
    assert task.retry().run(kind.operator())["state"] == "succeeded"
    assert len(kind.started()) == 1


def test_service_that_was_away_is_submitted_to_by_the_next_try(kind: Kind) -> None:
    """When nothing can have arrived the next try starts afresh, with a deadline of its own."""
    kind.script(0.3, True)
    kind.fake.fail(Fault.retry_after(429, 0.2), on=kind.on_submit, times=-1)
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(TryAgain):
        task.run(kind.operator(timeout=0.5))
    assert not task.store.values
    kind.fake.heal()
    assert task.retry().run(kind.operator(timeout=30))["state"] == "succeeded"
    assert len(kind.started()) == 1


def test_uncertain_submit_gets_a_deadline_of_its_own(kind: Kind) -> None:
    """A request that is sent again by the next try is not cancelled for the first try's deadline."""
    kind.script(0.3, True)
    task = Task()
    task.ti.max_tries = 1
    with pytest.raises(Died):
        die(kind.operator(timeout=0.2), sent=False).execute(task.context)
    time.sleep(0.3)
    assert task.retry().run(kind.operator(timeout=30))["state"] == "succeeded"


def test_refused_submit_starts_nothing(kind: Kind) -> None:
    """A request that the service refuses fails at once, with its words, and is sent once."""
    kind.fake.fail(Fault.google(400, "invalid", "Invalid value"), on=kind.on_submit)
    with pytest.raises(BadRequest, match="Invalid value"):
        Task().run(kind.operator())
    assert (len(kind.started()), kind.submits()) == (0, 1)


@pytest.mark.parametrize("kind", ["bigquery", "custom_http"], indirect=True)
def test_result_that_could_not_be_fetched_is_fetched_by_the_next_try(kind: Kind) -> None:
    """A failure after the job's success does not start the job again."""
    kind.script(0.2, True)
    task = Task()
    task.ti.max_tries = 1
    kind.fake.fail(Fault.status(400), on=kind.on_result)
    with pytest.raises(BadRequest):
        task.run(kind.operator(**kind.result))
    result = task.retry().run(kind.operator(**kind.result))
    assert set(result) & {"rows", "result"}
    assert len(kind.started()) == 1


def test_two_tasks_never_share_an_id(kind: Kind) -> None:
    """Ids hold a random part: a run that was deleted and runs again under its old run_id gets another job."""
    kind.script(0.1, True)
    first, second = Task(), Task()
    first.run(kind.operator())
    second.run(kind.operator())
    assert len(kind.started()) == 2
    assert first.attempt["nonce"] != second.attempt["nonce"]


def test_failure_is_not_reattached(kind: Kind) -> None:
    """Two tries of a job that always fails start two jobs and fail twice."""
    kind.script(0.1, False)
    task = Task()
    task.ti.max_tries = 1
    for instance in (task, task.retry()):
        with pytest.raises(JobFailed):
            instance.run(kind.operator())
    assert len(kind.started()) == 2


def test_killed_before_the_submit_sends_nothing(kind: Kind) -> None:
    """A task told to stop before its call makes none, and remembers none."""
    task = Task()
    operator = kind.operator()
    operator.on_kill()
    with pytest.raises(Killed):
        operator.execute(task.context)
    assert (kind.submits(), task.store.values) == (0, {})
