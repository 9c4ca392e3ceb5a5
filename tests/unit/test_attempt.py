"""What a task remembers of the job it started."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from ork_provider.attempt import STORE_KEY, Attempt, AttemptStore, Handover, hash_request, new_nonce, readable_id
from ork_provider.bigquery import BigQueryJob
from ork_provider.errors import InvalidJob
from ork_provider.http import HttpJob

NOW = datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=timezone.utc)
log = logging.getLogger("test_attempt")

ATTEMPT = Attempt(nonce="n" * 32, request_hash="h" * 64, max_tries=2, at=NOW)
JOB = BigQueryJob(project="p", job_id="j", location=None)


@pytest.mark.parametrize(
    "attempt",
    [
        ATTEMPT,
        Attempt(**{**ATTEMPT.__dict__, "job": JOB, "deadline": NOW + timedelta(hours=1)}),
        Attempt(**{**ATTEMPT.__dict__, "job": HttpJob(url="/j", headers={"X-Team": "blue"}), "submitted": True}),
        ATTEMPT.confirmed(JOB, ATTEMPT.at),
    ],
    ids=["intent", "with a job", "http", "confirmed"],
)
def test_round_trip(attempt: Attempt) -> None:
    """What is stored, as JSON, comes back as the same attempt."""
    assert Attempt.from_dict(json.loads(json.dumps(attempt.to_dict()))) == attempt


GOLDEN = {
    "version": 1,
    "nonce": "0123456789abcdef0123456789abcdef",
    "request_hash": "ab" * 32,
    "max_tries": 1,
    "at": "2026-01-31T12:00:00+00:00",
    "deadline": "",
    "job": {"service_type": "bigquery", "job_id": "j", "project": "p", "location": "EU"},
    "submitted": True,
}
"""A row as the first release wrote it; it must load for ever."""


def test_golden_row() -> None:
    """A task that was deferred under the first release finds its job under every later one."""
    attempt = Attempt.from_dict(GOLDEN)
    assert attempt.job == BigQueryJob(project="p", job_id="j", location="EU")
    assert (attempt.deadline, attempt.submitted, attempt.at.tzinfo) == (None, True, timezone.utc)
    assert attempt.to_dict() == GOLDEN


def test_unknown_keys_are_ignored() -> None:
    """A row of a later release still loads."""
    assert Attempt.from_dict({**GOLDEN, "shiny": 1}) == Attempt.from_dict(GOLDEN)


def test_no_secrets() -> None:
    """Secret headers are not stored: the store is plain text in Airflow's database."""
    attempt = ATTEMPT.confirmed(HttpJob(url="/j", headers={"Authorization": "Bearer hush"}), NOW)
    assert "hush" not in json.dumps(attempt.to_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": ...},
        {"at": "yesterday"},
        {"at": None},
        {"max_tries": "many"},
        {"deadline": "later"},
        {"job": {"service_type": "bigqery"}},
        {"job": {"service_type": "bigquery"}},
        {"job": "j"},
    ],
    ids=str,
)
def test_unreadable_row(change: dict[str, Any]) -> None:
    """A row that cannot be read is never taken for "no job": it says where to look for the job, and what to do."""
    row = {key: value for key, value in {**GOLDEN, **change}.items() if value is not ...}
    with pytest.raises(InvalidJob, match=r"'ork_attempt' cannot be read .* may still run; .* delete the key"):
        Attempt.from_dict(row)


@pytest.mark.parametrize("row", ["text", 5, [1], [["nonce", 1]]])
def test_row_of_another_type(row: Any) -> None:
    """Neither is a row that is no dict at all."""
    with pytest.raises(InvalidJob, match="cannot be read"):
        Attempt.from_dict(row)


# Jobs that a task's own code has handed over ----------------------------------------------------

