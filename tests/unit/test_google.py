"""Credentials and tokens from a Google connection, against a real token server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import iam, jwt

from ork_provider.errors import BadRequest, OrkError, TryAgain
from ork_provider.google import CLOUD_PLATFORM, GoogleAccess
from ork_provider.google.transport import TokenRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

AUTHORIZED_USER = {
    "type": "authorized_user",
    "client_id": "client",
    "client_secret": "hush-client",
    "refresh_token": "hush-refresh",
}


@dataclass
class TokenServer:
    """Hands out ``token-1``, ``token-2``...; ``script``: answers to give first: status, headers, body."""

    url: str = ""
    latency: float = 0.0
    lifetime: int = 3600
    script: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def fetches(self) -> int:
        return len(self.log)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], str]:
        time.sleep(self.latency)
        with self.lock:
            self.log.append({"path": path, "headers": headers, "body": body.decode()})
            if self.script:
                return self.script.pop(0)
            token = f"token-{len(self.log)}"
        if path.endswith(":generateAccessToken"):
            expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.lifetime))
            return 200, {}, json.dumps({"accessToken": token, "expireTime": expires})
        return (
            200,
            {},
            json.dumps(
                {"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"}
                | {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
            ),
        )


@pytest.fixture
def server() -> Iterator[TokenServer]:
    """Run a token server with the endpoints of oauth2, sts and iamcredentials."""
    state = TokenServer()
    with serving(state) as state.url:
        yield state


@contextmanager
def serving(state: TokenServer, context: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, headers, text = state.answer(self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in ({"content-type": "application/json"} | headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # the caller gave up
                self.wfile.write(text.encode())

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{http.server_port}" if context else f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def pem(rsa_key: rsa.RSAPrivateKey) -> str:
    return as_pem(rsa_key)


def as_pem(rsa_key: rsa.RSAPrivateKey) -> str:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return rsa_key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


@pytest.fixture
def key(server: TokenServer, pem: str) -> dict[str, str]:
    """Return a service account key whose tokens come from our server."""
    return {
        "type": "service_account",
        "project_id": "key-project",
        "private_key_id": "abc",
        "private_key": pem,
        "client_email": "robot@key-project.iam.gserviceaccount.com",
        "token_uri": f"{server.url}/token",
    }


@pytest.fixture
def key_path(key: dict[str, str], tmp_path: Path) -> str:
    return written(tmp_path / "key.json", key)


@pytest.fixture(autouse=True)
def _no_machine_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_UNIVERSE_DOMAIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def written(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def access(clock: Callable[[], float] = time.time, chain: Any = None, **fields: Any) -> GoogleAccess:
    return GoogleAccess(conn_id="gcp", fields=fields, impersonation_chain=chain, clock=clock)


@dataclass
class Clock:
    """The wall clock, moved ahead by hand."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


async def settled(check: Callable[[], bool]) -> None:
    """Wait until the background has done something."""
    for _ in range(500):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing happened in 5 s")


# --- where the credentials come from --------------------------------------------------------------


async def test_key_file(server: TokenServer, key_path: str, rsa_key: rsa.RSAPrivateKey) -> None:
    """A key file signs its own request; the token, its project and the default scope follow."""
    google = access(key_path=key_path)
    assert await google.headers() == {"Authorization": "Bearer token-1"}
    assert await google.project_id() == "key-project"
    assertion = parse_qs(server.log[0]["body"])["assertion"][0]
    public = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = jwt.decode(assertion, verify=False)
    assert jwt.crypt.verify_signature(*_signed(assertion), [public])
    assert claims["iss"] == "robot@key-project.iam.gserviceaccount.com"
    assert claims["scope"] == CLOUD_PLATFORM
    assert server.fetches == 1


def _signed(assertion: str) -> tuple[bytes, bytes]:
    signed, _, signature = assertion.rpartition(".")
    return signed.encode(), base64.urlsafe_b64decode(signature + "==")


