"""A job is a value: its wire format, what is refused in it, and what never shows."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from dataclasses import replace
from typing import Any

import pytest

from ork_provider.bigquery import BigQueryJob
from ork_provider.errors import BadRequest, InvalidJob
from ork_provider.http import CustomHttp, HttpJob
from ork_provider.job import (
    KINDS,
    Job,
    JobState,
    JobStatus,
    describe_job,
    job_class,
    job_from_dict,
    jobs_from_dicts,
    load,
)
from ork_provider.service import CONNECTIONS, Service

SAMPLES: dict[str, dict[str, Any]] = {
    "bigquery": {"project": "p", "job_id": "job_1", "location": "EU", "conn_id": "other"},
    "custom_http": {
        "url": "https://api.example.com/jobs/1",
        "method": "POST",
        "headers": {"X-Team": "blue"},
        "body": {"deep": [1, None, True]},
        "success_status_codes": [200, 201],
        "completion_field": "$.job.status",
        "completion_value": ["done", 1],
        "failure_value": False,
        "cancel_url": "/jobs/1",
        "max_body_bytes": 10,
    },
    "cloudrun": {"project": "p", "region": "europe-west1", "job_name": "nightly", "execution_id": "nightly-x7k2p"},
    "dataproc": {"project": "p", "region": "us-east1", "job_id": "job_1", "cluster_name": "small"},
    "dataproc_batch": {
        "project": "p",
        "region": "us-east1",
        "batch_id": "batch-1",
        "operation": "projects/p/regions/us-east1/operations/o",
    },
    "dependency": {"dag_id": "up", "run_id": "run 1", "task_ids": ["a", "a_1"], "map_indexes": [0, 2]},
    "dqops": {"job_id": 1763625600000001, "job_business_key": "nightly 7", "base_url": "https://dq.example.com/d"},
}
"""One job of every kind, with values that are not the defaults; a new kind must add its own."""

LEAST: dict[str, tuple[str, ...]] = {
    "bigquery": ("project", "job_id"),
    "custom_http": ("url",),
    "cloudrun": ("project", "region", "job_name", "execution_id"),
    "dataproc": ("project", "region", "job_id"),
    "dataproc_batch": ("project", "region", "batch_id"),
    "dependency": ("dag_id",),
    "dqops": ("job_id",),
}
"""The fields without which a row of that kind names no job."""


@pytest.fixture(params=sorted(KINDS))
def job(request: pytest.FixtureRequest) -> Job:
    """Return a job of each kind in turn."""
    made: Job = job_class(request.param)(**SAMPLES[request.param])
    return made


def test_round_trip(job: Job) -> None:
    """What crosses XCom or the trigger table comes back as the same job, through JSON, whatever its kind."""
    wire = json.loads(json.dumps(job.to_dict()))
    assert wire["service_type"] == job.kind
    assert wire["job_id"] == job.remote_id
    assert job_from_dict(wire) == job
    assert job_from_dict(wire).to_dict() == wire


def test_defaults_round_trip(job: Job) -> None:
    """A row that holds only the required fields reads like a job that was made with them."""
    required = {name: SAMPLES[job.kind][name] for name in LEAST[job.kind]}
    assert job_from_dict({"service_type": job.kind, **required}) == type(job)(**required)


def test_nothing_less_will_do(job: Job) -> None:
    """A row that lacks any of them is refused; the message names the field, or what would do instead."""
    for missing in LEAST[job.kind]:
        required = {name: SAMPLES[job.kind][name] for name in LEAST[job.kind] if name != missing}
        with pytest.raises(InvalidJob, match=missing):
            job_from_dict({"service_type": job.kind, **required})


def test_no_conn_id_on_the_wire_unless_set() -> None:
    """A job without a connection of its own says nothing about one: the operator's counts."""
    assert "conn_id" not in BigQueryJob(project="p", job_id="j").to_dict()
    assert BigQueryJob(project="p", job_id="j", conn_id="c").to_dict()["conn_id"] == "c"


def test_jobs_are_values(job: Job) -> None:
    """Equal jobs are one dictionary key, also after a copy and a pickle; another job is another key."""
    twins = [copy.deepcopy(job), pickle.loads(pickle.dumps(job)), job_from_dict(job.to_dict())]
    assert {job: "here"}[twins[0]] == "here"
    assert len({job, *twins}) == 1
    for name, value in SAMPLES[job.kind].items():
        if isinstance(value, str) and name not in ("method", "completion_field"):
            assert len({job, replace(job, **{name: f"{value}2"})}) == 2, name


