"""A hundred triggers over one key file: one parse of the key, one token, and a new one before the old one ends."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import iam
from google.oauth2 import service_account

from ork_provider.google import REFRESH_AHEAD
from ork_provider.testing import Answer, FakeBigQuery, RecordedRequest, Route, TriggerResult
from ork_provider.testing.google_connection import PROJECT
from tests.support.shared_kinds import SHARED, Waiting

CHAIN = ["first@ork-sandbox.iam.gserviceaccount.com", "last@ork-sandbox.iam.gserviceaccount.com"]


class Bank(FakeBigQuery):
    """A BigQuery that wants tokens, and lends those of the accounts that may be impersonated."""

    def routes(self) -> list[Route]:
        """See FakeServer."""
        return [*super().routes(), Route("POST", "/lend/{account}", self.lend)]

    def lend(self, request: RecordedRequest, account: str) -> Answer:
        token = f"lent-{len(self._tokens.issued)}"
        self._tokens.issued[token] = (account, request.at + self._tokens.seconds)
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self._tokens.seconds))
        return Answer.json({"accessToken": token, "expireTime": expires})


class Parses:
    """Counts how often a key is read, and in which threads."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self._parse = service_account.Credentials.from_service_account_info

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.threads.append(threading.get_ident())
        return self._parse(*args, **kwargs)


@pytest.fixture(scope="module")
def pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> Parses:
    counting = Parses()
    monkeypatch.setattr(service_account.Credentials, "from_service_account_info", counting)
    return counting


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    monkeypatch.setenv("AIRFLOW__ORK__SHARED_POLL_INTERVAL", "0.5")
    with Bank(require_auth=True) as fake:
        monkeypatch.setattr(iam, "_IAM_ENDPOINT", fake.url + "/lend/{}")
        yield fake


@pytest.fixture
def waiting(bank: Bank, pem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """Return BigQuery behind a connection with a key file."""
    email = "robot@ork-sandbox.iam.gserviceaccount.com"
    key = {"type": "service_account", "project_id": PROJECT, "private_key_id": "abc", "private_key": pem}
    path = tmp_path / "key.json"
    path.write_text(json.dumps({**key, "client_email": email, "token_uri": f"{bank.url}/token"}))
    extra = {"key_path": str(path), "project": PROJECT, "api_endpoints": {"bigquery": bank.url}}
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    return Waiting("bigquery", SHARED["bigquery"], bank)


def seed(waiting: Waiting, count: int, running: float, owner: str = "robot") -> list[Any]:
    """Store jobs of the account that asks for them, so that its lists show them."""
    bank: Bank = waiting.fake
    jobs = [waiting.seed(f"job-{i}", running) for i in range(count)]
    for job in bank.inserted:
        job.user_email = f"{owner}@ork-sandbox.iam.gserviceaccount.com"
    return jobs


def all_succeeded(results: list[TriggerResult]) -> bool:
    return {result.payload["status"] for result in results} == {"success"}


def refused(bank: Bank) -> list[RecordedRequest]:
    return [request for request in bank.requests if request.status == 401]


async def test_one_token_and_one_parse(waiting: Waiting, bank: Bank, parses: Parses) -> None:
    """A hundred triggers that start together parse the key once, off the event loop, and fetch one token."""
    jobs = seed(waiting, 100, 1.0)
    assert all_succeeded(await waiting.run(jobs))
    assert len(bank.calls("POST", "/token")) == 1
    assert len(parses.threads) == 1
    assert parses.threads[0] != threading.get_ident()
    assert refused(bank) == []
    assert len(waiting.asks) == 100


async def test_one_token_of_a_chain(waiting: Waiting, bank: Bank, parses: Parses) -> None:
    """With an impersonation chain, too: one token of the key's, and one of the last account in the chain."""
    jobs = seed(waiting, 100, 1.0, "last")
    assert all_succeeded(await waiting.run(jobs, impersonation_chain=CHAIN))
    assert len(bank.calls("POST", "/token")) == 1
    assert [request.path for request in bank.calls("POST", "/lend/*")] == [f"/lend/{CHAIN[-1]}"]
    assert len(parses.threads) == 1
    assert refused(bank) == []
    assert len(waiting.asks) == 100


async def test_two_identities_do_not_share(waiting: Waiting, bank: Bank) -> None:
    """Triggers of the same jobs over a chain and over the key itself have a list and a token each."""
    jobs = seed(waiting, 10, 1.0)
    runs = waiting.run(jobs), waiting.run(jobs, impersonation_chain=CHAIN, poll_interval=0.5)
    plain, chained = await asyncio.gather(*runs)
    assert all_succeeded([*plain, *chained])
    askers = {request.headers["authorization"] for request in waiting.polls}
    assert len(askers) == 2
    assert len(bank.calls("POST", "/token")) == 2


async def test_refresh_ahead(waiting: Waiting, bank: Bank, parses: Parses) -> None:
    """A token that ends soon is replaced in the background while fifty wait: one more, no 401, no second parse."""
    bank._tokens.seconds = REFRESH_AHEAD + 1
    jobs = seed(waiting, 50, 3.0)
    assert all_succeeded(await waiting.run(jobs))
    assert len(bank.calls("POST", "/token")) == 2
    assert refused(bank) == []
    assert len(parses.threads) == 1
    assert len({request.headers["authorization"] for request in waiting.polls}) == 2


async def test_revoked_token(waiting: Waiting, bank: Bank) -> None:
    """When the service refuses the token of all, one new one is fetched for all, and the list goes on."""
    jobs = seed(waiting, 50, 4.0)
    running = asyncio.ensure_future(waiting.run(jobs))
    await asyncio.sleep(1.2)
    bank.revoke_tokens()
    assert all_succeeded(await running)
    assert len(bank.calls("POST", "/token")) == 2
    assert len(waiting.asks) <= 50 + len(refused(bank))