HANDOVER = Handover(jobs=(JOB, HttpJob(url="/j", headers={"X-Team": "blue"})), max_tries=2, at=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"jobs": ()},
        {"deadline": NOW + timedelta(hours=1)},
        {"output": {"rows": 3, "day": None, "deep": [1, {"a": True}]}},
        {"complete": False, "jobs": (JOB,)},
    ],
    ids=str,
)
def test_handover_round_trip(change: dict[str, Any]) -> None:
    """What a function handed over comes back, through JSON, as the same jobs and the same output."""
    handover = replace(HANDOVER, **change)
    assert Handover.from_dict(json.loads(json.dumps(handover.to_dict()))) == handover


GOLDEN_HANDOVER = {
    "version": 1,
    "jobs": [
        {"service_type": "bigquery", "job_id": "j", "project": "p", "location": "EU"},
        {"service_type": "custom_http", "url": "https://api.example.com/jobs/1"},
    ],
    "output": None,
    "max_tries": 1,
    "at": "2026-01-31T11:00:00+00:00",
    "deadline": "2026-01-31T12:00:00+00:00",
    "complete": True,
}
"""A row as the first release wrote it, less the HTTP job's defaults; it must load for ever."""


def test_golden_handover() -> None:
    """A task of many jobs that was deferred under the first release finds them under every later one."""
    assert Handover.from_dict(GOLDEN_HANDOVER) == Handover(
        jobs=(BigQueryJob(project="p", job_id="j", location="EU"), HttpJob(url="https://api.example.com/jobs/1")),
        max_tries=1,
        at=datetime(2026, 1, 31, 11, tzinfo=timezone.utc),
        deadline=datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
    )
    assert Handover.from_dict({**GOLDEN_HANDOVER, "shiny": 1}) == Handover.from_dict(GOLDEN_HANDOVER)


@pytest.mark.parametrize("missing", ["version", "output", "deadline", "complete"])
def test_sparse_handover(missing: str) -> None:
    """What another release does not write has a meaning of its own; jobs and tries have none."""
    row = {key: value for key, value in GOLDEN_HANDOVER.items() if key != missing}
    assert Handover.from_dict(row).jobs == Handover.from_dict(GOLDEN_HANDOVER).jobs


@pytest.mark.parametrize(
    "change",
    [
        {"jobs": ...},
        {"jobs": None},
        {"jobs": 5},
        {"jobs": "jj"},
        {"jobs": [None]},
        {"jobs": [{"service_type": "bigqery"}]},
        {"jobs": [GOLDEN["job"], {"service_type": "bigquery"}]},
        {"max_tries": ...},
        {"max_tries": None},
        {"max_tries": "many"},
        {"deadline": "later"},
        {"deadline": 5},
    ],
    ids=str,
)
def test_unreadable_handover(change: dict[str, Any]) -> None:
    """A row that cannot be read is never taken for "no jobs": it says where to look for them, and what to do."""
    row = {key: value for key, value in {**GOLDEN_HANDOVER, **change}.items() if value is not ...}
    with pytest.raises(InvalidJob, match=r"'ork_attempt' cannot be read .* may still run; .* delete the key"):
        Handover.from_dict(row)


@pytest.mark.parametrize("row", ["text", 5, [1], [["jobs", []]]])
def test_handover_of_another_type(row: Any) -> None:
    """Neither is a row that is no dict at all."""
    with pytest.raises(InvalidJob, match="cannot be read"):
        Handover.from_dict(row)


def test_row_of_another_operator() -> None:
    """A task that became another operator under the same name finds a row of the other sort: it says so."""
    with pytest.raises(InvalidJob, match="cannot be read"):
        Handover.from_dict(GOLDEN)
    with pytest.raises(InvalidJob, match="cannot be read"):
        Attempt.from_dict(GOLDEN_HANDOVER)


def test_no_secrets_handed_over() -> None:
    """Nor are the secret headers of jobs that a function returns readable in the store."""
    job = HttpJob(url="/j", headers={"Authorization": "Bearer hush", "X-Team": "blue"})
    row = json.dumps(replace(HANDOVER, jobs=(job,)).to_dict())
    assert "hush" not in row
    assert "blue" in row