def test_jobs_cannot_be_changed(job: Job) -> None:
    """A job that is shared between waiters stays what it is."""
    with pytest.raises(AttributeError):
        job.conn_id = "changed"  # type: ignore[misc]


def test_every_kind_names_a_class_and_a_service() -> None:
    """The table of kinds, and the service that each kind names, can be imported and agree with each other."""
    for kind in KINDS:
        assert job_class(kind).kind == kind
        assert issubclass(load(job_class(kind).service), Service)
    assert CustomHttp is HttpJob
    assert SAMPLES.keys() == LEAST.keys() == KINDS.keys()


def test_connections_of_all_services() -> None:
    """What waits for jobs of any kinds takes the connection parameters of every service, with the same defaults."""
    of_services: dict[str, Any] = {}
    for kind in KINDS:
        defaults = load(job_class(kind).service).connection_defaults
        assert next(iter(defaults)).endswith("conn_id"), "the first is the id"
        assert {**of_services, **defaults} == {**defaults, **of_services}, "one name, one default"
        of_services.update(defaults)
    assert of_services == CONNECTIONS


@pytest.mark.parametrize("kind", ["bigqery", "", None, 7, ["bigquery"], {"a": 1}])
def test_unknown_kind(kind: Any) -> None:
    """A kind that does not exist is answered with those that do."""
    with pytest.raises(InvalidJob, match=r"^jobs\[1\]\.service_type: unknown job kind .*; known kinds: bigquery, "):
        jobs_from_dicts([{"service_type": "bigquery", "project": "p", "job_id": "j"}, {"service_type": kind}])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"project": None}, r"jobs\[1\]\.project: expected str, got NoneType None"),
        ({"project": 7}, r"jobs\[1\]\.project: expected str, got int 7"),
        ({"job_id": ["a"]}, r"jobs\[1\]\.job_id: expected str, got list"),
        ({"location": 1}, r"jobs\[1\]\.location: expected str \| None, got int 1"),
        ({"conn_id": False}, r"jobs\[1\]\.conn_id: expected str \| None, got bool False"),
        ({"project": ...}, r"jobs\[1\]\.project: missing; a bigquery job needs it"),
        ({"job_id": ...}, r"jobs\[1\]\.job_id: missing"),
    ],
)
def test_wrong_field_is_named_with_its_path(change: dict[str, Any], said: str) -> None:
    """A missing or wrong field is named with its place in the list, what was expected and what was there."""
    good = {"service_type": "bigquery", "project": "p", "job_id": "j", "location": "US"}
    bad = {name: value for name, value in {**good, **change}.items() if value is not ...}
    with pytest.raises(InvalidJob, match=f"^{said}"):
        jobs_from_dicts([good, bad])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_body_bytes": True}, "max_body_bytes: expected int, got bool True"),
        ({"max_body_bytes": 1.5}, "max_body_bytes: expected int, got float"),
        ({"success_status_codes": 200}, "success_status_codes: expected list"),
        ({"success_status_codes": [True]}, "success_status_codes: expected "),
        ({"success_status_codes": ["200"]}, "success_status_codes: expected "),
        ({"failure_status_codes": [99]}, "failure_status_codes: expected a list of HTTP status codes, got list"),
        ({"headers": ["a"]}, "headers: expected dict"),
        ({"headers": {"X-Count": 1}}, "headers: expected dict"),
        ({"method": "FETCH"}, "method: expected one of GET, POST, .*, got str 'FETCH'"),
        ({"cancel_method": "STOP"}, "cancel_method: expected one of GET"),
        ({"completion_field": "$.a["}, r"completion_field: '\$\.a\[' is not a path"),
        ({"completion_field": ""}, "completion_field: '' is not a path"),
        ({"completion_field": 5}, r"completion_field: expected str \| None, got int 5"),
        ({"message_field": "a..b"}, "message_field: 'a..b' is not a path"),
    ],
    ids=str,
)
def test_wrong_http_field(change: dict[str, Any], said: str) -> None:
    """Each field of an HTTP job that makes no sense is named; bool is never taken for a number."""
    with pytest.raises(InvalidJob, match=said):
        jobs_from_dicts([{"service_type": "custom_http", "url": "/jobs/1", **change}])


@pytest.mark.parametrize("field", ["completion_field", "message_field"])
def test_path_must_be_text(field: str) -> None:
    """A path of another type is an InvalidJob that names the field, also when the job is made in Python."""
    with pytest.raises(InvalidJob, match=field):
        HttpJob(url="/", **{field: ["a"]})


