"""What a change in DQOps' feed is taken for: the job's own state, or a reason to ask for the job."""

from __future__ import annotations

from typing import Any

import pytest

from ork_provider.dqops.feed import JobChanges
from ork_provider.job import JobState

SEVERITY = {"runChecksParameters": {"run_checks_result": {"highest_severity": "valid", "executed_checks": 3}}}


def change(word: str, /, **model: Any) -> dict[str, Any]:
    """Return a change of job 7, with the whole job if anything of it is given."""
    whole = {"jobId": {"jobId": 7}, "jobType": "run_checks", "status": word, **model}
    return {"jobId": {"jobId": 7}, "status": word, "changeSequence": 9, **({"updatedModel": whole} if model else {})}


def read(told: Any) -> JobState | None:
    feed: Any = JobChanges(None, "dqops_default", None)  # type: ignore[arg-type] - nothing is sent
    status = feed.read(told)
    return status.state if status else None


@pytest.mark.parametrize("word", ["queued", "running", "waiting", "cancel_requested"])
def test_running(word: str) -> None:
    """A job that has not ended needs no more than its word."""
    assert read(change(word)) is JobState.RUNNING


def test_whole_job() -> None:
    """A change with the whole job tells how it has ended."""
    assert read(change("finished", parameters=SEVERITY)) is JobState.SUCCEEDED
    assert read(change("failed", errorMessage="no disk")) is JobState.FAILED


@pytest.mark.parametrize(
    "told",
    [
        change("finished"),
        change("cancelled"),
        change("finished", status="running"),
        change("finished", jobId={"jobId": 8}, parameters=SEVERITY),
        change("finished", parameters={}),
    ],
    ids=["finished", "cancelled", "another status", "another job", "no result"],
)
def test_job_must_be_asked_for(told: Any) -> None:
    """A bare end, a model that does not fit its change, and checks without a result are not taken for an answer."""
    assert read(told) is None


def test_one_server_is_one_feed() -> None:
    """A slash at the end of a URL makes no other server of it."""
    feeds = [JobChanges(None, "dqops_default", url) for url in ("http://h:8888", "http://h:8888/")]  # type: ignore[arg-type]
    assert feeds[0].key == feeds[1].key
