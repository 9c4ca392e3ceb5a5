"""The oracle itself: what the real API does not know is an AssertionError that says where."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.discovery import Discovery

API = Discovery("bigquery", "v2")
JOBS = "/bigquery/v2/projects/p/jobs"


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "method_id"),
    [
        ("GET", f"{JOBS}/j", {"location": "EU"}, None, "bigquery.jobs.get"),
        (
            "GET",
            JOBS,
            "stateFilter=running&stateFilter=pending&fields=jobs(id,status/state)",
            None,
            "bigquery.jobs.list",
        ),
        ("POST", "/projects/p/jobs", {}, {"configuration": {"query": {"query": "x"}}}, "bigquery.jobs.insert"),
        ("POST", f"{JOBS}/j/cancel", {}, None, "bigquery.jobs.cancel"),
    ],
)
def test_known_requests(method: str, path: str, query: Any, body: Any, method_id: str) -> None:
    assert API.check_request(method, path, query, body) == method_id


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "said"),
    [
        ("GET", "/bigquery/v2/projects/p/job/j", {}, None, "has no GET"),
        ("PUT", JOBS, {}, None, "has no PUT"),
        ("GET", JOBS, {"statefilter": "running"}, None, "no parameter 'statefilter'"),
        ("GET", JOBS, {"stateFilter": ["running", "RUNNING"]}, None, "stateFilter=RUNNING is not one of"),
        ("GET", JOBS, {"maxResults": "many"}, None, "not an integer"),
        ("GET", JOBS, {"allUsers": "yes"}, None, "not a boolean"),
        ("GET", JOBS, {"fields": "jobs(id,stat)"}, None, "no field 'stat'"),
        ("GET", JOBS, {}, {"a": 1}, "takes no body"),
        ("POST", JOBS, {}, {"config": {}}, "has no field 'config'"),
        (
            "POST",
            JOBS,
            {},
            {"configuration": {"query": {"query": 1}}},
            "configuration.query.query is not of type string",
        ),
        ("POST", JOBS, {}, {"configuration": {"labels": {"a": 1}}}, "labels.a is not of type string"),
        ("POST", JOBS, {}, {"configuration": {"dryRun": "true"}}, "dryRun is not of type boolean"),
    ],
)
def test_unknown_requests(method: str, path: str, query: Any, body: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said.replace(".", r"\.")):
        API.check_request(method, path, query, body)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": {"stat": "DONE"}}, r"status has no field 'stat'"),
        ({"statistics": {"creationTime": 1}}, r"creationTime is not of type string"),
        ({"statistics": {"creationTime": "now"}}, r"creationTime is not of format int64"),
        ({"status": {"errors": [{"reason": None}]}}, r"errors\[0\]\.reason is not of type string"),
        ([], "is not of type object"),
    ],
)
def test_unknown_answers(answer: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        API.check_response("bigquery.jobs.get", answer)


@pytest.mark.parametrize(("api", "version"), [("bigquery", "v2"), ("run", "v2"), ("dataproc", "v1")])
def test_documents_are_there(api: str, version: str) -> None:
    assert Discovery(api, version).schemas


def test_path_parameters_that_span_slashes() -> None:
    """run.v2 names whole resources in one parameter."""
    run = Discovery("run", "v2")
    path = "/v2/projects/p/locations/l/jobs/j/executions/e"
    assert run.check_request("GET", path) == "run.projects.locations.jobs.executions.get"
    assert run.check_request("POST", f"{path}:cancel", {}, {}) == "run.projects.locations.jobs.executions.cancel"