@pytest.mark.parametrize("data", [None, [], (), "bigquery", b"x", {"service_type": "bigquery"}, 5, {1: 2}])
def test_jobs_must_be_a_list(data: Any) -> None:
    """Anything but a non-empty list is refused with what it was."""
    with pytest.raises(InvalidJob, match=r"^jobs: expected a non-empty list of job dicts, got "):
        jobs_from_dicts(data)


@pytest.mark.parametrize("data", [None, "x", 5, ["bigquery"], [None]])
def test_job_must_be_a_dict(data: Any) -> None:
    """Anything but a dict is refused with its place."""
    with pytest.raises(InvalidJob, match=r"^jobs\[0\]: expected a job dict with 'service_type', got "):
        jobs_from_dicts([data])


def test_job_object_is_taken_as_it_is() -> None:
    """Where a dict is expected a job will do."""
    job = BigQueryJob(project="p", job_id="j")
    assert jobs_from_dicts((job, job.to_dict())) == (job, job)


def test_large_wrong_value_is_cut() -> None:
    """An error names a wrong value, not a megabyte of it."""
    with pytest.raises(InvalidJob) as caught:
        job_from_dict({"service_type": "bigquery", "project": ["x" * 100_000], "job_id": "j"})
    assert len(str(caught.value)) < 200


def test_invalid_job_is_a_value_error() -> None:
    """Whoever catches ValueError or BadRequest catches it."""
    assert issubclass(InvalidJob, ValueError)
    assert issubclass(InvalidJob, BadRequest)


def test_event_reads_as_job(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    """The keys that an event adds to a job dict are no fields, and nothing to warn about."""
    listed = describe_job(job, JobStatus(state=JobState.FAILED, message="no", stats={"slot_ms": 1}))
    assert (listed["state"], listed["message"], listed["stats"], listed["link"]) == (
        "failed",
        "no",
        {"slot_ms": 1},
        job.link,
    )
    assert job_from_dict(json.loads(json.dumps(listed))) == job
    assert not caplog.records


@pytest.mark.parametrize("names", [{"shiny_new": 1}, {"zz_new": 1, "aa_new": 2}, {7: 1, "mixed_new": 2}])
def test_unknown_field_is_warned_about_once(names: dict[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    """A field of another release is ignored with one warning, not one per restart of the trigger."""
    wire = {"service_type": "bigquery", "project": "p", "job_id": "j", **names}
    for _ in range(3):
        assert job_from_dict(wire) == BigQueryJob(project="p", job_id="j")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages == [f"BigQueryJob: ignoring unknown fields {', '.join(sorted(map(str, names)))}"]


def test_ork_spellings() -> None:
    """Ork writes status_field and success_value; both spellings are the same job."""
    ork = {"service_type": "custom_http", "url": "/j", "status_field": "state", "success_value": "DONE"}
    assert job_from_dict(ork) == HttpJob(url="/j", completion_field="state", completion_value="DONE")
    assert job_from_dict(ork).to_dict()["completion_field"] == "state"


SECRET = {"Authorization": "Bearer hush", "cookie": "hush", "X-Api-Key": "hush", "X-Auth-Token": "hush"}


def test_secret_headers_do_not_show(caplog: pytest.LogCaptureFixture) -> None:
    """Secret headers travel in trigger kwargs only: not in XCom, events, repr, str or logs; a warning says so."""
    job = HttpJob(url="/j", headers={**SECRET, "X-Team": "blue"})
    assert job.to_dict()["headers"] == {**SECRET, "X-Team": "blue"}
    assert job.public_dict()["headers"] == {"X-Team": "blue"}
    shown = [repr(job), str(job), json.dumps(describe_job(job, JobStatus(state=JobState.RUNNING))), caplog.text]
    assert not [text for text in shown if "hush" in text]
    assert "belong in the extra of an Airflow http connection" in caplog.text
    assert "Authorization" in caplog.text


@pytest.mark.parametrize(
    ("state", "final"), [("running", False), ("succeeded", True), ("failed", True), ("cancelled", True), ("lost", True)]
)
def test_state_knows_whether_it_is_final(state: str, final: bool) -> None:
    """Only a running job can still change."""
    assert JobState(state).final is final


def test_links() -> None:
    """A BigQuery job links to the console with its location; an HTTP job to itself if it has a whole URL."""
    assert BigQueryJob(project="p", job_id="j", location="EU").link == (
        "https://console.cloud.google.com/bigquery?project=p&j=bq:EU:j&page=queryresults"
    )
    assert BigQueryJob(project="p", job_id="j", location=None).link is not None
    assert HttpJob(url="/relative").link is None
    assert HttpJob(url="https://x/1").link == "https://x/1"
