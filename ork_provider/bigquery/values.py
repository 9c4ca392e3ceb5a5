"""BigQuery's values on the wire: query parameters out, rows in.

Sources: https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter and
https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

from ork_provider.errors import InvalidJob
from ork_provider.job import describe


def to_query_parameters(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return named query parameters in the API's form; types follow from the Python values.

    bool, int, float, str, Decimal, bytes, date, datetime, time and non-empty lists of them are understood;
    ``{"type": "DATE", "value": "2026-01-31"}`` names a type, also with a list as value (an array of that type).
    """
    found = []
    for name, value in parameters.items():
        kind, sent = _parameter(value, f"parameters[{name!r}]")
        found.append({"name": name, "parameterType": kind, "parameterValue": sent})
    return found


def _parameter(value: Any, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    named = None
    if isinstance(value, Mapping) and set(value) == {"type", "value"}:
        named, value = str(value["type"]).upper(), value["value"]
    if isinstance(value, list | tuple):
        return _array(value, named, where)
    kind = named or _type_of(value, where)
    return {"type": kind}, {"value": _spell(value)}


def _array(values: Sequence[Any], named: str | None, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    kinds = {named} if named else {_type_of(v, f"{where}[{i}]") for i, v in enumerate(values)}
    if len(kinds) != 1:
        raise InvalidJob(
            f'{where}: an array needs one type for all its values; write {{"type": "INT64", "value": [...]}}. '
            f"Got {describe(list(values))}."
        )
    sent = [{"value": _spell(v)} for v in values]
    return {"type": "ARRAY", "arrayType": {"type": kinds.pop()}}, {"arrayValues": sent}


_TYPES: tuple[tuple[type, str], ...] = (  # in this order: a bool is an int, a datetime is a date
    (bool, "BOOL"),
    (int, "INT64"),
    (float, "FLOAT64"),
    (Decimal, "NUMERIC"),
    (str, "STRING"),
    (bytes, "BYTES"),
    (datetime, "TIMESTAMP"),
    (date, "DATE"),
    (time, "TIME"),
)


def _type_of(value: Any, where: str) -> str:
    for kind, name in _TYPES:
        if isinstance(value, kind):
            return "DATETIME" if isinstance(value, datetime) and value.tzinfo is None else name
    raise InvalidJob(
        f'{where}: cannot tell the BigQuery type of {describe(value)}; write {{"type": "STRING", "value": ...}}.'
    )


def _spell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return str(value)


def read_rows(schema: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as dicts in JSON types.

    INT64 is a number; FLOAT64 too, but for NaN and infinities, which stay strings; BOOL a bool; TIMESTAMP,
    DATE, TIME and DATETIME are ISO 8601 strings; NUMERIC and BIGNUMERIC strings, to lose no digit; arrays are
    lists, structs dicts.
    """
    fields = schema.get("fields") or []
    return [_read_record(fields, row) for row in rows]


def _read_record(fields: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> dict[str, Any]:
    return {field["name"]: _read_field(field, cell.get("v")) for field, cell in zip(fields, record["f"], strict=True)}


def _read_field(field: Mapping[str, Any], value: Any) -> Any:
    if field.get("mode") == "REPEATED":
        return [_read_value(field, item.get("v")) for item in value or []]
    return _read_value(field, value)


def _read_value(field: Mapping[str, Any], value: Any) -> Any:
    if value is None:
        return None
    kind = field["type"]
    if kind in ("RECORD", "STRUCT"):
        return _read_record(field.get("fields") or [], value)
    return _READERS.get(kind, str)(value)


def _read_float(value: str) -> float | str:
    number = float(value)
    return number if abs(number) < float("inf") else str(value)


def _read_timestamp(value: str) -> str:
    """Read seconds since the epoch, exact to the microsecond."""
    micros = int((Decimal(value) * 1_000_000).to_integral_value())
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros)).isoformat()


_READERS: dict[str, Callable[[str], Any]] = {
    "INTEGER": int,
    "INT64": int,
    "FLOAT": _read_float,
    "FLOAT64": _read_float,
    "BOOLEAN": lambda value: value == "true",
    "BOOL": lambda value: value == "true",
    "TIMESTAMP": _read_timestamp,
}
