"""Both doors against a real server, and what comes of each kind of trouble."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import ssl
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ork_provider.errors import BadRequest, Conflict, NotFound, OrkError, Throttled, TryAgain, Unauthorized
from ork_provider.session import (
    AiohttpDoor,
    Door,
    HttpxDoor,
    Request,
    Response,
    Session,
    check,
    refusal,
    retry_after,
    send_as,
    shared_session,
    tls_context,
)
from ork_provider.session.door import _warn_unverified
from ork_provider.testing import Answer, FakeServer, Fault, RecordedRequest, Route

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NETRC")


class Echo(FakeServer):
    """Answers what it is asked for: ``/echo`` a greeting, ``/big/N`` N bytes, ``/cookie`` a cookie."""

    def routes(self) -> list[Route]:
        """See FakeServer."""
        return [
            *(Route(method, "/echo", self.greet) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")),
            Route("GET", "/big/{size}", lambda request, size: Answer(200, b"x" * int(size))),
            Route("GET", "/cookie", lambda request: Answer(200, b"{}", {"Set-Cookie": "who=somebody; Path=/"})),
            Route("GET", "/away", lambda request: Answer(302, b"", {"Location": "/echo"})),
        ]

    def greet(self, request: RecordedRequest) -> Answer:
        return Answer.json({"hello": "world"}, headers={"X-Mixed-Case": "Yes"})


@pytest.fixture
def server() -> Iterator[Echo]:
    """Run a real server."""
    with Echo() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's own settings out."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    tls_context.cache_clear()


@pytest.fixture(params=[HttpxDoor, AiohttpDoor])
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """Each door in turn."""
    made = request.param()
    yield made
    await made.close()


def get(url: str, **more: Any) -> Request:
    return Request(method="GET", url=url, **more)


# Requests and answers ----------------------------------------------------------------------------


async def test_answer(door: Door, server: Echo) -> None:
    """Any answer is a Response with its status, body and lower-case headers."""
    response = await door.send(get(f"{server.url}/echo"))
    assert (response.status, response.json()) == (200, {"hello": "world"})
    assert response.headers["x-mixed-case"] == "Yes"
    assert response.headers["content-type"].startswith("application/json")


REQUESTS = [
    Request(method="GET", url="/echo"),
    Request(method="GET", url="/echo", params={"a": "1 & 2/ü", "b": ""}),
    Request(method="GET", url="/echo?first=1", params=(("k", "1"), ("k", "2"))),
    Request(method="GET", url="/echo?raw=%2F%20x"),
    Request(method="GET", url="/ein/ü x?q=ä b"),
    Request(method="GET", url="/a%2Fb/c"),
    Request(method="POST", url="/echo", json={"deep": [1, None, "ü"]}, headers={"X-Team": "blue", "accept": "text/x"}),
    Request(method="POST", url="/echo"),
    Request(method="POST", url="/echo", json=[]),
    Request(method="PUT", url="/echo", json=False),
    Request(method="PATCH", url="/echo", json=0, headers={"Content-Type": "application/merge-patch+json"}),
    Request(method="DELETE", url="/echo", headers={"Authorization": "Bearer t"}),
]
OWN_HEADERS = {"user-agent", "connection", "host"}
"""What each client says about itself."""


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"{r.method} {r.full_url}")
async def test_both_doors_send_the_same(server: Echo, request_: Request) -> None:
    """A request looks the same on the wire, whether a worker or a triggerer sends it."""
    seen = []
    for made in (HttpxDoor(), AiohttpDoor()):
        server.clear_log()
        await made.send(replace(request_, url=server.url + request_.url))
        await made.close()
        (got,) = server.requests
        headers = {name: value for name, value in got.headers.items() if name not in OWN_HEADERS}
        if not got.body:
            headers.pop("content-length", None)
        seen.append((got.method, got.path, got.query_string, headers, got.body))
    assert seen[0] == seen[1]


async def test_body_and_headers(door: Door, server: Echo) -> None:
    """A JSON body carries its content type, and our headers win over the defaults."""
    await door.send(Request(method="POST", url=f"{server.url}/echo", json={"a": 1}, headers={"Accept": "text/x"}))
    await door.send(get(f"{server.url}/echo"))
    post, plain = server.requests
    assert (post.json, post.headers["content-type"], post.headers["accept"]) == ({"a": 1}, "application/json", "text/x")
    assert (plain.body, plain.headers["accept"]) == (b"", "application/json")
    assert "content-type" not in plain.headers


async def test_redirect_is_not_followed(door: Door, server: Echo) -> None:
    """A redirect could lead our credentials elsewhere: it is an answer, and the error names the place."""
    request = get(f"{server.url}/away")
    response = await door.send(request)
    assert response.status == 302
    assert len(server.requests) == 1
    with pytest.raises(BadRequest, match="redirects to '/echo'; use that address"):
        check(request, response)


async def test_cookies_are_not_kept(door: Door, server: Echo) -> None:
    """One job's session cookie must not identify another job's request: the door is shared."""
    host = f"http://localhost:{server.port}"  # aiohttp keeps no cookies of bare addresses anyhow
    await door.send(get(f"{host}/cookie"))
    await door.send(get(f"{host}/echo"))
    assert "cookie" not in server.requests[-1].headers


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer ours"}], ids=["anonymous", "bearer"])
async def test_netrc_is_not_read(
    door: Door, server: Echo, headers: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who we are comes from the Airflow connection, never from a .netrc that lies about on the machine."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {server.host} login me password hush\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    await door.send(get(f"{server.url}/echo", headers=headers))
    assert server.requests[-1].headers.get("authorization") == headers.get("Authorization")


async def test_door_opens_again(door: Door, server: Echo) -> None:
    """A closed door opens by itself when it is used again; closing twice is no trouble."""
    for _ in range(2):
        assert (await door.send(get(f"{server.url}/echo"))).status == 200
        await door.close()
        await door.close()


async def test_connection_is_kept_open(door: Door, server: Echo) -> None:
    """Polls share one connection; a handshake per poll would cost more than the poll."""
    ports: set[Any] = set()

    def greet(request: RecordedRequest) -> float:
        ports.add(request.headers.get("connection", "keep-alive"))
        return 0

    server.latency = greet
    for _ in range(3):
        await door.send(get(f"{server.url}/echo"))
    assert ports == {"keep-alive"}


# Trouble on the way ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.reset(), ""),
        (Fault.truncated(), ""),
        (Fault.hang(20), "Timeout"),
    ],
    ids=lambda fault: getattr(fault, "kind", None),
)
async def test_network_trouble(door: Door, server: Echo, fault: Fault, said: str) -> None:
    """A reset, a half answer and a silence are worth another try; the request may have had its effect."""
    server.fail(fault)
    with pytest.raises(TryAgain, match=rf"^POST {server.url}/echo: .*{said}") as caught:
        await asyncio.wait_for(door.send(Request(method="POST", url=f"{server.url}/echo", timeout=0.3)), 10)
    assert len(server.requests) == 1
    assert caught.value.processed is True
    assert (await door.send(get(f"{server.url}/echo"))).status == 200


async def test_slow_body_counts_as_a_timeout(door: Door) -> None:
    """The timeout is for the whole answer: a body that drips for ever does not hold up a wait."""

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(400):
            connection.sendall(b" ")
            time.sleep(0.05)

    with raw_server(drip) as url, pytest.raises(TryAgain, match="Timeout"):
        await asyncio.wait_for(door.send(get(f"{url}/", timeout=0.3)), 10)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_no_http(door: Door, answer: bytes) -> None:
    """Something that does not speak HTTP, or hangs up, may be a proxy that starts: worth another try."""

    def speak(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with raw_server(speak) as url, pytest.raises(TryAgain):
        await door.send(get(f"{url}/"))


async def test_html_where_json_was_promised(door: Door, server: Echo) -> None:
    """A captive portal's page is no answer: ask again, never a success."""
    server.fail(Fault.malformed())
    response = await door.send(get(f"{server.url}/echo"))
    assert response.status == 200
    with pytest.raises(TryAgain, match="Expected JSON, got text/html; charset=utf-8: '<!DOCTYPE html>"):
        response.json()


