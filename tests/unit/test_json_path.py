"""Paths to one place in a JSON document."""

from __future__ import annotations

from typing import Any

import pytest

from ork_provider.errors import InvalidJob
from ork_provider.http.json_path import MISSING, check_path, find, parse_path


class XComArg:
    """What Airflow passes for another task's result, as far as one can tell it."""

    def iter_references(self) -> None: ...


DOCUMENT = {
    "status": "done",
    "none": None,
    "false": False,
    "job": {"status": "running", "the state": 1, "": "empty", "ünïcode-name": "ü"},
    "items": [{"id": 1}, [10, 20]],
    "a.b": "dotted",
    "$.job.status": "literal",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status", "done"),
        ("$.status", "done"),
        ("$['status']", "done"),
        ("none", None),
        ("false", False),
        ("job.status", "running"),
        ("$.job['the state']", 1),
        ('$["job"]["the state"]', 1),
        ("$.job['']", "empty"),
        ("job.ünïcode-name", "ü"),
        ("items[0].id", 1),
        ("$.items[-1][1]", 20),
        ("items[1][-2]", 10),
        ("a.b", "dotted"),
    ],
)
def test_found(path: str, value: Any) -> None:
    """Names, quoted names, indices and negative indices lead to one value; a JSON null is a value."""
    document = {name: DOCUMENT[name] for name in DOCUMENT if name != "$.job.status"}
    assert find(document, path) == value
    assert find(document, path) is not MISSING


@pytest.mark.parametrize(
    "path", ["nothing", "job.nothing", "status.deeper", "items[2]", "items[-3]", "items.id", "job[0]"]
)
def test_missing(path: str) -> None:
    """Where there is nothing, the answer is MISSING and not an error: the service may add it later."""
    assert find(DOCUMENT, path) is MISSING


@pytest.mark.parametrize("document", [None, 5, "text", [], [1], True])
def test_any_document(document: Any) -> None:
    """Any JSON value may come back from a service."""
    assert find(document, "status") is MISSING
    assert find(document, "$") is document


def test_a_key_wins_over_a_path() -> None:
    """A key that looks like a path is that key."""
    assert find(DOCUMENT, "$.job.status") == "literal"


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "$.",
        "a..b",
        "a[",
        "a[]",
        "a[x]",
        "a['b",
        "$.*",
        "$..a",
        "a[0:2]",
        "a[?(@.b)]",
        "a b",
        "a.",
        "[0]a",
        "a[1.5]",
    ],
)
def test_no_path(path: str) -> None:
    """What could mean many values, or nothing, is refused with the argument's name and an example."""
    with pytest.raises(InvalidJob, match=r"^status_path: .* is not a path to one value; write for example 'status'"):
        parse_path(path, "status_path")


@pytest.mark.parametrize("path", [None, 5, ["a"], {"a": 1}, b"a"])
def test_path_of_another_type(path: Any) -> None:
    """A path that is no text is refused by name too."""
    with pytest.raises(InvalidJob, match=r"^status_path: "):
        parse_path(path, "status_path")


def test_steps() -> None:
    """A path is its steps."""
    assert parse_path("$.a['b c'][-1].d") == ("a", "b c", -1, "d")


@pytest.mark.parametrize("path", [None, "status", "{{ params.path }}", "$.a{% if x %}.b{% endif %}", XComArg])
def test_checked_later(path: Any) -> None:
    """When a DAG is parsed, what is rendered or resolved later cannot be judged yet."""
    check_path(path() if isinstance(path, type) else path, "field")


@pytest.mark.parametrize("path", ["a..b", "", 5, ["a"], {"a": 1}])
def test_checked_at_once(path: Any) -> None:
    """Anything else is."""
    with pytest.raises(InvalidJob, match=r"^field: "):
        check_path(path, "field")
