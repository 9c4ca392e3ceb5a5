"""The end of a killed task: what its worker is answerable for is cancelled, each job once, whatever the others do."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ork_provider import worker as worker_module
from ork_provider.errors import Killed
from ork_provider.http import HttpJob
from ork_provider.http.service import HttpService
from ork_provider.testing import FakeHttpJobs, Fault
from ork_provider.worker import KillSwitch, Worker

log = logging.getLogger("test_worker")
CONNECTIONS = {"http_conn_id": "http_default"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHttpJobs]:
    """Serve jobs that run until they are cancelled, over a connection."""
    monkeypatch.setattr(worker_module, "CANCEL_PAUSE", 0.02)
    monkeypatch.setattr(worker_module, "ABSENT", 0.2)
    with FakeHttpJobs(pending=0, running=600) as served:
        for name, value in served.connections().items():
            monkeypatch.setenv(name, value)
        yield served


@pytest.fixture
def worker(fake: FakeHttpJobs) -> Iterator[Worker]:
    """Open a worker that has read its connection, as every task has by the time it knows of a job."""
    with Worker(CONNECTIONS) as opened:
        opened.run(opened.session.connection("http_default"))
        yield opened


@pytest.fixture
def switch(worker: Worker, caplog: pytest.LogCaptureFixture) -> KillSwitch:
    """Return a kill switch of that worker; its log is captured."""
    caplog.set_level(logging.INFO, log.name)
    made = KillSwitch(log, CONNECTIONS)
    made.worker = worker
    return made


def start(fake: FakeHttpJobs) -> HttpJob:
    made = httpx.post(f"{fake.url}/jobs", json={}).json()["id"]
    return job_of(made)


def job_of(job_id: str) -> HttpJob:
    return HttpJob(url=f"/jobs/{job_id}", cancel_url=f"/jobs/{job_id}")


def is_cancelling() -> bool:
    return "ork-cancel" in [thread.name for thread in threading.enumerate()]


def cancels(fake: FakeHttpJobs, job: HttpJob) -> int:
    return len(fake.calls("DELETE", job.url))


# Several jobs ------------------------------------------------------------------------------------


def test_each_job_once(fake: FakeHttpJobs, switch: KillSwitch, caplog: pytest.LogCaptureFixture) -> None:
    """Of three jobs one is cancelled, one must be cancelled by hand, one never came to be; none is in another's way."""
    live, refused, absent = start(fake), start(fake), job_of("none")
    fake.fail(Fault.status(403), on=f"DELETE {refused.url}", times=-1)
    switch.answer_for(refused, absent, live)
    switch.kill(cancels=True)
    assert [job.job_id for job in fake.live()] == [refused.url.rpartition("/")[2]]
    assert (cancels(fake, live), cancels(fake, refused)) == (1, 1)
    assert cancels(fake, absent) > 1, "it might have appeared"
    assert caplog.messages.count(f"Cancelled {live}, because the task was told to stop") == 1
    (by_hand,) = [line for line in caplog.messages if "by hand" in line]
    assert by_hand.startswith(f"{refused} could not be cancelled: ")
    assert "403" in by_hand


def test_many_side_by_side(fake: FakeHttpJobs, switch: KillSwitch) -> None:
    """The jobs are cancelled side by side: thirty slow cancels take as long as one."""
    jobs = [start(fake) for _ in range(30)]
    for job in jobs:
        fake.fail(Fault.hang(0.3), on=f"DELETE {job.url}")
    switch.answer_for(*jobs)
    began = time.monotonic()
    switch.kill(cancels=True)
    assert time.monotonic() - began < 5
    assert (fake.live(), [cancels(fake, job) for job in jobs]) == ([], [1] * 30)


def test_killed_again(fake: FakeHttpJobs, switch: KillSwitch) -> None:
    """Airflow may call on_kill more than once; the jobs are cancelled once."""
    jobs = [start(fake), start(fake)]
    switch.answer_for(*jobs)
    for _ in range(3):
        switch.kill(cancels=True)
    assert [cancels(fake, job) for job in jobs] == [1, 1]


def test_told_to_leave_them(fake: FakeHttpJobs, switch: KillSwitch) -> None:
    """Without ``cancels`` the task stops and its jobs go on."""
    switch.answer_for(start(fake), start(fake))
    switch.kill(cancels=False)
    assert len(fake.live()) == 2
    with pytest.raises(Killed):
        switch.check()


def test_nothing_to_answer_for(fake: FakeHttpJobs, switch: KillSwitch) -> None:
    """A job that has been handed on, or has ended, is no business of the kill."""
    switch.check()
    switch.answer_for(start(fake))
    switch.answer_for()
    switch.kill(cancels=True)
    assert (len(fake.live()), is_cancelling()) == (1, False)


# While a call is in the air ----------------------------------------------------------------------