# The store ---------------------------------------------------------------------------------------


@dataclass
class Store:
    """Airflow's task state store, as far as we use it."""

    values: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        del self.values[key]


def test_store() -> None:
    """An attempt is saved, found by the next try, replaced and forgotten."""
    context = {"task_state_store": Store()}
    store = AttemptStore(context, log)
    assert store.load() is None
    store.save(ATTEMPT)
    assert AttemptStore(context, log).load() == ATTEMPT
    store.save(ATTEMPT.confirmed(JOB, ATTEMPT.at))
    assert AttemptStore(context, log).load() == ATTEMPT.confirmed(JOB, ATTEMPT.at)
    assert set(context["task_state_store"].values) == {STORE_KEY}
    store.forget()
    assert AttemptStore(context, log).load() is None


def test_no_store(caplog: pytest.LogCaptureFixture) -> None:
    """Where Airflow has no store everything works, with one warning about what is lost."""
    store = AttemptStore({}, log)
    store.save(ATTEMPT)
    assert store.load() is None
    store.forget()
    assert caplog.messages == ["No task state store here: a next try will not find a job that this one starts"]


def test_same_request_same_hash() -> None:
    """The order of keys does not make another request, nor does a tuple instead of a list."""
    one = {"sql": "SELECT 1", "parameters": {"a": 1, "b": (1, 2)}}
    two = {"parameters": {"b": [1, 2], "a": 1}, "sql": "SELECT 1"}
    assert hash_request(one) == hash_request(two)
    assert re.fullmatch("[0-9a-f]{64}", hash_request(one))


def test_request_that_is_not_json() -> None:
    """What cannot be sent is refused before anything is stored or sent."""
    with pytest.raises(InvalidJob, match="cannot be sent as JSON"):
        hash_request({"at": NOW})


@pytest.mark.parametrize(
    "other",
    [
        {"sql": "SELECT 2"},
        {"sql": "SELECT 1 "},
        {"sql": None},
        {},
        {"sql": "SELECT 1", "x": None},
        {"sql": ["SELECT 1"]},
    ],
)
def test_other_request_other_hash(other: dict[str, Any]) -> None:
    """Any change of the rendered request is another request."""
    assert hash_request(other) != hash_request({"sql": "SELECT 1"})


def test_nonces_differ() -> None:
    """128 random bits in hex, never twice."""
    nonces = {new_nonce() for _ in range(1000)}
    assert len(nonces) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", nonce) for nonce in nonces)


def task(dag_id: str = "sales", task_id: str = "load", map_index: int | None = -1) -> Any:
    return SimpleNamespace(dag_id=dag_id, task_id=task_id, map_index=map_index)


@pytest.mark.parametrize(
    ("ti", "separator", "start"),
    [
        (task(), "_", "airflow_sales_load_"),
        (task(), "-", "airflow-sales-load-"),
        (task(map_index=3), "_", "airflow_sales_load_3_"),
        (task(map_index=0), "_", "airflow_sales_load_0_"),
        (task(map_index=None), "_", "airflow_sales_load_"),
        (task("my.dag", "group.täsk"), "_", "airflow_my-dag_group-t-sk_"),
    ],
)
def test_readable_id(ti: Any, separator: str, start: str) -> None:
    """A person knows the job again by dag, task and map index; the id has only characters that services allow."""
    assert readable_id(ti, "f" * 32, limit=1024, separator=separator) == start + "f" * 32


@pytest.mark.parametrize("limit", [40, 63, 100, 1024])
def test_id_within_the_limit(limit: int) -> None:
    """Within the service's limit the slug is cut, the nonce never."""
    made = readable_id(task("d" * 250, "t" * 250), "f" * 32, limit=limit)
    assert len(made) <= limit
    assert made.endswith("_" + "f" * 32)
    assert re.fullmatch("[A-Za-z0-9_-]+", made)