async def test_refused(door: Door) -> None:
    """Nobody listens: certainly nothing was done."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TryAgain, match="cannot connect") as caught:
        await door.send(get(f"http://127.0.0.1:{port}/"))
    assert caught.value.processed is False


async def test_unknown_host(door: Door) -> None:
    """A name that cannot be resolved, now: certainly nothing was done."""
    with pytest.raises(TryAgain, match="cannot connect") as caught:
        await door.send(get("http://no-such-host.invalid/"))
    assert caught.value.processed is False


async def test_nobody_picks_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is never established: certainly nothing was done."""
    monkeypatch.setattr("ork_provider.session.door.CONNECT_TIMEOUT", 0.3)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]  # more than the queue takes
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with pytest.raises(TryAgain) as caught:
            await door.send(get(f"http://127.0.0.1:{full.getsockname()[1]}/"))
        for one in waiting:
            one.close()
    assert caught.value.processed is False


INVALID = [
    "http://[",
    "http://h:99999999/",
    "http://h:abc/",
    "ftp://127.0.0.1/x",
    "/relative",
    "",
    "http:///nohost",
    "nonsense",
]


@pytest.mark.parametrize("url", INVALID)
async def test_invalid_url(door: Door, url: str) -> None:
    """A URL that can never work is refused at once and named, not tried for ten minutes."""
    with pytest.raises(BadRequest, match="GET "):
        await door.send(get(url))


