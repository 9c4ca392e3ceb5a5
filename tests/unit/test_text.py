"""Foreign words in a line of a log: one line, cut, nothing that moves a terminal's cursor."""

from __future__ import annotations

import json
import logging

import pytest

from ork_provider.errors import TryAgain
from ork_provider.google.transport import _reason
from ork_provider.http import HttpJob
from ork_provider.job import JobState, JobStatus
from ork_provider.session import Request, Response, refusal, show_url
from ork_provider.text import MESSAGE, WORD, one_line

FORGED = "no disk\n[2026-11-20T10:00:00.000+0000] INFO - Task exited with return code 0"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("plain", "plain"),
        ("two  spaces, kept", "two  spaces, kept"),
        ("größer, 数, 🎉", "größer, 数, 🎉"),
        ("a\nb\r\nc\td\ve\x85f\u2028g\u2029h", "a b c d e f g h"),
        ("Syntax error:\n    at [1:2]\n", "Syntax error: at [1:2]"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("over\rwritten", "over written"),
        ("back\x08space\x00", r"back\x08space\x00"),
        ("right \u202eot tfel", r"right \u202eot tfel"),
        ("half \ud800", r"half \ud800"),
        ("nb\xa0space", "nb space"),
    ],
    ids=ascii,
)
def test_one_line(text: str, line: str) -> None:
    """Line breaks become a space, what does not print is spelt out, letters of all languages stay."""
    assert one_line(text) == line
    assert one_line(line) == line


@pytest.mark.parametrize("text", ["x" * 10**6, "\n" * 10**6, "x\n" * 10**6], ids=["letters", "breaks", "both"])
def test_cut(text: str) -> None:
    """However much there is, no more than the limit is left."""
    assert len(one_line(text, 50)) <= 50
    assert one_line(text, 50).isprintable()


def test_status_is_one_line() -> None:
    """What a service says of a job is one line wherever it goes: the log, the error, the event, the XCom."""
    status = JobStatus(state=JobState.FAILED, remote_state="odd\nword" * 100, message=FORGED * 100)
    assert status.message.startswith("no disk [2026-11-20T")
    assert "\n" not in status.message + status.remote_state
    assert (len(status.message), len(status.remote_state)) == (MESSAGE, WORD)


REQUEST = Request(method="GET", url="http://x/jobs?api_key=hush-hush#frag")


@pytest.mark.parametrize(
    "response",
    [
        Response(status=400, body=b'{"error": {"message": "no\\n[2026] INFO fine", "errors": [{"reason": "a\\nb"}]}}'),
        Response(status=400, body=b"no\n[2026] INFO fine"),
        Response(status=302, headers={"location": "http://y/\x1b[2J?token=hush-hush\x0a" + "x" * 10_000}),
        Response(status=503, body="no\u2028[2026] INFO fine".encode()),
    ],
    ids=["message", "text", "redirect", "unicode"],
)
def test_refusal_is_one_line(response: Response) -> None:
    """An error that quotes a service's answer is one printable line of a limited length."""
    said = str(refusal(REQUEST, response))
    assert said.isprintable()
    assert len(said) < 1200
    assert "hush" not in said


def test_refusal_of_a_token_server_is_one_line() -> None:
    """So is what Google's token server says."""
    assert _reason(json.dumps({"error": {"message": FORGED}}).encode()).isprintable()


def test_content_type_is_one_line() -> None:
    """So is one about an answer that is no JSON."""
    with pytest.raises(TryAgain) as caught:
        Response(status=200, headers={"content-type": "text/\x1b[2Jhtml" * 100}, body=b"\x1b[2J\n").json()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/jobs?api_key=hush&page=2", "http://h/jobs?api_key=***&page=2"),
        ("http://h/jobs?page=2;Token=hush", "http://h/jobs?page=2;Token=***"),
        ("https://x.blob/f?sv=1&sig=hush%3D", "https://x.blob/f?sv=1&sig=***"),
        ("https://f/api?code=hush", "https://f/api?code=***"),
        (
            "https://b/o?X-Goog-Signature=hush&X-Goog-Credential=hush",
            "https://b/o?X-Goog-Signature=***&X-Goog-Credential=***",
        ),
        ("/jobs/1?access_token=hush", "/jobs/1?access_token=***"),
        ("http://bob:hush@h/x", "http://h/x"),
        ("http://bob:hu@sh@h/x@y", "http://h/x@y"),
        ("http://h/x#access_token=hush", "http://h/x"),
        ("http://h/a\nb", "http://h/a b"),
        ("http://h/jobs?state=done", "http://h/jobs?state=done"),
    ],
)
def test_shown_url(url: str, shown: str) -> None:
    """A URL is shown without its login, its fragment and the values of parameters that look secret."""
    assert show_url(url) == shown


def test_job_hides_the_secrets_of_its_url(caplog: pytest.LogCaptureFixture) -> None:
    """Name and link of a job do not tell a secret of its URL, and Airflow is told to mask it everywhere else."""
    cancel_url = "/c?token=quiet-quiet-quiet&code=completed"
    job = HttpJob(url="http://h/jobs/1?api_key=hush%2Dhush-hush&x=1", cancel_url=cancel_url)
    logging.getLogger("t").warning("%s %s", job, job.link)
    assert "hush" not in caplog.text
    assert job.link == "http://h/jobs/1?api_key=***&x=1"
    assert job.secrets == {"hush%2Dhush-hush", "hush-hush-hush", "quiet-quiet-quiet"}
    assert HttpJob.from_dict(job.to_dict()) == job
