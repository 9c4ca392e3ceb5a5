"""One BigQuery statement, read with sqlglot: what it reads and writes, and the same for DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from ork_provider.testing.sandbox.adapt import adapt
from ork_provider.testing.sandbox.catalog import Catalog
from ork_provider.testing.sandbox.problem import Problem, from_sqlglot

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

_POSITION = "ork_position_"
TableName = tuple[str, str]

_KINDS: list[tuple[type, str]] = [
    (exp.Query, "SELECT"),
    (exp.Insert, "INSERT"),
    (exp.Update, "UPDATE"),
    (exp.Delete, "DELETE"),
    (exp.Merge, "MERGE"),
    (exp.TruncateTable, "TRUNCATE_TABLE"),
]
_LEGACY = "Legacy SQL cannot run here; set useLegacySql to False (the API's default is True) and write GoogleSQL."


@dataclass
class Statement:
    """A statement: `kind` as in `statementType`, the SQL for DuckDB, the tables it reads, the one it writes.

    `replace` and `exists` stand for OR REPLACE and IF [NOT] EXISTS.
    """

    kind: str
    sql: str
    reads: list[TableName]
    target: TableName | None = None
    replace: bool = False
    exists: bool = False


def read(query: Mapping[str, Any], catalog: Catalog) -> Statement:
    """Read the `query` part of a job's configuration; raises `Problem`."""
    if query.get("useLegacySql") is not False:
        raise Problem(_LEGACY)
    tree = _parsed(str(query["query"]))
    kind = _kind(tree)
    default = (query.get("defaultDataset") or {}).get("datasetId") or catalog.default
    target = _target_node(tree)
    try:
        _bind_parameters(tree, query.get("queryParameters") or [])
        reads = _qualify(tree, default, target)
        adapt(tree)
        sql = tree.sql(dialect="duckdb", unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as exc:
        raise Problem(f"The sandbox cannot run this query: {exc}") from exc
    name = _name(target) if target is not None else None
    return Statement(kind, sql, reads, name, bool(tree.args.get("replace")), bool(tree.args.get("exists")))


def _parsed(sql: str) -> Node:
    try:
        trees = [tree for tree in sqlglot.parse(_numbered(sql), read="bigquery") if tree is not None]
    except SqlglotError as exc:
        raise from_sqlglot(exc) from exc
    if len(trees) != 1:
        raise Problem(f"The sandbox runs one statement per job, this query has {len(trees)}.")
    tree: Node = trees[0]
    return tree


def _kind(tree: Node) -> str:
    for cls, kind in _KINDS:
        if isinstance(tree, cls):
            return kind
    what = str(tree.args.get("kind") or "").upper()
    if isinstance(tree, exp.Create) and what == "TABLE":
        return "CREATE_TABLE_AS_SELECT" if tree.expression else "CREATE_TABLE"
    if isinstance(tree, exp.Drop) and what == "TABLE":
        return "DROP_TABLE"
    word = str(tree.this) if isinstance(tree, exp.Command) else f"{type(tree).__name__} {what}"
    raise Problem(f"The sandbox does not run {word.strip().upper()} statements.")


def _target_node(tree: Node) -> exp.Table | None:
    if isinstance(tree, exp.Query):
        return None
    node = tree.this or [*(tree.args.get("tables") or []), *tree.expressions][0]
    if isinstance(tree, exp.Delete) and not tree.this:  # BigQuery's DELETE needs no FROM, DuckDB's does
        tree.set("tables", None)
        tree.set("this", node)
    if isinstance(node, exp.Schema):
        node = node.this
    return node if isinstance(node, exp.Table) else None


def _name(table: exp.Table) -> TableName:
    return table.db, table.name


def _qualify(tree: Node, default: str, target: exp.Table | None) -> list[TableName]:
    """Drop the project and fill in the dataset of every table; list the tables that are read."""
    temporary = {cte.alias for cte in tree.find_all(exp.CTE)}
    reads: list[TableName] = []
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            raise Problem(f"Table-valued function not found: {table.this.sql(dialect='bigquery')}")
        if not table.db and table.name in temporary:
            continue
        table.set("catalog", None)
        table.set("this", exp.to_identifier(table.name, quoted=True))
        table.set("db", exp.to_identifier(table.db or default, quoted=True))
        if table is not target and _name(table) not in reads:
            reads.append(_name(table))
    return reads


# -- query parameters --------------------------------------------------------------------------------------------


def _bind_parameters(tree: Node, parameters: Sequence[Mapping[str, Any]]) -> None:
    """Replace @name and ? by typed values."""
    named = {str(p.get("name") or f"{_POSITION}{place}").lower(): p for place, p in enumerate(parameters)}
    for node in list(tree.find_all(exp.Parameter)):
        name = node.name
        if name.lower() not in named:
            raise Problem(f"Query parameter '{name.removeprefix(_POSITION)}' not found")
        node.replace(_value(named[name.lower()]))


def _numbered(sql: str) -> str:
    """Give the positional parameters (?) names in the order of the text."""
    tokens = sqlglot.tokenize(sql, read="bigquery")
    places = [token for token in tokens if token.token_type.name == "PLACEHOLDER"]
    for number, token in reversed(list(enumerate(places))):
        sql = f"{sql[: token.start]}@{_POSITION}{number}{sql[token.end + 1 :]}"
    return sql


def _value(parameter: Mapping[str, Any]) -> Node:
    text = literal(parameter.get("parameterType") or {}, parameter.get("parameterValue") or {})
    return sqlglot.parse_one(text, read="bigquery")


def literal(kind: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    """Write a parameter's value as a typed GoogleSQL expression.

    Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter
    """
    name = kind.get("type", "STRING")
    if name == "ARRAY":
        items = ", ".join(literal(kind["arrayType"], item) for item in value.get("arrayValues") or [])
        return f"CAST([{items}] AS {type_name(kind)})"
    if name == "STRUCT":
        types = {field["name"]: field["type"] for field in kind["structTypes"]}
        values = value.get("structValues", {})
        fields = [f"{literal(types[n], values.get(n, {}))} AS `{n}`" for n in types]
        return f"STRUCT({', '.join(fields)})"
    plain = value.get("value")
    text = "NULL" if plain is None else exp.Literal.string(str(plain)).sql(dialect="bigquery")
    return f"CAST({text} AS {type_name(kind)})"


def type_name(kind: Mapping[str, Any]) -> str:
    """Write a parameter's type as GoogleSQL."""
    if kind.get("type") == "ARRAY":
        return f"ARRAY<{type_name(kind['arrayType'])}>"
    return str(kind.get("type", "STRING"))