@pytest.mark.parametrize("headers", [{"X-A": "a\nInjected: b"}, {"X A": "b"}, {"X-A": "a\0b"}], ids=str)
async def test_invalid_header(door: Door, server: Echo, headers: Mapping[str, str]) -> None:
    """A header that cannot be sent is refused at once, and nothing is smuggled into the request."""
    with pytest.raises(BadRequest, match="GET "):
        await door.send(get(f"{server.url}/echo", headers=headers))
    assert not [request for request in server.requests if "injected" in request.headers]


@pytest.mark.parametrize(("size", "fits"), [(0, True), (1000, True), (1001, False), (3_000_000, False)])
async def test_body_cap(door: Door, server: Echo, size: int, fits: bool) -> None:
    """An answer larger than agreed is refused before it fills the memory, and says what to do."""
    request = get(f"{server.url}/big/{size}", max_body=1000)
    if fits:
        assert len((await door.send(request)).body) == size
        return
    with pytest.raises(BadRequest, match=r"/big/\d+: the answer is larger than 1000 bytes; .*max_body_bytes"):
        await door.send(request)
    assert (await door.send(get(f"{server.url}/echo"))).status == 200


async def test_cancellation_comes_through(door: Door, server: Echo) -> None:
    """A cancelled send ends as cancelled, not as trouble to be forgiven."""
    server.fail(Fault.hang(5))
    sending = asyncio.create_task(door.send(get(f"{server.url}/echo")))
    await asyncio.sleep(0.2)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


@contextmanager
def raw_server(speak: Any) -> Iterator[str]:
    """Serve one connection at a time with ``speak(socket)``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # the client has left
                    speak(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


# TLS ---------------------------------------------------------------------------------------------


@dataclass
class TlsServer:
    """A server with a certificate that it signed itself."""

    url: str
    certificate: Path
    seen: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """Serve HTTPS on localhost."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = self_signed(folder)
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *args: None  # type: ignore[method-assign] - refused handshakes are the point
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield TlsServer(f"https://localhost:{server.server_port}/", certificate, seen)
    server.shutdown()
    server.server_close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


