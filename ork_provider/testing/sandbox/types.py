"""DuckDB's column types in BigQuery's words."""

from __future__ import annotations

from typing import Any

from ork_provider.testing.bigquery_wire import Field

_NAMES = {
    "boolean": "BOOLEAN",
    "tinyint": "INTEGER",
    "smallint": "INTEGER",
    "integer": "INTEGER",
    "bigint": "INTEGER",
    "hugeint": "INTEGER",
    "utinyint": "INTEGER",
    "usmallint": "INTEGER",
    "uinteger": "INTEGER",
    "ubigint": "INTEGER",
    "null": "INTEGER",  # BigQuery types a bare NULL as INT64
    "float": "FLOAT",
    "double": "FLOAT",
    "decimal": "NUMERIC",
    "blob": "BYTES",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "DATETIME",
    "timestamp_s": "DATETIME",
    "timestamp_ms": "DATETIME",
    "timestamp_ns": "DATETIME",
    "timestamp with time zone": "TIMESTAMP",
    "interval": "INTERVAL",
}


def field(name: str, kind: Any) -> Field:
    """Describe a column of the DuckDB type `kind`; what BigQuery has no word for is a STRING."""
    if kind.id in ("list", "array"):
        return {**field(name, _child(kind)), "mode": "REPEATED"}
    if kind.id == "struct":
        fields = [field(inner, inner_kind) for inner, inner_kind in kind.children]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    if str(kind) == "JSON":
        return {"name": name, "type": "JSON", "mode": "NULLABLE"}
    return {"name": name, "type": _NAMES.get(kind.id, "STRING"), "mode": "NULLABLE"}


def _child(kind: Any) -> Any:
    return next(inner for name, inner in kind.children if name == "child")
