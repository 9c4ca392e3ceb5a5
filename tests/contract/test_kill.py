"""A task that is killed leaves no job running: SIGTERM of a worker before, during and after the submit."""

from __future__ import annotations

import os
import signal
import time

import pytest

from ork_provider.errors import Killed, OrkError
from ork_provider.testing import Fault
from tests.contract.kinds import Kind
from tests.support.sigterm import kill_after
from tests.support.task import Task


@pytest.mark.parametrize("answer_lost", [False, True])
def test_during_the_submit(kind: Kind, sigterm: dict[str, object], answer_lost: bool) -> None:
    """The service has the request but has not answered when SIGTERM comes: the job is cancelled, once."""
    kind.script(60, True)
    kind.fake.fail(Fault.hang(1.0, after=True), on=kind.on_submit)
    operator = sigterm["operator"] = kind.operator()
    kill_after(0.2, kind.started)
    with pytest.raises(Killed):
        operator.execute(Task().context)  # type: ignore[attr-defined]
    assert len(kind.started()) == 1
    assert not kind.live()


def test_after_the_submit(kind: Kind, sigterm: dict[str, object]) -> None:
    """The worker still waits for the job (poll_timeout) when SIGTERM comes: the job is cancelled, once."""
    kind.script(60, True)
    operator = sigterm["operator"] = kind.operator(poll_timeout=30)
    kill_after(0.4, kind.started)
    began = time.monotonic()
    with pytest.raises(Killed):
        operator.execute(Task().context)  # type: ignore[attr-defined]
    assert not kind.live()
    assert kind.cancels() == 1
    assert time.monotonic() - began < 20, "execute went on waiting after the kill"


def test_not_deferrable(kind: Kind, sigterm: dict[str, object]) -> None:
    """deferrable=False: a kill ends the wait and the job."""
    kind.script(60, True)
    operator = sigterm["operator"] = kind.operator(deferrable=False)
    kill_after(0.4, kind.started)
    with pytest.raises(Killed):
        operator.execute(Task().context)  # type: ignore[attr-defined]
    assert not kind.live()


def test_after_the_deferral(kind: Kind, sigterm: dict[str, object]) -> None:
    """SIGTERM while Airflow writes down the deferral still cancels the job."""
    kind.script(60, True)
    operator = sigterm["operator"] = kind.operator()
    Task().start(operator)
    os.kill(os.getpid(), signal.SIGTERM)
    assert not kind.live()
    assert kind.cancels() == 1


def test_cancel_on_kill_false(kind: Kind, sigterm: dict[str, object]) -> None:
    """cancel_on_kill=False stops the task and leaves the job."""
    kind.script(60, True)
    operator = sigterm["operator"] = kind.operator(poll_timeout=30, cancel_on_kill=False)
    kill_after(0.4, kind.started)
    with pytest.raises(Killed):
        operator.execute(Task().context)  # type: ignore[attr-defined]
    assert (len(kind.live()), kind.cancels()) == (1, 0)


def test_while_the_submit_is_retried(kind: Kind, sigterm: dict[str, object]) -> None:
    """A kill between two tries of the submit sends no further one."""
    kind.fake.fail(Fault.retry_after(429, 1), on=kind.on_submit, times=-1)
    operator = sigterm["operator"] = kind.operator()
    kill_after(0.2, kind.submits)
    with pytest.raises(Killed):
        operator.execute(Task().context)  # type: ignore[attr-defined]
    assert (len(kind.started()), kind.submits()) == (0, 1)


def test_failing_cancel_says_what_to_do(
    kind: Kind, sigterm: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    """When the cancel is refused the log names the job and says that a person must cancel it."""
    kind.script(60, True)
    kind.fake.fail(Fault.status(403), on=kind.on_cancel, times=-1)
    from ork_provider import worker

    old, worker.CANCEL_BUDGET = worker.CANCEL_BUDGET, 2.0
    try:
        operator = sigterm["operator"] = kind.operator(poll_timeout=30)
        kill_after(0.4, kind.started)
        with pytest.raises(OrkError):
            operator.execute(Task().context)  # type: ignore[attr-defined]
    finally:
        worker.CANCEL_BUDGET = old
    assert len(kind.live()) == 1
    assert "could not be cancelled" in capfd.readouterr().out


@pytest.mark.parametrize("cleared", [False, True])
def test_while_an_old_job_is_looked_at(kind: Kind, sigterm: dict[str, object], cleared: bool) -> None:
    """A try that is killed while it deals with the job of an earlier one cancels that job."""
    kind.script(60, True)
    task = Task()
    task.ti.max_tries = 1
    task.start(kind.operator())
    if not cleared:
        kind.fake.fail(Fault.hang(1.5), on=kind.on_status)
    again = task.clear() if cleared else task.retry()
    operator = sigterm["operator"] = kind.operator()
    kind.fake.clear_log()
    kill_after(0.3, kind.asks)
    with pytest.raises(Killed):
        operator.execute(again.context)  # type: ignore[attr-defined]
    assert (len(kind.started()), len(kind.live()), kind.cancels()) == (1, 0, 1)


@pytest.mark.parametrize("kind", ["custom_http"], indirect=True)
def test_http_without_a_connection(kind: Kind, sigterm: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute URLs need no Airflow connection, for the cancel of a kill neither."""
    monkeypatch.delenv("AIRFLOW_CONN_HTTP_DEFAULT")
    kind.script(60, True)
    url = kind.fake.url
    urls = {"status_url": f"{url}/jobs/{{job_id}}", "cancel_url": f"{url}/jobs/{{job_id}}"}
    operator = sigterm["operator"] = kind.operator(endpoint=f"{url}/jobs", **urls, poll_timeout=30)
    kill_after(0.4, kind.started)
    with pytest.raises(Killed):
        operator.execute(Task().context)  # type: ignore[attr-defined]
    assert not kind.live()


@pytest.mark.parametrize("kind", ["custom_http"], indirect=True)
def test_http_without_a_key(kind: Kind, sigterm: dict[str, object]) -> None:
    """A job that a killed try has started and cancelled is known to the next one, which starts another."""
    kind.script(60, True)
    kind.fake.fail(Fault.hang(1.0, after=True), on=kind.on_submit)
    task = Task()
    task.ti.max_tries = 1
    operator = sigterm["operator"] = kind.operator(idempotency_header=None)
    kill_after(0.2, kind.started)
    with pytest.raises(Killed):
        operator.execute(task.context)  # type: ignore[attr-defined]
    assert (len(kind.started()), len(kind.live())) == (1, 0)
    kind.script(0.2, True)
    assert task.retry().run(kind.operator(idempotency_header=None))["state"] == "succeeded"
    assert len(kind.started()) == 2


@pytest.mark.parametrize("kind", ["custom_http"], indirect=True)
def test_job_that_cannot_be_cancelled_is_said_at_once(
    kind: Kind, sigterm: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a cancel_url there is nothing to try for 20 seconds."""
    kind.script(60, True)
    operator = sigterm["operator"] = kind.operator(cancel_url=None, poll_timeout=30)
    kill_after(0.4, kind.started)
    began = time.monotonic()
    with pytest.raises(Killed):
        operator.execute(Task().context)  # type: ignore[attr-defined]
    assert time.monotonic() - began < 10, "the kill went on trying what cannot work"
    assert "names no cancel_url" in capfd.readouterr().out