async def test_untrusted_certificate(door: Door, tls: TlsServer) -> None:
    """A certificate that nobody vouches for is refused before anything is sent."""
    before = len(tls.seen)
    with pytest.raises(TryAgain, match=r"(?i)certificate") as caught:
        await door.send(get(tls.url))
    assert caught.value.processed is False
    assert len(tls.seen) == before


async def test_trusted_by_request(door: Door, tls: TlsServer) -> None:
    """``verify`` takes a CA bundle or switches the check off; each request is judged by its own."""
    assert (await door.send(get(tls.url, verify=str(tls.certificate)))).status == 200
    assert (await door.send(get(tls.url, verify=False))).status == 200
    with pytest.raises(TryAgain):
        await door.send(get(tls.url))


async def test_unverified_is_said_once(door: Door, tls: TlsServer, caplog: pytest.LogCaptureFixture) -> None:
    """That the certificate of a server is not checked is said in the log, once."""
    _warn_unverified.cache_clear()
    for verify in (False, str(tls.certificate), False):
        await door.send(get(tls.url, verify=verify))
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"TLS verification of {tls.url.rstrip('/')} is off, as its Airflow connection says")


async def test_empty_bundle_does_not_switch_verification_off(door: Door, tls: TlsServer) -> None:
    """An empty ``verify``, as a form stores it, means the usual check."""
    with pytest.raises(TryAgain, match=r"(?i)certificate"):
        await door.send(get(tls.url, verify=""))