@pytest.mark.parametrize("form", ["dict", "text", "escaped", "real line breaks"])
async def test_keyfile_dict(server: TokenServer, key: dict[str, str], form: str) -> None:
    """The key may be an object or text, and its line breaks may have been escaped twice or not at all."""
    escaped = key | {"private_key": key["private_key"].replace("\n", "\\n")}
    value: Any = {
        "dict": key,
        "text": json.dumps(key),
        "escaped": json.dumps(escaped),
        "real line breaks": json.dumps(key).replace("\\n", "\n"),
    }[form]
    assert await access(keyfile_dict=value).headers() == {"Authorization": "Bearer token-1"}


async def test_legacy_prefix(key_path: str) -> None:
    """Names with Airflow's old prefix count, but a plain name wins even when it is empty."""

    class Connection:
        conn_id = "old"
        extra_dejson = {
            "extra__google_cloud_platform__key_path": key_path,
            "extra__google_cloud_platform__project": "old-project",
            "extra__google_cloud_platform__location": "EU",
            "location": "",
        }

    google = GoogleAccess.from_connection(Connection())
    assert google.conn_id == "old"
    assert await google.project_id() == "old-project"
    assert google.location is None
    assert await google.headers() == {"Authorization": "Bearer token-1"}


async def test_scopes_quota_and_location(server: TokenServer, key: dict[str, str]) -> None:
    """The connection's scope, quota project and location are used; its number of retries is not."""
    google = access(
        keyfile_dict=key,
        scope="a, b",
        quota_project_id="payer-1",
        location="EU",
        num_retries=5,
        project="mine",
    )
    assert await google.headers() == {"Authorization": "Bearer token-1", "x-goog-user-project": "payer-1"}
    assert jwt.decode(parse_qs(server.log[0]["body"])["assertion"][0], verify=False)["scope"] == "a b"
    assert (google.location, await google.project_id()) == ("EU", "mine")


