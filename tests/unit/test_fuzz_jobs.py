"""Whatever is given for a job, or lies in the store: it is read, or an error of ours names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ork_provider.attempt import Attempt, Handover
from ork_provider.errors import InvalidJob
from ork_provider.job import KINDS, Job, JobState, JobStatus, describe_job, job_from_dict, jobs_from_dicts
from tests.support.strategies import HUGE, JSON, LONE, TOO_DEEP, fuzz, mutated, nested, odd

VALID: dict[str, dict[str, Any]] = {
    "bigquery": {"service_type": "bigquery", "job_id": "j", "project": "p", "location": "EU", "conn_id": "c"},
    "cloudrun": {
        **{"service_type": "cloudrun", "job_id": "p/r/nightly/x", "project": "p", "region": "r"},
        **{"job_name": "projects/p/locations/r/jobs/nightly", "execution_id": "x"},
    },
    "custom_http": {
        **{"service_type": "custom_http", "url": "https://h/jobs/1", "method": "POST", "headers": {"X-A": "b"}},
        **{"body": {"a": [1]}, "success_status_codes": [200], "running_status_codes": [202]},
        **{"failure_status_codes": [500], "completion_field": "$.job['status']", "completion_value": ["done"]},
        **{"failure_value": "bad", "running_value": None, "message_field": "why", "cancel_url": "/jobs/1"},
        **{"cancel_method": "DELETE", "result_url": "/r", "max_body_bytes": 1000, "withheld_headers": ["X-Key"]},
        "sealed_headers": "",
    },
    "dataproc": {
        "service_type": "dataproc",
        **{"project": "p", "region": "r", "job_id": "j", "cluster_name": "c"},
    },
    "dataproc_batch": {
        "service_type": "dataproc_batch",
        **{"project": "p", "region": "r", "batch_id": "b", "operation": "projects/p/regions/r/operations/o"},
    },
    "dependency": {
        "service_type": "dependency",
        **{"dag_id": "up", "run_id": "r", "task_ids": ["a"], "map_indexes": [1]},
        "exists_by": "2026-01-31T00:00:00+00:00",
    },
    "dqops": {
        "service_type": "dqops",
        **{"job_id": "7", "job_business_key": "k", "base_url": "http://dqops:8888"},
    },
}
FIELDS = sorted({name for job in VALID.values() for name in job} | {"status_field", "success_value"})
KIND = st.sampled_from(list(KINDS))
JOBS = odd(*VALID.values()) | st.builds(
    lambda kind, fields: {**fields, "service_type": kind}, KIND, st.dictionaries(st.sampled_from(FIELDS), JSON)
)


def test_every_kind_is_fuzzed() -> None:
    """A kind that is not here is not held to anything."""
    assert set(VALID) == set(KINDS)
    assert all(isinstance(job_from_dict(job), Job) for job in VALID.values())


def check_job(job: Job) -> None:
    """Hold a job that was read to what a wait needs of it: its dict, its link and its name, and an event."""
    again = job_from_dict(json.loads(json.dumps(job.to_dict())))
    assert json.dumps(again.to_dict()) == json.dumps(job.to_dict())
    described = describe_job(job, JobStatus(state=JobState.RUNNING))
    f"{job} {job.link} {job!r} {described} {hash(job)}".encode()


@fuzz(400)
@given(data=JOBS)
@example(data={**VALID["bigquery"], "job_id": LONE})
@example(data={**VALID["bigquery"], "job_id": HUGE})
@example(data={"service_type": HUGE})
@example(data={**VALID["custom_http"], "completion_field": f"a[{'1' * 5000}]"})
@example(data={**VALID["custom_http"], "sealed_headers": 5})
@example(data={**VALID["custom_http"], "headers": 5, "sealed_headers": "x"})
@example(data={**VALID["dqops"], "job_id": "1" * 5000})
@example(data={**VALID["dqops"], "job_id": HUGE})
@example(data={**VALID["dqops"], "job_id": -7})
@example(data={**VALID["dqops"], "job_id": 10**18})
def test_job(data: Any) -> None:
    """A job dict is read and can be written again, or the error names the field."""
    try:
        job = job_from_dict(data, "here")
    except InvalidJob as exc:
        check_error(str(exc), data, "here")
    else:
        check_job(job)


def check_error(said: str, data: Any, where: str, longest: int = 600) -> None:
    """Fail unless an error says where, and does not spill what it is about."""
    said.encode()
    assert len(said) < longest
    fields = (*FIELDS, "DqopsJob", "HttpJob", "job dict", "job needs", *(data if isinstance(data, Mapping) else ()))
    assert where in said or any(str(name) in said for name in fields)


@fuzz(150)
@given(data=JSON | st.lists(JOBS, max_size=4))
@example(data=HUGE)
def test_jobs(data: Any) -> None:
    """Of several jobs the error names the one that is wrong; all are read, or none."""
    try:
        jobs = jobs_from_dicts(data)
    except InvalidJob as exc:
        check_error(str(exc), {}, "jobs")
    else:
        assert len(jobs) == len(data) > 0


@pytest.mark.parametrize("read", [job_from_dict, jobs_from_dicts, Attempt.from_dict, Handover.from_dict])
@pytest.mark.parametrize("key", ["service_type", "jobs", "job", "nonce", ""])
def test_lists_within_lists(read: Callable[[Any], Any], key: str) -> None:
    """What is nested too deeply to be shown is refused like anything else."""
    deep = nested(TOO_DEEP)
    with pytest.raises(InvalidJob):
        read({key: deep} if key else deep)


# What a task remembers ------------------------------------------------------------------------------------

ATTEMPT = {
    **{"version": 1, "nonce": "0f", "request_hash": "ab", "max_tries": 2, "at": "2026-01-01T00:00:00+00:00"},
    **{"deadline": "2026-01-01T01:00:00+00:00", "job": VALID["bigquery"], "submitted": True, "findable": False},
    "place": {"project": "p"},
}
HANDOVER = {
    **{"version": 1, "jobs": [VALID["bigquery"], VALID["dqops"]], "output": {"rows": 3}, "max_tries": 2},
    **{"at": "2026-01-01T00:00:00+00:00", "deadline": "", "complete": True},
}


@pytest.mark.parametrize(("kind", "valid"), [(Attempt, ATTEMPT), (Handover, HANDOVER)])
def test_what_is_remembered(kind: type[Attempt] | type[Handover], valid: dict[str, Any]) -> None:
    """What a task remembers is read as it was written, with times that can be compared; else it says what to do."""
    assert kind.from_dict(valid).to_dict().items() >= {"at": valid["at"], "max_tries": 2}.items()

    @fuzz(200)
    @given(data=st.dictionaries(st.sampled_from(sorted(valid)), JSON) | odd(valid) | mutated(valid, JOBS))
    @example(data={**valid, "max_tries": float("inf")})
    @example(data={**valid, "at": "2026-01-01T00:00:00"})
    def remembered(data: Any) -> None:
        try:
            read = kind.from_dict(data)
        except InvalidJob as exc:
            check_error(str(exc), {}, "'ork_attempt' cannot be read", longest=2500)
        else:
            assert read.at.tzinfo
            assert read.deadline is None or read.deadline.tzinfo
            assert kind.from_dict(json.loads(json.dumps(read.to_dict()))).to_dict() == read.to_dict()

    remembered()