async def test_pooled_connection_does_not_lend_its_trust(door: Door, tls: TlsServer) -> None:
    """A connection opened without a check is not used for a request that wants one."""
    assert (await door.send(get(tls.url, verify=False))).status == 200
    with pytest.raises(TryAgain):
        await door.send(get(tls.url, verify=True))


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
async def test_trusted_by_environment(
    door: Door, tls: TlsServer, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company's CA bundle in the environment counts."""
    monkeypatch.setenv(variable, str(tls.certificate))
    assert (await door.send(get(tls.url))).status == 200


async def test_missing_bundle(door: Door, tls: TlsServer) -> None:
    """A CA bundle that is not there is a mistake to correct, and is named."""
    with pytest.raises(BadRequest, match="no-such-bundle"):
        await door.send(get(tls.url, verify="/no-such-bundle.pem"))


# Proxies -----------------------------------------------------------------------------------------


class Proxy(FakeServer):
    """A forward proxy that answers itself."""

    async def _serve(self, raw: Any) -> Any:
        self.targets.append((str(raw.raw_path if hasattr(raw, "raw_path") else raw.path), dict(raw.headers)))
        return await super()._serve(raw)

    targets: list[tuple[str, dict[str, str]]]

    def routes(self) -> list[Route]:
        """See FakeServer."""
        self.targets = []
        return [Route("GET", "/echo", lambda request: Answer.json({"from": "proxy"}))]


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Run a proxy."""
    with Proxy() as running:
        yield running


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
async def test_proxy(door: Door, proxy: Proxy, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is used."""
    monkeypatch.setenv(variable, proxy.url)
    response = await door.send(get("http://service.invalid/echo"))
    assert response.json() == {"from": "proxy"}
    assert proxy.targets[0][0] == "http://service.invalid/echo"


async def test_proxy_with_a_login(door: Door, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's login goes to the proxy, ours to the service."""
    monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://user:word@"))
    await door.send(get("http://service.invalid/echo", headers={"Authorization": "Bearer ours"}))
    headers = {name.lower(): value for name, value in proxy.targets[0][1].items()}
    assert headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
    assert headers["authorization"] == "Bearer ours"


@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "127.0.0.1,example.com"])
async def test_no_proxy(door: Door, server: Echo, proxy: Proxy, exempt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What NO_PROXY names is asked directly."""
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", exempt)
    assert (await door.send(get(f"{server.url}/echo"))).json() == {"hello": "world"}
    assert not proxy.targets


# What an answer means ----------------------------------------------------------------------------


def google(status: int, reason: str) -> Response:
    answer = Answer.google_error(status, reason, "Scripted.")
    return Response(status=status, headers={"content-type": "application/json"}, body=answer.body)


@pytest.mark.parametrize(
    ("response", "kind", "processed"),
    [
        (Response(status=400), BadRequest, None),
        (Response(status=401), Unauthorized, None),
        (Response(status=402), BadRequest, None),
        (Response(status=403), BadRequest, None),
        (Response(status=404), NotFound, True),
        (Response(status=405), BadRequest, None),
        (Response(status=408), TryAgain, True),
        (Response(status=409), Conflict, None),
        (Response(status=410), BadRequest, None),
        (Response(status=429), Throttled, False),
        (Response(status=500), TryAgain, True),
        (Response(status=502), TryAgain, True),
        (Response(status=503), TryAgain, True),
        (Response(status=504), TryAgain, True),
        (Response(status=599), TryAgain, True),
        (Response(status=302), BadRequest, None),
        (Response(status=304), BadRequest, None),
        (google(403, "rateLimitExceeded"), Throttled, False),
        (google(403, "userRateLimitExceeded"), Throttled, False),
        (google(403, "quotaExceeded"), Throttled, False),
        (google(403, "backendError"), TryAgain, False),
        (google(403, "accessDenied"), BadRequest, None),
        (google(400, "rateLimitExceeded"), BadRequest, None),
        (Response(status=403, body=b'{"error": "rateLimitExceeded"}'), BadRequest, None),
        (Response(status=403, body=b'{"error": {"errors": []}}'), BadRequest, None),
        (Response(status=403, body=b"[1]"), BadRequest, None),
        (Response(status=403, body=b"\xff\xfe"), BadRequest, None),
    ],
    ids=lambda value: f"{value.status} {value.body[:40]!r}" if isinstance(value, Response) else None,
)
def test_refusal(response: Response, kind: type[OrkError], processed: bool | None) -> None:
    """Each answer is sorted by what the waiting loop shall do, whatever is in its body."""
    error = refusal(get("http://x/jobs"), response)
    assert type(error) is kind
    assert str(error).startswith(f"GET http://x/jobs answered {response.status}: ")
    assert getattr(error, "processed", None) is processed


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_good_answer(status: int) -> None:
    """Any 2xx is a good answer."""
    response = Response(status=status)
    assert check(get("/"), response) is response


def test_query_is_not_quoted() -> None:
    """What stands behind the question mark may be a secret; errors do not repeat it."""
    assert "hush" not in str(refusal(get("http://x/jobs?key=hush", params={"token": "hush"}), Response(status=400)))


def test_google_message_is_quoted() -> None:
    """Google's own words and reason, not its JSON."""
    said = str(refusal(get("/"), google(403, "accessDenied")))
    assert said == "GET / answered 403: Scripted. (reason: accessDenied)"


@pytest.mark.parametrize(
    "body", [b"x" * 10_000, json.dumps({"error": {"message": "x" * 10_000}}).encode()], ids=["text", "google"]
)
def test_body_is_cut(body: bytes) -> None:
    """A page of HTML does not fill the log: its first 500 characters tell enough."""
    said = str(refusal(get("/"), Response(status=400, body=body)))
    assert said.count("x") == 500


def test_empty_body_is_named() -> None:
    """An empty body is said to be empty."""
    assert str(refusal(get("/"), Response(status=500))) == "GET / answered 500: no body"


def ahead(seconds: float) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("1.5", 1.5, 1.5),
        ("0", 0, 0),
        ("-5", 0, 0),
        (3600, 3590, 3600),
        (-3600, 0, 0),
        ("Wed, 21 Oct 2015 07:28:00", 0, 0),
    ],
)
def test_retry_after(value: str | int, least: float, most: float) -> None:
    """Retry-After is seconds or a date (here so far from now); what lies in the past means now."""
    value = value if isinstance(value, str) else ahead(value)
    error = refusal(get("/"), Response(status=429, headers={"retry-after": value}))
    assert isinstance(error, TryAgain)
    assert error.retry_after is not None
    assert least <= error.retry_after <= most


