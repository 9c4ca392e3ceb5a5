"""Python values in the shape of BigQuery's REST answers: schemas, and rows as `{"f": [{"v": ...}]}`."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

Field = dict[str, Any]
Row = Mapping[str, Any] | Sequence[Any]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_TYPES: list[tuple[type, str]] = [  # bool before int, datetime before date
    (bool, "BOOLEAN"),
    (int, "INTEGER"),
    (float, "FLOAT"),
    (Decimal, "NUMERIC"),
    (bytes, "BYTES"),
    (dt.datetime, "DATETIME"),
    (dt.date, "DATE"),
    (dt.time, "TIME"),
]


def infer_schema(rows: Sequence[Row]) -> list[Field]:
    """Derive a schema from the first value that is not None in each column; STRING where there is none.

    Rows that are plain sequences get the column names f0_, f1_ as BigQuery gives to unnamed columns.
    """
    columns: dict[str, Any] = {}
    for row in rows:
        for name, value in as_mapping(row).items():
            if columns.get(name) is None:
                columns[name] = value
    return [infer_field(name, value) for name, value in columns.items()]


def infer_field(name: str, value: Any) -> Field:
    """Describe a column by one of its values."""
    if isinstance(value, (list, tuple)):
        item = next((v for v in value if v is not None), None)
        return {**infer_field(name, item), "mode": "REPEATED"}
    if isinstance(value, Mapping):
        fields = [infer_field(n, v) for n, v in value.items()]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    if isinstance(value, dt.datetime) and value.tzinfo:
        return {"name": name, "type": "TIMESTAMP", "mode": "NULLABLE"}
    kind = next((kind for python, kind in _TYPES if isinstance(value, python)), "STRING")
    return {"name": name, "type": kind, "mode": "NULLABLE"}


def as_mapping(row: Row) -> Mapping[str, Any]:
    """Name the columns of a row that is a plain sequence."""
    return row if isinstance(row, Mapping) else {f"f{i}_": value for i, value in enumerate(row)}


def wire_rows(rows: Sequence[Row], schema: Sequence[Field], int64_timestamps: bool = False) -> list[dict[str, Any]]:
    """Encode rows in BigQuery's f/v shape; every scalar is a string, NULL is None.

    A TIMESTAMP is float seconds, or microseconds with `formatOptions.useInt64Timestamp`.
    Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/list
    """
    return [_record(_values(row, schema), schema, int64_timestamps) for row in rows]


def _values(row: Row, schema: Sequence[Field]) -> list[Any]:
    return [row.get(f["name"]) for f in schema] if isinstance(row, Mapping) else list(row)


def _record(values: Sequence[Any], schema: Sequence[Field], int64: bool) -> dict[str, Any]:
    return {"f": [{"v": _field(value, field, int64)} for value, field in zip(values, schema, strict=True)]}


def _field(value: Any, field: Field, int64: bool) -> Any:
    if field.get("mode") == "REPEATED":
        return [{"v": _one(item, field, int64)} for item in value or ()]
    return _one(value, field, int64)


def _one(value: Any, field: Field, int64: bool) -> Any:
    if value is None:
        return None
    if field["type"] in ("RECORD", "STRUCT"):
        return _record(_values(value, field["fields"]), field["fields"], int64)
    if field["type"] == "TIMESTAMP" and isinstance(value, dt.datetime):
        return _timestamp(value, int64)
    if field["type"] in ("FLOAT", "FLOAT64"):
        return _float(float(value))
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, (dt.datetime, dt.time, dt.date)):
        return value.isoformat()
    return str(value)


def _float(value: float) -> str:
    names = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
    return names.get(str(value), str(value))


def _timestamp(value: dt.datetime, int64: bool) -> str:
    aware = value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)
    micros = (aware - _EPOCH) // dt.timedelta(microseconds=1)
    if int64:
        return str(micros)
    mantissa, exponent = f"{Decimal(micros).scaleb(-6):E}".split("E")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent)}"
