"""Foreign input for hypothesis: any JSON, odd JSON, and valid JSON with one thing wrong in it.

``ORK_FUZZ=30`` searches thirty times as long as the tests do otherwise, and at random; without it each run of a test
tries the same examples.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("ORK_FUZZ", "1"))

DEEP = 60
"""Lists within lists: more than any service sends, fewer than hypothesis can print."""

TOO_DEEP = 100_000
"""Lists within lists: more than Python can read, compare or print."""


def fuzz(examples: int) -> Callable[[Any], Any]:
    """Return the settings of a test that tries so many examples, or ``ORK_FUZZ`` times as many."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )


def nested(depth: int) -> Any:
    """Return lists within lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


LONE = "cut\ud83d"
"""A text that is half an emoji, as a service sends that cuts texts without looking."""

ODD_TEXTS = st.sampled_from(
    [
        *("", " ", "\x00", LONE, "😀", "e\u0301\u202e", "\n\r\x1b[31m", "'\"`;%s{}{{ x }}", "../..", "x" * 5000),
        *("1", "-1", "٣", "true", "null", "NaN", "1e999", "9" * 5000, "2026-02-30T00:00:00Z"),
        *("http://[", "https://u:p@h:0/?q#f"),
    ]
)
TEXTS = st.text(max_size=8) | st.text(st.characters(exclude_categories=()), max_size=8) | ODD_TEXTS
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([0, 1, -1, True, 2**31, 2**63, -(2**63) - 1, 10**400, float("inf"), float("nan"), 1e308, -0.0])
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
JSON = (
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=6,
    )
    | st.sampled_from([[], {}, [[]], [{}], {"": {}}, [None], "a"])
    | st.just(DEEP).map(nested)
)
"""Any JSON value as Python reads it; that includes NaN, infinities, numbers of any size and halves of emojis."""

HUGE = 10**5000
"""A number that Python refuses to write out; no JSON text leads to it, a DAG's own code may."""


@st.composite
def mutated(draw: st.DrawFn, document: Any, values: st.SearchStrategy[Any] = JSON) -> Any:
    """Return a valid document with one thing wrong: something left out, replaced, moved or added."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    holder, key = places[draw(st.integers(0, len(places) - 1))]
    how = draw(st.sampled_from(["replace", "replace", "remove", "add", "swap"]))
    if how == "remove":
        del holder[key]
    elif how == "replace":
        holder[key] = draw(values)
    elif how == "swap":
        other, name = places[draw(st.integers(0, len(places) - 1))]
        holder[key] = copy.deepcopy(other[name])
    elif isinstance(holder, dict):
        holder[draw(TEXTS)] = draw(values)
    else:
        holder.append(draw(values))
    return document


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Go through all that a document holds: what holds it, and under which key."""
    keys = list(document) if isinstance(document, dict) else range(len(document))
    for key in keys:
        yield document, key
        if isinstance(document[key], dict | list):
            yield from _places(document[key])


def odd(*valid: Any) -> st.SearchStrategy[Any]:
    """Return any JSON, and valid documents with one thing wrong or nothing."""
    return JSON | st.sampled_from(valid) | st.one_of(*(mutated(document) for document in valid))
