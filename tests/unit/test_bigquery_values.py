"""BigQuery's values on the wire: what goes out as a query parameter, what comes in as a row."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from ork_provider.bigquery.values import read_rows, to_query_parameters
from ork_provider.errors import InvalidJob

PARIS = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "kind", "sent"),
    [
        (True, "BOOL", "true"),
        (False, "BOOL", "false"),
        (1, "INT64", "1"),
        (-(2**63), "INT64", "-9223372036854775808"),
        (0.1, "FLOAT64", "0.1"),
        (1e300, "FLOAT64", "1e+300"),
        (math.inf, "FLOAT64", "inf"),
        (Decimal("1.10"), "NUMERIC", "1.10"),
        ("ü'", "STRING", "ü'"),
        ("", "STRING", ""),
        (b"\x00\xff", "BYTES", "AP8="),
        (date(2026, 1, 31), "DATE", "2026-01-31"),
        (datetime(2026, 1, 31, 12, 30), "DATETIME", "2026-01-31T12:30:00"),
        (datetime(2026, 1, 31, 12, 30, tzinfo=PARIS), "TIMESTAMP", "2026-01-31T12:30:00+01:00"),
        (time(12, 30, 1, 5), "TIME", "12:30:01.000005"),
        ({"type": "date", "value": "2026-01-31"}, "DATE", "2026-01-31"),
        ({"type": "STRING", "value": None}, "STRING", None),
        ({"type": "GEOGRAPHY", "value": "POINT(1 2)"}, "GEOGRAPHY", "POINT(1 2)"),
        ({"type": "INT64", "value": 5}, "INT64", "5"),
    ],
    ids=str,
)
def test_parameter(value: Any, kind: str, sent: str | None) -> None:
    """The type follows from the Python value, or is named; a bool is no number, a datetime no date."""
    (parameter,) = to_query_parameters({"p": value})
    assert parameter == {"name": "p", "parameterType": {"type": kind}, "parameterValue": {"value": sent}}
    json.dumps(parameter)


@pytest.mark.parametrize(
    ("value", "kind", "sent"),
    [
        ([1, 2], "INT64", ["1", "2"]),
        ((True, False), "BOOL", ["true", "false"]),
        (["a", ""], "STRING", ["a", ""]),
        ({"type": "INT64", "value": []}, "INT64", []),
        ({"type": "FLOAT64", "value": [1, 2.5]}, "FLOAT64", ["1", "2.5"]),
        ({"type": "date", "value": [date(2026, 1, 31)]}, "DATE", ["2026-01-31"]),
    ],
    ids=str,
)
def test_array_parameter(value: Any, kind: str, sent: list[str]) -> None:
    """A list is an array of one type; an empty one needs its type named."""
    (parameter,) = to_query_parameters({"p": value})
    assert parameter["parameterType"] == {"type": "ARRAY", "arrayType": {"type": kind}}
    assert parameter["parameterValue"] == {"arrayValues": [{"value": one} for one in sent]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, r"parameters\['p'\]: cannot tell the BigQuery type of NoneType None; write \{\"type\": \"STRING\""),
        (object, r"parameters\['p'\]: cannot tell the BigQuery type of type"),
        ({"a": 1}, r"parameters\['p'\]: cannot tell the BigQuery type of dict"),
        ({1, 2}, r"parameters\['p'\]: cannot tell the BigQuery type of set"),
        ([], r"parameters\['p'\]: an array needs one type for all its values; write \{\"type\": \"INT64\""),
        ([1, "a"], r"parameters\['p'\]: an array needs one type"),
        ([True, 1], r"parameters\['p'\]: an array needs one type"),
        ([None], r"parameters\['p'\]\[0\]: cannot tell"),
        ([1, [2]], r"parameters\['p'\]\[1\]: cannot tell"),
    ],
    ids=str,
)
def test_parameter_without_a_type(value: Any, said: str) -> None:
    """What has no type of its own is named, with a way to say it; nothing is guessed."""
    with pytest.raises(InvalidJob, match=f"^{said}"):
        to_query_parameters({"p": value})


def test_order_is_kept() -> None:
    """Parameters go out in the order in which they are written, so that a request hashes the same."""
    assert [p["name"] for p in to_query_parameters({"b": 1, "a": 2})] == ["b", "a"]


def row(*values: Any) -> dict[str, Any]:
    return {"f": [{"v": value} for value in values]}


@pytest.mark.parametrize(
    ("kind", "wire", "read"),
    [
        ("INTEGER", "9007199254740993", 9007199254740993),  # more than a float holds
        ("INT64", "-1", -1),
        ("FLOAT", "0.1", 0.1),
        ("FLOAT64", "1.0E300", 1e300),
        ("FLOAT64", "NaN", "NaN"),
        ("FLOAT", "Infinity", "Infinity"),
        ("FLOAT", "-Infinity", "-Infinity"),
        ("BOOLEAN", "true", True),
        ("BOOL", "false", False),
        ("STRING", "ü", "ü"),
        ("STRING", "", ""),
        ("BYTES", "AP8=", "AP8="),
        ("NUMERIC", "1.10", "1.10"),
        ("BIGNUMERIC", "0.1234567890123456789012345678901234567", "0.1234567890123456789012345678901234567"),
        ("DATE", "2026-01-31", "2026-01-31"),
        ("TIME", "12:30:00", "12:30:00"),
        ("DATETIME", "2026-01-31T12:30:00", "2026-01-31T12:30:00"),
        ("TIMESTAMP", "1.7698626E9", "2026-01-31T12:30:00+00:00"),
        ("TIMESTAMP", "1769862600.000001", "2026-01-31T12:30:00.000001+00:00"),
        ("TIMESTAMP", "0", "1970-01-01T00:00:00+00:00"),
        ("TIMESTAMP", "-0.5", "1969-12-31T23:59:59.500000+00:00"),
        ("TIMESTAMP", "-62135596800.0", "0001-01-01T00:00:00+00:00"),
        ("TIMESTAMP", "253402300799.999999", "9999-12-31T23:59:59.999999+00:00"),
        ("JSON", '{"a": 1}', '{"a": 1}'),
        ("GEOGRAPHY", "POINT(1 2)", "POINT(1 2)"),
        ("A_TYPE_OF_NEXT_YEAR", "x", "x"),
    ],
)
def test_value(kind: str, wire: str, read: Any) -> None:
    """Each type is read without losing a digit, into JSON; a null is a null whatever the type."""
    schema = {"fields": [{"name": "x", "type": kind}]}
    rows = read_rows(schema, [row(wire), row(None)])
    assert rows == [{"x": read}, {"x": None}]
    assert type(rows[0]["x"]) is type(read)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_nested() -> None:
    """Arrays are lists, structs dicts, to any depth; a null array is empty, as in BigQuery."""
    inner = {"name": "s", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "n", "type": "INT64"}]}
    schema = {
        "fields": [
            {"name": "tags", "type": "STRING", "mode": "REPEATED"},
            {"name": "deep", "type": "STRUCT", "fields": [inner, {"name": "ok", "type": "BOOL"}]},
        ]
    }
    full = row([{"v": "a"}, {"v": "b"}], row([{"v": row("1")}, {"v": row(None)}], "true"))
    assert read_rows(schema, [full, row([], None), row(None, row([], None))]) == [
        {"tags": ["a", "b"], "deep": {"s": [{"n": 1}, {"n": None}], "ok": True}},
        {"tags": [], "deep": None},
        {"tags": [], "deep": {"s": [], "ok": None}},
    ]


@pytest.mark.parametrize(("schema", "rows"), [({}, []), ({"fields": []}, []), ({"fields": None}, [])])
def test_no_rows(schema: dict[str, Any], rows: list[Any]) -> None:
    """A statement without rows gives none."""
    assert read_rows(schema, rows) == []


def test_row_that_does_not_fit_is_no_guess() -> None:
    """Rows and schema that disagree are an error, never shifted columns."""
    with pytest.raises(ValueError, match="argument 2 is longer"):
        read_rows({"fields": [{"name": "x", "type": "STRING"}]}, [row("a", "b")])