@pytest.mark.parametrize("value", [None, "", "soon", "Wed, 99 Foo", "inf", "nan", "1e999", "-inf"])
def test_retry_after_without_meaning(value: str | None) -> None:
    """What is no time does not count; above all, nobody can make us wait for ever."""
    headers = {} if value is None else {"retry-after": value}
    assert retry_after(Response(status=503, headers=headers)) is None


# Credentials -------------------------------------------------------------------------------------


@dataclass
class Badge:
    """Credentials that get better with each renewal."""

    number: int = 1
    renewed: list[Any] = field(default_factory=list)

    async def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.number}"}

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        self.renewed.append(stale)
        self.number += 1


async def test_401_once(door: Door, server: Echo) -> None:
    """A 401 renews the credentials, with those that were refused, and asks once more."""
    server.fail(Fault.status(401))
    badge = Badge()
    response = await send_as(door, badge, get(f"{server.url}/echo", headers={"X-Team": "blue"}))
    assert response.status == 200
    assert badge.renewed == [{"Authorization": "Bearer 1"}]
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer 1", "Bearer 2"]
    assert server.requests[1].headers["x-team"] == "blue"


async def test_401_always(door: Door, server: Echo) -> None:
    """A second 401 is final: asking on would lock the account."""
    server.fail(Fault.status(401), times=-1)
    badge = Badge()
    request = get(f"{server.url}/echo")
    response = await send_as(door, badge, request)
    assert (response.status, len(badge.renewed), len(server.requests)) == (401, 1, 2)
    with pytest.raises(Unauthorized, match=r"answered 401: no body\. Check the credentials of the Airflow connection"):
        check(request, response)


# Connections -------------------------------------------------------------------------------------


@dataclass
class Airflow:
    """Reads connections, slowly if asked to, and counts."""

    reads: list[str] = field(default_factory=list)
    error: Exception | None = None
    latency: float = 0.0

    async def __call__(self, conn_id: str) -> Any:
        self.reads.append(conn_id)
        number = len(self.reads)
        await asyncio.sleep(self.latency)
        if self.error:
            raise self.error
        return SimpleNamespace(conn_id=conn_id, number=number)


async def test_connection_is_read_once() -> None:
    """A connection is resolved once, not per poll; each id for itself; renewing reads again."""
    airflow = Airflow()
    session = Session(HttpxDoor(), airflow)
    first = await session.connection("a")
    assert await session.connection("a") is first
    assert (await session.connection("b")).conn_id == "b"
    assert airflow.reads == ["a", "b"]
    await session.renew_connection("a")
    assert (await session.connection("a")).number == 3
    assert set(session.known_connections()) == {"a", "b"}


async def test_connection_is_read_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was mended counts for a new wait, without a restart; polls never read it again."""
    airflow = Airflow()
    session = Session(HttpxDoor(), airflow)
    await session.connection("a")
    await session.renew_connection("a", if_old=True)
    assert (await session.connection("a")).number == 1
    monkeypatch.setattr("ork_provider.session.connections.CONNECTION_TTL", 0.05)
    await asyncio.sleep(0.1)
    assert (await session.connection("a")).number == 1
    await session.renew_connection("a", if_old=True)
    assert (await session.connection("a")).number == 2


@pytest.mark.parametrize("error", [RuntimeError("hiccup"), TryAgain("no answer")], ids=repr)
async def test_connection_that_cannot_be_read_again_is_kept(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A hiccup of Airflow's API ends no wait: what was read before still holds."""
    airflow = Airflow()
    session = Session(HttpxDoor(), airflow)
    await session.connection("a")
    airflow.error = error
    await session.renew_connection("a")
    assert (await session.connection("a")).number == 1
    assert "Going on with what was read before" in caplog.text


