"""What is known only when a task runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from ork_provider.templates import holds_template, is_reference, is_template


def output() -> Any:
    """Return the output of another task, as a DAG file has it."""

    @task
    def names() -> list[str]:
        return []

    with DAG("sales", schedule=None):
        return names()


@pytest.mark.parametrize("value", ["{{ ds }}", "a {% if x %}b{% endif %}"])
def test_texts(value: str) -> None:
    """A text with Jinja's braces is a template, and no reference."""
    assert (is_template(value), is_reference(value), holds_template([{"a": (value,)}])) == (True, False, True)


def test_outputs() -> None:
    """The output of another task is one too, a part of it as well."""
    for value in (output(), output()["name"]):
        assert (is_template(value), is_reference(value), holds_template({"a": [value]})) == (True, True, True)


@pytest.mark.parametrize(
    "value", ["plain", "{}", "{ { x } }", "", None, 7, Path("x"), [], {}, ["a", {"b": None}]], ids=repr
)
def test_what_is_there(value: Any) -> None:
    """Anything else can be judged now; a Path has a ``resolve`` of its own."""
    assert (is_template(value), is_reference(value), holds_template(value)) == (False, False, False)


def test_depth() -> None:
    """A list or dict is no template itself, however deep there is one in it."""
    value = {"a": [{"b": "{{ x }}"}]}
    assert (is_template(value), holds_template(value)) == (False, True)