def test_killed_before_the_answer(fake: FakeHttpJobs, switch: KillSwitch) -> None:
    """The main thread goes on to hear the answer; what this names is cancelled before ``check`` raises."""
    switch.submitting = True
    switch.kill(cancels=True)
    jobs = [start(fake), start(fake)]
    switch.answer_for(*jobs)
    switch.submitting = False
    with pytest.raises(Killed):
        switch.check()
    assert (fake.live(), [cancels(fake, job) for job in jobs]) == ([], [1, 1])


def test_jobs_that_come_one_by_one(fake: FakeHttpJobs, switch: KillSwitch) -> None:
    """What a function starts after the kill is cancelled as soon as it is known, the earlier ones not again."""
    jobs = [start(fake)]
    switch.answer_for(*jobs)
    switch.submitting = True
    switch.kill(cancels=True)
    for _ in range(3):
        jobs.append(start(fake))
        switch.answer_for(*jobs)
        time.sleep(0.05)
    switch.submitting = False
    switch.join()
    assert (fake.live(), [cancels(fake, job) for job in jobs]) == ([], [1] * 4)


def test_job_that_appears_late(fake: FakeHttpJobs, switch: KillSwitch) -> None:
    """A job that its service does not know yet, just after it was started, is asked to stop until it is there."""
    job = start(fake)
    fake.fail(Fault.status(404), on=f"DELETE {job.url}", times=2)
    switch.answer_for(job)
    switch.kill(cancels=True)
    assert (fake.live(), cancels(fake, job)) == ([], 3)


def test_submit_that_failed(fake: FakeHttpJobs, switch: KillSwitch) -> None:
    """When nothing was started there is nothing to cancel, and the thread ends."""
    switch.submitting = True
    switch.kill(cancels=True)
    switch.submitting = False
    switch.join()
    assert not is_cancelling()


# Trouble -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Fault.status(503), Fault.retry_after(429, 0), Fault.reset()], ids=lambda fault: fault.kind
)
def test_passing_trouble(fake: FakeHttpJobs, switch: KillSwitch, fault: Fault) -> None:
    """A cancel that fails in a way that may pass is sent again."""
    job, other = start(fake), start(fake)
    fake.fail(fault, on=f"DELETE {job.url}", times=2)
    switch.answer_for(job, other)
    switch.kill(cancels=True)
    assert (fake.live(), cancels(fake, job), cancels(fake, other)) == ([], 3, 1)


def test_budget(
    fake: FakeHttpJobs, switch: KillSwitch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that stays away does not hold the worker for ever; the log names the job that is left."""
    monkeypatch.setattr(worker_module, "CANCEL_BUDGET", 1.3)
    lost, fine = start(fake), start(fake)
    fake.fail(Fault.status(503), on=f"DELETE {lost.url}", times=-1)
    switch.answer_for(lost, fine)
    began = time.monotonic()
    switch.kill(cancels=True)
    assert time.monotonic() - began < 2
    assert [line.partition(":")[0] for line in caplog.messages if "by hand" in line] == [
        f"{lost} could not be cancelled"
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_bug_in_a_cancel(
    fake: FakeHttpJobs, switch: KillSwitch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in the cancel of a job is no reason to leave the job without a word: the log names it."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(HttpService, "cancel", broken)
    job = start(fake)
    switch.answer_for(job)
    switch.kill(cancels=True)
    assert f"{job} could not be cancelled" in caplog.text


def test_connection_that_was_never_read(
    fake: FakeHttpJobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread cannot ask Airflow for a connection; the log says that this is why the job is left."""
    monkeypatch.setattr(worker_module, "CANCEL_BUDGET", 1.1)
    switch = KillSwitch(log, CONNECTIONS)
    switch.answer_for(start(fake))
    switch.kill(cancels=True)
    assert len(fake.live()) == 1
    assert "connection 'http_default' was not read before the kill" in caplog.text


# The loop ----------------------------------------------------------------------------------------


def test_interrupt(worker: Worker) -> None:
    """A wait is stopped from another thread or a signal handler; the worker can be used on."""

    async def wait_long() -> None:
        await asyncio.sleep(600)

    async def answer() -> int:
        return 7

    threading.Timer(0.05, worker.interrupt).start()
    with pytest.raises(Killed):
        worker.run_interruptible(wait_long())
    worker.interrupt()  # there is nothing to stop
    assert (worker.run_interruptible(answer()), worker.run(answer())) == (7, 7)


def test_nothing_is_left_running() -> None:
    """Leaving the worker stops what an exception out of a signal handler has left behind."""
    ended: list[Any] = []

    async def work() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.append(True)

    async def begin() -> None:
        tasks.append(asyncio.ensure_future(work()))
        await asyncio.sleep(0)

    tasks: list[Any] = []
    with Worker(CONNECTIONS) as opened:
        opened.run(begin())
    assert ended == [True]