async def test_many_waiters_read_a_connection_once() -> None:
    """A thousand triggers that start, or are refused, in the same second ask Airflow once."""
    airflow = Airflow(latency=0.05)
    session = Session(HttpxDoor(), airflow)
    read = await asyncio.gather(*(session.connection("a") for _ in range(50)))
    assert len(airflow.reads) == 1
    assert {conn.number for conn in read} == {1}
    await asyncio.gather(*(session.renew_connection("a") for _ in range(50)))
    assert len(airflow.reads) == 2


async def test_cancelled_waiter_does_not_spoil_the_others() -> None:
    """The connection that one waiter began to read reaches the others although it was cancelled."""
    airflow = Airflow(latency=0.1)
    session = Session(HttpxDoor(), airflow)
    first, second = (asyncio.create_task(session.connection("a")) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    assert (await second).number == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_failure_that_nobody_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    """When all who asked were cancelled, a connection that cannot be read is nobody's trouble."""
    session = Session(HttpxDoor(), Airflow(latency=0.05, error=TryAgain("no answer")))
    only = asyncio.create_task(session.connection("a"))
    await asyncio.sleep(0.01)
    only.cancel()
    await asyncio.sleep(0.1)
    del only
    gc.collect()
    assert not caplog.records


async def test_waiters_share_a_failure() -> None:
    """When Airflow does not answer, a thousand waiters do not queue up behind one another to hear so."""
    airflow = Airflow(latency=0.05, error=TryAgain("no answer"))
    session = Session(HttpxDoor(), airflow)
    results = await asyncio.gather(*(session.connection("a") for _ in range(50)), return_exceptions=True)
    assert {str(result) for result in results} == {"no answer"}
    assert len(airflow.reads) == 1
    airflow.error = None
    assert (await session.connection("a")).number == 2


async def test_unreadable_connection() -> None:
    """A connection that cannot be read is named, with the reason and what to do."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    session = Session(HttpxDoor(), Airflow(error=AirflowNotFoundException("isn't defined")))
    said = (
        r"^Airflow connection 'my-conn' cannot be read \(AirflowNotFoundException: isn't defined\)\. "
        r"Define it, or set AIRFLOW_CONN_MY-CONN\.$"
    )
    with pytest.raises(BadRequest, match=said):
        await session.connection("my-conn")


async def test_passing_error_stays_one() -> None:
    """That Airflow does not answer now is worth another try."""
    session = Session(HttpxDoor(), Airflow(error=TryAgain("no answer")))
    with pytest.raises(TryAgain, match="no answer"):
        await session.connection("a")


# The loop's session ------------------------------------------------------------------------------


async def test_shared_session(server: Echo) -> None:
    """All triggers of a loop share one session; its door closes with the last of them and works again after."""
    session = shared_session()
    assert shared_session() is session
    assert isinstance(session.door, AiohttpDoor)
    for _ in range(2):
        async with session:
            async with shared_session() as inner:
                await inner.door.send(get(f"{server.url}/echo"))
            assert session.door._session is not None
        assert session.door._session is None


def test_another_loop_has_another_session(server: Echo) -> None:
    """A session never crosses loops; a loop that is gone takes its own with it."""

    async def use() -> Session:
        async with shared_session() as session:
            await session.door.send(get(f"{server.url}/echo"))
        return session

    assert asyncio.run(use()) is not asyncio.run(use())


@pytest.mark.parametrize("kind", [HttpxDoor, AiohttpDoor])
def test_nothing_is_left_open(kind: type[Door], server: Echo) -> None:
    """A used and closed door leaves no open connection behind: no warning when it is collected."""

    async def use() -> None:
        door = kind()
        await door.send(get(f"{server.url}/echo"))
        await door.close()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(use())
        gc.collect()
    assert not [str(w.message) for w in caught if issubclass(w.category, ResourceWarning)]
