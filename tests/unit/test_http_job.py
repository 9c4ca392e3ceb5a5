"""Which status values of an HTTP job mean success, failure and still running."""

from __future__ import annotations

from typing import Any

import pytest

from ork_provider.errors import TryAgain
from ork_provider.http import HttpJob
from ork_provider.http.job import USUAL_FAILURES, among
from ork_provider.http.service import fill, read_status, status_url_of
from ork_provider.job import JobState
from ork_provider.session import Request, is_secret

GOOD, BAD, STOPPED, ON = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.RUNNING


def verdict(value: Any, **fields: Any) -> JobState | None:
    return HttpJob(url="/j", **fields).verdict(value)


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ("completed", GOOD),
        ("Completed", ON),  # only the usual failures are read in any case; success is what the user declared
        ("failed", BAD),
        ("FAILED", BAD),
        ("error", BAD),
        ("cancelled", STOPPED),
        ("Canceled", STOPPED),
        ("aborted", STOPPED),
        ("queued", ON),
        (None, ON),
        (0, ON),
        ({"odd": 1}, ON),
        (["failed"], ON),
    ],
)
def test_defaults(value: Any, state: JobState) -> None:
    """By default "completed" is success, the usual words are failures, and anything else still runs."""
    assert verdict(value) is state


@pytest.mark.parametrize("word", USUAL_FAILURES)
def test_usual_failures(word: str) -> None:
    """Every usual word for a failure ends the wait unless others are declared."""
    assert verdict(word) in (BAD, STOPPED)
    assert verdict(word, failure_value="broken") is ON
    assert verdict(word, failure_value=[]) is ON


@pytest.mark.parametrize(
    ("fields", "value", "state"),
    [
        ({"completion_value": True}, True, GOOD),
        ({"completion_value": True}, 1, ON),
        ({"completion_value": 1}, True, ON),
        ({"completion_value": 1}, 1.0, GOOD),
        ({"completion_value": "true"}, True, ON),
        ({"completion_value": None}, None, GOOD),
        ({"completion_value": ["done", 2]}, 2, GOOD),
        ({"completion_value": [["done"]]}, ["done"], GOOD),
        ({"completion_value": {"a": 1}}, {"a": 1}, GOOD),
        ({"failure_value": ["x", 3]}, 3, BAD),
        ({"failure_value": False}, False, BAD),
        ({"failure_value": False}, 0, ON),
        ({"failure_value": "killed"}, "killed", STOPPED),
        ({"failure_value": "FAILED"}, "FAILED", BAD),
        ({"completion_value": "failed"}, "failed", GOOD),
        ({"running_value": ["queued", "running"]}, "queued", ON),
        ({"running_value": ["queued", "running"]}, "paused", None),
        ({"running_value": "running"}, "failed", BAD),
    ],
    ids=str,
)
def test_declared_values(fields: dict[str, Any], value: Any, state: JobState | None) -> None:
    """Values are any JSON values or lists of them; true is not 1; an undeclared value is none of the states."""
    assert verdict(value, **fields) is state


def test_undeclared_value_fails_the_job() -> None:
    """When the running values are declared, any other value is a failure that says so, not an endless wait."""
    job = HttpJob(url="/j", running_value="running")
    status = read_status(job, Request(method="GET", url="/j"), {"status": "paused"})
    assert status.state is BAD
    assert "'paused'" in status.message
    assert "none of the declared values" in status.message


def test_missing_field_is_asked_again() -> None:
    """An answer without the status field says nothing about the job: ask again, never success."""
    with pytest.raises(TryAgain, match=r"GET /j: the answer has no '\$.job.status': dict"):
        read_status(HttpJob(url="/j", completion_field="$.job.status"), Request(method="GET", url="/j"), {"job": {}})


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"status": "failed", "error": {"text": "no disk"}}, "no disk"),
        ({"status": "failed", "error": {}}, "status is str 'failed'"),
        ({"status": "failed", "error": {"text": None}}, "status is str 'failed'"),
        ({"status": "failed", "error": {"text": "x" * 9999}}, "x" * 2000),
        ({"status": "completed", "error": {"text": "no disk"}}, ""),
        ({"status": "running", "error": {"text": "no disk"}}, ""),
    ],
    ids=lambda value: str(value)[:60],
)
def test_message(document: Any, said: str) -> None:
    """A failure carries the service's own words, cut to a sane length; other states carry none."""
    job = HttpJob(url="/j", message_field="$.error.text")
    assert read_status(job, Request(method="GET", url="/j"), document).message == said


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "proxy-authorization", "COOKIE", "X-API-Key", "apikey", "X-Vault-Token", "Client-Secret"),
        *("api_key", "X-API_KEY", "Ocp-Apim-Subscription-Key", "X-Functions-Key", "X-Auth", "X-Passwd", "X-Signature"),
    ],
)
def test_secret_header(name: str) -> None:
    """Headers that usually carry secrets are taken for secret, whatever their case."""
    assert is_secret(name)


@pytest.mark.parametrize("name", ["Accept", "X-Team", "Idempotency-Key", "User-Agent", "If-Match"])
def test_plain_header(name: str) -> None:
    """Others are shown."""
    assert not is_secret(name)


def test_among_does_not_take_text_apart() -> None:
    """A string is one value, not a list of letters."""
    assert not among("a", "abc")
    assert among("abc", ("abc",))


def test_job_id_is_quoted_into_urls() -> None:
    """An id with a slash or a question mark cannot lead to another place of the API."""
    assert fill("/jobs/{job_id}/x", "../a?b=c") == "/jobs/..%2Fa%3Fb%3Dc/x"


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/jobs/1", "https://api.example.com/jobs/1"),
        ("status/1", "https://api.example.com/v1/status/1"),
        ("https://other.example.com/1", "https://other.example.com/1"),
    ],
)
def test_location_header(location: str, url: str) -> None:
    """A Location header is read relative to the request that got it, as RFC 9110 says."""
    assert status_url_of("https://api.example.com/v1/jobs", location) == url
