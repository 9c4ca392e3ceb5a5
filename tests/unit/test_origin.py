"""Where a URL leads: the host that is checked is the host that is contacted, in both doors."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ork_provider.errors import BadRequest, InvalidJob
from ork_provider.http import HttpJob, HttpJobSensor
from ork_provider.session import AiohttpDoor, Door, HttpxDoor, Request, read_origin, read_rules, same_origin
from ork_provider.testing import Answer, FakeServer, RecordedRequest, Route


class Anywhere(FakeServer):
    """Answers any path."""

    def routes(self) -> list[Route]:
        """See FakeServer."""
        return []

    def _find(self, request: RecordedRequest) -> Any:
        return (lambda request: Answer.json({})), {}


@pytest.fixture
def server() -> Iterator[Anywhere]:
    """Run a server that is at every address."""
    with Anywhere() as running:
        yield running


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name that is looked up; all of them are this machine."""
    names: list[str] = []
    look_up = socket.getaddrinfo

    def listen(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        names.append(host.decode() if isinstance(host, bytes) else str(host))
        return look_up("127.0.0.1", port, socket.AF_INET, socket.SOCK_STREAM)

    monkeypatch.setattr(socket, "getaddrinfo", listen)
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return names


@pytest.fixture(params=[HttpxDoor, AiohttpDoor])
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """Each door in turn."""
    made = request.param()
    yield made
    await made.close()


GOOD = [
    ("http://good.example:PORT/x", "good.example"),
    ("HTTP://Good.EXAMPLE:PORT/x", "good.example"),
    ("http://good.example.:PORT/x", "good.example."),
    ("http://xn--bcher-kva.example:PORT/x", "xn--bcher-kva.example"),
    ("http://my_service:PORT/x", "my_service"),
    ("http://7seas.example:PORT/x", "7seas.example"),
    ("http://127.0.0.1.example:PORT/x", "127.0.0.1.example"),
    ("http://good.example:PORT?@evil.example/", "good.example"),
    ("http://good.example:PORT#@evil.example/", "good.example"),
    ("http://good.example:PORT/@evil.example/", "good.example"),
    ("http://good.example:PORT/\\evil.example/", "good.example"),
    ("http://good.example:PORT//evil.example/", "good.example"),
    ("http://good.example:PORT/http://evil.example/", "good.example"),
    ("http://good.example:PORT/x y/ü?q=ä", "good.example"),
]
"""URLs, and the host where they lead."""


@pytest.mark.parametrize(("url", "host"), GOOD, ids=ascii)
async def test_checked_is_contacted(door: Door, server: Anywhere, asked: list[str], url: str, host: str) -> None:
    """The host that we read in a URL is the one that the client looks up, connects to and names to the server."""
    request = Request(method="GET", url=url.replace("PORT", str(server.port)))
    assert request.origin.host == host
    assert (await door.send(request)).status == 200
    assert {name.lower() for name in asked} == {host}
    assert [got.headers["host"].lower().replace(".:", ":") for got in server.requests] == [
        f"{host.rstrip('.')}:{server.port}"
    ]


BAD = [
    *("http://good@evil.example/", "http://good:pw@evil.example:PORT/", "http://@evil.example/", "http://a@b@c/"),
    *("http://good.example\\@evil.example/", "http:\\\\evil.example/", "http://good.example\\.evil.example/"),
    *("http:///evil.example/", "http:/evil.example/", "http:evil.example/", "//evil.example/", "evil.example/x"),
    *("http://evil%2eexample/", "http://%65vil.example/", "http://good.example%00.evil.example/"),
    *("http://bücher.example/", "http://good。example/", "http://\uff47ood.example/"),
    *(
        "http://good.example:80 80/",
        "http://good.example: PORT/",
        "http://good.example:\uff18\uff10/",
        "http://good.example:/",
    ),
    *("http://good.example:0/", "http://good.example:65536/", "http://good.example:-1/", "http://good.example:x/"),
    *("http://go\tod.example/", "http://good.example\n/", " http://good.example/", "\x00http://good.example/"),
    *("ht\ttp://good.example/", "http://good.example/a\nb", "http://good.example/a\rb", "http://good.example/\x7f"),
    *("http://[::1", "http://::1/", "http://[::1%25lo]/", "http://[good.example]/", "http://[::1]evil.example/"),
    *("http://good..example/", "http://.example/", "http://" + "a" * 64 + ".example/", "http://good.example../"),
    *("http://good.example;evil.example/", "http://good.example,evil.example/", "http://good.example&@evil.example/"),
    *("http://*/", "http://good.example /", "ftp://good.example/", "file:///etc/passwd", "javascript:alert(1)", ""),
    *("http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://0x7f.0.0.1/"),
    *("http://127.0.0.1./", "http://256.0.0.1/", "http://1.2.3.4.5/", "http://good.example.1/", "http://good.0x/"),
    *("http://half\udcff.example/", "http://good.example/half\udcff"),
]
"""What is no URL of a server, or could be read in two ways."""


@pytest.mark.parametrize("url", BAD, ids=ascii)
async def test_ambiguous_url_is_refused(door: Door, server: Anywhere, asked: list[str], url: str) -> None:
    """A URL that clients could read in two ways is refused before a name is looked up; a login is not repeated."""
    with pytest.raises(BadRequest, match=r"^GET ") as caught:
        await door.send(Request(method="GET", url=url.replace("PORT", str(server.port))))
    assert not asked
    assert not server.requests
    assert "good:pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("http://h/a", "http://H:80/b", True),
        ("https://h", "https://h:443/x", True),
        ("http://[::1]/", "http://[0:0:0:0:0:0:0:1]:80/", True),
        ("http://h", "https://h", False),
        ("https://h", "http://h", False),
        ("http://h", "http://h:8080", False),
        ("http://h", "http://h.", False),
        ("http://h", "http://h.example", False),
        ("http://127.0.0.1", "http://localhost", False),
    ],
)
def test_same_origin(a: str, b: str, same: bool) -> None:
    """The same server: scheme, host and port; http and https of one host are two, so nothing is sent in the clear."""
    assert same_origin(a, b) is same