@pytest.mark.parametrize(
    ("argument", "declared"),
    [
        (["via@a.iam.gserviceaccount.com", "who@target.iam.gserviceaccount.com"], "other@b.iam"),
        (None, "via@a.iam.gserviceaccount.com, who@target.iam.gserviceaccount.com"),
        (None, ["via@a.iam.gserviceaccount.com", "who@target.iam.gserviceaccount.com"]),
    ],
)
async def test_impersonation_chain(
    server: TokenServer,
    key: dict[str, str],
    argument: Any,
    declared: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last of the chain is who we are, the others are delegates; an argument goes first."""
    monkeypatch.setattr(iam, "_IAM_ENDPOINT", server.url + "/{}:generateAccessToken")
    google = access(keyfile_dict=key, impersonation_chain=declared, chain=argument)
    assert await google.headers() == {"Authorization": "Bearer token-2"}
    assert await google.project_id() == "target"
    asked = server.log[1]
    assert asked["path"] == "/who@target.iam.gserviceaccount.com:generateAccessToken"
    assert asked["headers"]["authorization"] == "Bearer token-1"
    body = json.loads(asked["body"])
    assert (body["delegates"], body["scope"]) == (["via@a.iam.gserviceaccount.com"], [CLOUD_PLATFORM])


@pytest.mark.parametrize(
    ("account", "project"),
    [
        ("who@proj.example.com.iam.gserviceaccount.com", "example.com:proj"),
        ("123-compute@developer.gserviceaccount.com", "key-project"),
    ],
)
async def test_project_of_an_impersonated_account(
    server: TokenServer, key: dict[str, str], account: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address of another form tells no project, so the key's counts."""
    monkeypatch.setattr(iam, "_IAM_ENDPOINT", server.url + "/{}:generateAccessToken")
    assert await access(keyfile_dict=key, chain=account).project_id() == project


async def test_anonymous(server: TokenServer) -> None:
    """An anonymous connection asks nobody and sends nothing."""
    google = access(is_anonymous="True", project="p")
    assert await google.headers() == {}
    assert (await google.project_id(), await access(is_anonymous=True).project_id()) == ("p", None)
    await google.renew({})
    assert server.fetches == 0


async def test_is_anonymous_false_as_text(key_path: str) -> None:
    """A connection in URI form has only text: "false" is not true."""
    assert await access(is_anonymous="false", key_path=key_path).headers() == {"Authorization": "Bearer token-1"}


async def test_default_credentials(server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key the machine's own credentials are used, here an authorized user's."""
    user = AUTHORIZED_USER | {"token_uri": f"{server.url}/token", "quota_project_id": "payer-2"}
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", written(tmp_path / "adc.json", user))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "machine-project")
    monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{server.url}/token")
    google = access()
    assert await google.headers() == {"Authorization": "Bearer token-1", "x-goog-user-project": "payer-2"}
    assert await google.project_id() == "machine-project"
    assert parse_qs(server.log[0]["body"])["refresh_token"] == ["hush-refresh"]


@pytest.mark.parametrize("form", ["path", "dict", "text"])
async def test_external_account(server: TokenServer, tmp_path: Path, form: str) -> None:
    """Workload identity federation works by path, object or text, and asks for no more than the token."""
    config = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{server.url}/sts",
        "credential_source": {"file": written(tmp_path / "subject", "outside-token")},
    }
    value = {"path": written(tmp_path / "c.json", config), "dict": config, "text": json.dumps(config)}[form]
    google = access(credential_config_file=value, project="mine")
    assert await google.headers() == {"Authorization": "Bearer token-1"}
    assert parse_qs(server.log[0]["body"])["subject_token"] == ["outside-token"]
    assert server.fetches == 1


async def test_client_certificate(rsa_key: rsa.RSAPrivateKey, tmp_path: Path, server: TokenServer) -> None:
    """Workload identity by X.509 shows its certificate to the token server."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    cert = (
        x509.CertificateBuilder(name, name, rsa_key.public_key(), 1, now, now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(rsa_key, hashes.SHA256())
    )
    cert_file = written(tmp_path / "cert.pem", cert.public_bytes(serialization.Encoding.PEM).decode())
    key_file = written(tmp_path / "key.pem", as_pem(rsa_key))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cert_file)
    context.load_cert_chain(cert_file, key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(server, context) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", cert_file)
        request = TokenRequest()
        answer = request(url, method="POST", body=b"", cert=(cert_file, key_file))
        request.close()
    assert (answer.status, json.loads(answer.data)["access_token"]) == (200, "token-1")


async def test_service_account_as_config(key: dict[str, str]) -> None:
    """A service account key in credential_config_file is one, too."""
    assert await access(credential_config_file=key).headers() == {"Authorization": "Bearer token-1"}


@pytest.mark.filterwarnings("default")  # Google's provider imports what warns
async def test_rare_kinds_go_through_the_provider(server: TokenServer, key_path: str) -> None:
    """What only Google's provider reads is left to it; the token still comes over our transport."""
    google = access(key_path=key_path, delegate_to="boss@example.com")
    assert await google.headers() == {"Authorization": "Bearer token-1"}
    claims = jwt.decode(parse_qs(server.log[0]["body"])["assertion"][0], verify=False)
    assert claims["sub"] == "boss@example.com"


@pytest.mark.filterwarnings("default")
async def test_what_the_provider_refuses() -> None:
    """A refusal of Google's provider names connection and field."""
    with pytest.raises(BadRequest, match=r"'gcp', idp_issuer_url: Credential Configuration File is needed"):
        await access(idp_issuer_url="https://idp.example.com").headers()


async def test_universe(key: dict[str, str]) -> None:
    """In another universe tokens are signed, not fetched, and default URLs change."""
    google = access(keyfile_dict=key, universe_domain="example.goog")
    assert (await google.headers())["Authorization"].count(".") == 2
    assert google.endpoint("run", "https://run.googleapis.com/") == "https://run.example.goog"


# --- one fetch for all ----------------------------------------------------------------------------


async def test_single_flight(server: TokenServer, key_path: str) -> None:
    """Fifty who need a token at once cause one fetch."""
    server.latency = 0.1
    google = access(key_path=key_path)
    answers = await asyncio.gather(*(google.headers() for _ in range(50)))
    assert {a["Authorization"] for a in answers} == {"Bearer token-1"}
    assert server.fetches == 1


async def test_a_valid_token_costs_nothing(key_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a valid token headers() starts no thread and never gives the loop back."""
    google = access(key_path=key_path)
    await google.headers()
    monkeypatch.setattr(threading, "Thread", None)
    with pytest.raises(StopIteration):
        google.headers().send(None)


async def test_callers_cannot_spoil_the_headers(key_path: str) -> None:
    """Each caller gets a dict of its own."""
    google = access(key_path=key_path)
    (await google.headers()).clear()
    assert await google.headers() == {"Authorization": "Bearer token-1"}


async def test_refresh_ahead(server: TokenServer, key_path: str) -> None:
    """Within 300 s of the expiry the old token is used while one new one is fetched."""
    clock = Clock()
    google = access(clock, key_path=key_path)
    await google.headers()
    clock.ahead = 3600 - 310
    await google.headers()
    await asyncio.sleep(0.05)
    assert server.fetches == 1
    clock.ahead, server.latency = 3600 - 290, 0.1
    answers = await asyncio.gather(*(google.headers() for _ in range(50)))
    assert {a["Authorization"] for a in answers} == {"Bearer token-1"}
    await settled(lambda: google._flight is None)
    assert await google.headers() == {"Authorization": "Bearer token-2"}
    assert server.fetches == 2


async def test_refresh_ahead_pauses(server: TokenServer, key_path: str) -> None:
    """A server that repeats a token about to expire is asked every 30 s, not at every poll."""
    clock = Clock()
    server.lifetime = 200
    google = access(clock, key_path=key_path)
    await google.headers()
    for _ in range(20):
        await google.headers()
        await settled(lambda: google._flight is None)
    assert server.fetches == 2
    clock.ahead = 31
    await google.headers()
    await settled(lambda: google._flight is None)
    assert server.fetches == 3


async def test_failed_refresh_ahead(server: TokenServer, key_path: str, caplog: pytest.LogCaptureFixture) -> None:
    """As long as the token is valid, a failed renewal is a warning and nothing else."""
    clock = Clock()
    google = access(clock, key_path=key_path)
    await google.headers()
    clock.ahead = 3500
    server.script = [(503, {}, "{}")]
    assert await google.headers() == {"Authorization": "Bearer token-1"}
    await settled(lambda: bool(caplog.records))
    assert "HTTP 503" in caplog.text
    assert "token-1" not in caplog.text


async def test_expired(server: TokenServer, key_path: str) -> None:
    """An expired token is never used."""
    clock = Clock()
    google = access(clock, key_path=key_path)
    await google.headers()
    clock.ahead = 3601
    assert await google.headers() == {"Authorization": "Bearer token-2"}


async def test_renew_after_401(server: TokenServer, key_path: str) -> None:
    """Fifty who were refused with the same token cause one fetch; latecomers keep the new token."""
    google = access(key_path=key_path)
    stale = await google.headers()
    server.latency = 0.05

    async def refused(delay: float) -> str:
        await asyncio.sleep(delay)
        await google.renew(stale)
        return (await google.headers())["Authorization"]

    answers = await asyncio.gather(*(refused(0.01 * i) for i in range(50)))
    assert set(answers) == {"Bearer token-2"}
    assert server.fetches == 2
    await google.renew()
    assert await google.headers() == {"Authorization": "Bearer token-3"}


async def test_renew_reads_the_key_file_again(key: dict[str, str], key_path: str, tmp_path: Path) -> None:
    """A key file that was replaced counts after a 401."""
    google = access(key_path=key_path)
    stale = await google.headers()
    written(tmp_path / "key.json", key | {"project_id": "new-project"})
    await google.renew(stale)
    assert await google.project_id() == "new-project"


def test_several_loops(server: TokenServer, key_path: str) -> None:
    """Two event loops in two threads share one fetch, and a third one later uses its token."""
    server.latency = 0.2
    google = access(key_path=key_path)
    answers: list[dict[str, str]] = []

    def loop() -> None:
        answers.append(asyncio.run(google.headers()))

    threads = [threading.Thread(target=loop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    loop()
    assert answers == [{"Authorization": "Bearer token-1"}] * 3
    assert server.fetches == 1


def test_a_loop_that_ends_first(server: TokenServer, key_path: str) -> None:
    """A loop that is closed while it waits leaves the fetch to the next loop."""
    server.latency = 0.3
    google = access(key_path=key_path)
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(google.headers(), 0.1))
    assert asyncio.run(google.headers()) == {"Authorization": "Bearer token-1"}
    assert server.fetches == 1


async def test_a_cancelled_waiter_leaves_the_others(server: TokenServer, key_path: str) -> None:
    """Cancelling the first caller neither stops nor doubles the fetch."""
    server.latency = 0.2
    google = access(key_path=key_path)
    first = asyncio.create_task(google.headers())
    await asyncio.sleep(0.05)
    first.cancel()
    others = await asyncio.gather(*(google.headers() for _ in range(5)))
    assert others == [{"Authorization": "Bearer token-1"}] * 5
    assert (first.cancelled(), server.fetches) == (True, 1)


# --- what can go wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, {"retry-after": "7"}, "down"), "HTTP 503"),
        ((429, {"retry-after": "7"}, '{"error": "slow_down"}'), "slow_down"),
        ((200, {"content-type": "text/html", "retry-after": "7"}, "<html>"), "HTML page"),
        ((200, {}, "[]"), "sent no token"),
        ((200, {}, '{"access_token": "t-hush", "expires_in"'), "sent no token"),
    ],
)
async def test_trouble_passes(
    server: TokenServer, key_path: str, answer: tuple[int, dict[str, str], str], said: str
) -> None:
    """Trouble of the token server is TryAgain at once, with its Retry-After, and the next call works."""
    server.script = [answer]
    google = access(key_path=key_path)
    with pytest.raises(TryAgain, match=said) as caught:
        await google.headers()
    assert caught.value.retry_after == (7 if "retry-after" in answer[1] else None)
    assert caught.value.processed is False
    assert server.fetches == 1
    assert await google.headers() == {"Authorization": "Bearer token-2"}


async def test_no_token_server(key: dict[str, str]) -> None:
    """A refused connection is TryAgain."""
    google = access(keyfile_dict=key | {"token_uri": "http://127.0.0.1:9/token"})
    with pytest.raises(TryAgain, match=r"ConnectError at http://127.0.0.1:9"):
        await google.headers()


async def test_hanging_token_server(server: TokenServer, key_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token server that does not answer in time is TryAgain."""
    monkeypatch.setattr("ork_provider.google.transport.TIMEOUT", 0.1)
    server.latency = 0.5
    with pytest.raises(TryAgain, match="ReadTimeout"):
        await access(key_path=key_path).headers()


async def test_all_who_wait_hear_of_it(server: TokenServer, key_path: str) -> None:
    """Each waiter gets an exception of its own, so that no traceback grows with their number."""
    server.latency, server.script = 0.1, [(503, {}, "")]
    google = access(key_path=key_path)
    outcomes = await asyncio.gather(*(google.headers() for _ in range(10)), return_exceptions=True)
    assert {type(o) for o in outcomes} == {TryAgain}
    assert len({id(o) for o in outcomes}) == 10
    assert all(len(traceback.format_exception(o)) < 10 for o in outcomes if isinstance(o, TryAgain))


async def test_rejected_key(server: TokenServer, key: dict[str, str]) -> None:
    """A key that Google rejects is final, and the message says why and where to look."""
    body = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    server.script = [(400, {}, json.dumps(body))]
    with pytest.raises(BadRequest) as caught:
        await access(keyfile_dict=key).headers()
    assert str(caught.value) == (
        f"Google connection 'gcp', keyfile_dict: no token, HTTP 400 from {server.url}, invalid_grant: "
        "Invalid JWT Signature. Check that key and account still exist, and this machine's clock."
    )


async def test_rejected_key_is_read_again(server: TokenServer, key: dict[str, str], tmp_path: Path) -> None:
    """A key file that was mended counts at the next attempt, even while the old token lasts."""
    clock = Clock()
    google = access(clock, key_path=written(tmp_path / "key.json", key))
    await google.headers()
    server.script = [(400, {}, '{"error": "invalid_grant"}')]
    clock.ahead = 3400
    await google.headers()
    await settled(lambda: google._flight is None)
    written(tmp_path / "key.json", key | {"project_id": "mended"})
    clock.ahead = 3700
    await google.headers()
    assert await google.project_id() == "mended"


async def test_impersonation_refused(server: TokenServer, key: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing role names the role and the account."""
    monkeypatch.setattr(iam, "_IAM_ENDPOINT", server.url + "/{}:generateAccessToken")
    token = '{"access_token": "t", "expires_in": 3600}'
    server.script = [(200, {}, token), (403, {}, '{"error": {"message": "denied"}}')]
    with pytest.raises(BadRequest, match=r"denied.*serviceAccountTokenCreator on who@p\.iam"):
        await access(keyfile_dict=key, chain="who@p.iam.gserviceaccount.com").headers()


async def test_redirects_are_not_followed(server: TokenServer, key_path: str) -> None:
    """A signed request is not sent on to somebody else."""
    server.script = [(307, {"location": f"{server.url}/elsewhere"}, "")]
    with pytest.raises(BadRequest, match="HTTP 307"):
        await access(key_path=key_path).headers()
    assert [entry["path"] for entry in server.log] == ["/token"]


BAD_FIELDS: dict[str, dict[str, Any]] = {
    "key_path: file '/nowhere/key.json' cannot be read": {"key_path": "/nowhere/key.json"},
    "key_path: names a P12 file": {"key_path": "/keys/key.p12"},
    "key_path: holds JSON": {"key_path": '{"private_key": "hush"}'},
    "keyfile_dict: is not valid JSON": {"keyfile_dict": '{"private_key": "hush'},
    "keyfile_dict: is not a JSON object": {"keyfile_dict": '["hush"]'},
    "keyfile_dict: is not a usable service account key (Service account info was not": {
        "keyfile_dict": {"private_key": "hush"}
    },
    "keyfile_dict: is not a usable service account key": {
        "keyfile_dict": {"private_key": "hush", "client_email": "a@b", "token_uri": "http://127.0.0.1:9/"}
    },
    "keyfile_dict: is not the key of a service account": {"keyfile_dict": AUTHORIZED_USER},
    "credential_config_file: is not valid JSON": {"credential_config_file": '{"hush'},
    "credential_config_file: file '/nowhere' cannot be read": {"credential_config_file": "/nowhere"},
    "credential_config_file: The file dict object does not have a valid type": {
        "credential_config_file": {"type": "mystery", "client_secret": "hush"}
    },
    "quota_project_id: is not a project id": {"quota_project_id": "a\nb"},
}


@pytest.mark.parametrize("message", BAD_FIELDS)
async def test_bad_fields(message: str) -> None:
    """What is wrong with a connection is final, and the message names connection and field, and no secret."""
    with pytest.raises(BadRequest) as caught:
        await access(**BAD_FIELDS[message]).headers()
    assert str(caught.value).startswith(f"Google connection 'gcp', {message}")
    assert "hush" not in "".join(traceback.format_exception(caught.value))


async def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any credentials the message says where they could come from."""
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)
    with pytest.raises(BadRequest, match=r"default credentials: .*not found.* Set key_path, keyfile_dict"):
        await access().headers()


def test_two_sources() -> None:
    """More than one source of credentials is a contradiction."""
    with pytest.raises(BadRequest, match="key_path and keyfile_dict: exclude one another"):
        access(key_path="a", keyfile_dict="b")


def test_extra_is_not_an_object() -> None:
    """An extra that is JSON but no object is refused."""
    with pytest.raises(BadRequest, match="'gcp', extra: is not a JSON object"):
        GoogleAccess(conn_id="gcp", fields=["key_path"])  # type: ignore[arg-type]


async def test_no_secret_anywhere(
    server: TokenServer, key: dict[str, str], pem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither key nor token is in a repr, nor in the traceback of an answer that made no sense."""
    monkeypatch.setattr(iam, "_IAM_ENDPOINT", server.url + "/{}:generateAccessToken")
    google = access(keyfile_dict=key, chain="who@p.iam.gserviceaccount.com")
    await google.headers()
    shown = repr(google) + repr(vars(google)) + repr(vars(google._connection)["conn_id"])
    await google.renew()
    token = '{"access_token": "t-hush", "expires_in": 3600}'
    server.script = [(200, {}, token), (200, {}, '{"accessToken": "t-hush", "expireTime": "soon"}')]
    with pytest.raises(OrkError) as caught:
        await google.headers()
    shown += "".join(traceback.format_exception(caught.value))
    assert "token-2" not in shown
    assert "hush" not in shown
    assert pem[100:140] not in shown


# --- endpoints ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [dict, json.dumps])
def test_endpoints(form: Callable[[Any], Any]) -> None:
    """A declared endpoint replaces the default; trailing slashes go."""
    google = access(api_endpoints=form({"bigquery": "http://127.0.0.1:9050/", "run": "https://x.example/base/"}))
    assert google.endpoint("bigquery", "https://bigquery.googleapis.com") == "http://127.0.0.1:9050"
    assert google.endpoint("run", "https://run.googleapis.com") == "https://x.example/base"
    assert google.endpoint("dataproc", "https://r-dataproc.googleapis.com/") == "https://r-dataproc.googleapis.com"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"bigquery": "ftp://example.com"}, "api_endpoints.bigquery"),
        ({"bigquery": "bigquery.example.com"}, "api_endpoints.bigquery"),
        ({"bigquery": "https://"}, "api_endpoints.bigquery"),
        ({"bigquery": "https://me:hush@example.com"}, "api_endpoints.bigquery"),
        ({"bigquery": "https://example.com?key=hush"}, "api_endpoints.bigquery"),
        ({"bigquery": "https://exam ple.com"}, "api_endpoints.bigquery"),
        ({"bigquery": "https://example.com:port"}, "api_endpoints.bigquery"),
        ({"bigquery": None}, "api_endpoints.bigquery"),
        ({"bigqery": "https://example.com"}, "Known services: bigquery, dataproc, run"),
        ("{", "api_endpoints"),
        (["https://example.com"], "api_endpoints"),
    ],
)
def test_bad_endpoints(value: Any, named: str) -> None:
    """A bad endpoint is refused by the names of connection and field."""
    with pytest.raises(BadRequest, match=named) as caught:
        access(api_endpoints=value).endpoint("bigquery", "https://bigquery.googleapis.com")
    assert "'gcp'" in str(caught.value)
    assert "hush" not in str(caught.value)


# --- what it costs --------------------------------------------------------------------------------


def test_import_is_free() -> None:
    """Importing the module and making an access load nothing of Google's, aiohttp or Airflow's providers."""
    code = (
        "import sys\n"
        "before = set(sys.modules)  # a .pth file of a namespace package may put `google` there\n"
        "import ork_provider.google as g\n"
        "g.GoogleAccess(conn_id='c', fields={'key_path': 'k'}).endpoint('run', 'https://x.example')\n"
        "heavy = ('google', 'aiohttp', 'airflow', 'httpx', 'requests', 'cryptography')\n"
        "print([m for m in set(sys.modules) - before if m.split('.')[0] in heavy])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert out.stdout.strip() == "[]"


def test_a_key_file_needs_no_requests(key_path: str) -> None:
    """Building credentials and fetching a token loads neither requests nor Google's provider."""
    code = (
        "import asyncio, sys, ork_provider.google as g\n"
        f"access = g.GoogleAccess(conn_id='c', fields={{'key_path': {key_path!r}}})\n"
        "print(asyncio.run(access.headers()))\n"
        "print([m for m in ('requests', 'aiohttp', 'airflow.providers.google') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert out.stdout.split("\n")[:2] == ["{'Authorization': 'Bearer token-1'}", "[]"]