RULES = "jobs.example.com, *.internal.example.com:8443\n[::1]:9000 ,\n Upper.Example, *.corp"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://jobs.example.com/x", True),
        ("https://JOBS.example.com.:8080/x", True),
        ("http://a.jobs.example.com/", False),
        ("http://xjobs.example.com/", False),
        ("http://jobs.example.com.evil.org/", False),
        ("https://a.internal.example.com:8443/", True),
        ("https://a.b.internal.example.com:8443/", True),
        ("https://a.internal.example.com/", False),
        ("https://internal.example.com:8443/", False),
        ("http://[0::1]:9000/", True),
        ("http://[::1]/", False),
        ("http://upper.example/", True),
        ("http://evil.corp/", True),
        ("http://corp/", False),
        ("http://127.0.0.1/", False),
    ],
)
def test_rules(url: str, allowed: bool) -> None:
    """A rule names a host, or all below a domain but not the domain itself; with a port only that port."""
    origin = read_origin(url)
    assert any(rule.allows(origin) for rule in read_rules(RULES)) is allowed


@pytest.mark.parametrize("text", ["", " ", ",\n,"])
def test_no_rules(text: str) -> None:
    """An empty list has no rules."""
    assert read_rules(text) == ()


@pytest.mark.parametrize(
    "text",
    ["*", "*.", "http://h", "h/x", "a b", "10.0.0.0/8", "h:0", "h:99999", "h:x", "*.[::1]", "[::g]", "a.*.b", "u@h"],
)
def test_wrong_rule(text: str) -> None:
    """What is no rule is named; nothing is guessed."""
    with pytest.raises(ValueError, match=r"is none of host, host:port|no IP address"):
        read_rules(f"good.example, {text}")


@pytest.mark.parametrize("field", ["url", "cancel_url", "result_url"])
@pytest.mark.parametrize("url", ["https://bob:hush@h/x", "//bob:hush@h/x", "http://bob@h", "http://g\\@h"])
def test_login_in_a_job(field: str, url: str) -> None:
    """A URL with a login is refused when the job is made, because it would be stored; the message keeps it back."""
    with pytest.raises(InvalidJob, match=rf"HttpJob.{field}: .*put it into the Airflow connection") as caught:
        HttpJob(**{"url": "/x", field: url})
    assert "hush" not in str(caught.value)


def test_login_in_an_operator() -> None:
    """So is one in a DAG; a template is judged when it is rendered."""
    with pytest.raises(InvalidJob, match="endpoint"):
        HttpJobSensor(task_id="t", endpoint="https://bob:hush@h/x")
    HttpJobSensor(task_id="t", endpoint="https://{{ params.who }}@h/x")
    assert HttpJob(url="/a//b@c?d=//e@f").url
