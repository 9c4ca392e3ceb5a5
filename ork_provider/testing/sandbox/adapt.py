"""What a GoogleSQL expression means where sqlglot's translation to DuckDB gives another value or type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlglot import exp

from ork_provider.testing.sandbox.problem import Problem

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node


def adapt(tree: Node) -> None:
    """Rewrite the tree in place. Storage options of a CREATE TABLE (partitions, labels) have no effect."""
    if isinstance(tree, exp.Create):
        tree.set("properties", None)
    first = tree
    while isinstance(first, exp.SetOperation):
        first = first.this
    if isinstance(first, exp.Select):
        _name_columns(first)
    _count_offsets_from_zero(tree)
    for kind, rewrite in _REWRITES:
        found: list[Node] = list(tree.find_all(kind))
        for node in found:
            rewrite(node)


def _name_columns(tree: exp.Select) -> None:
    """Name unnamed columns f0_, f1_ ... as BigQuery does; a field of a struct keeps its own name."""
    number = 0
    for column in tree.expressions:
        if isinstance(column, exp.Dot):
            column.replace(exp.alias_(column.copy(), column.name, quoted=True))
        elif not isinstance(column, exp.Alias | exp.Column) and not column.is_star:
            column.replace(exp.alias_(column.copy(), f"f{number}_"))
            number += 1


def _count_offsets_from_zero(tree: Node) -> None:
    """UNNEST ... WITH OFFSET counts from 0, DuckDB's WITH ORDINALITY from 1."""
    for unnest in tree.find_all(exp.Unnest):
        offset, select = unnest.args.get("offset"), unnest.find_ancestor(exp.Select)
        if not isinstance(offset, exp.Identifier) or select is None:
            continue
        if any(column.is_star for column in select.expressions):
            raise Problem("The sandbox cannot SELECT * beside WITH OFFSET; name the columns.")
        offset.set("quoted", True)  # "offset", the default name, is a keyword for DuckDB
        if not unnest.args.get("alias"):
            unnest.set("alias", exp.TableAlias(columns=[exp.to_identifier("value_")]))
        for column in [c for c in select.find_all(exp.Column) if c.name == offset.name and not c.table]:
            value: Node = exp.paren(exp.column(offset.copy()) - 1, copy=False)
            column.replace(exp.alias_(value, offset.name) if column.parent is select else value)


def _double(literal: Node) -> None:
    """1.5 is a FLOAT64, DuckDB makes it a DECIMAL."""
    if not literal.is_string and not literal.is_int and not isinstance(literal.parent, exp.DataTypeParam):
        literal.replace(exp.cast(literal.copy(), "DOUBLE"))


def _numeric(kind: Node) -> None:
    """NUMERIC has 38 digits, 9 of them after the point; DuckDB's has 18 and 3."""
    if kind.this == exp.DataType.Type.DECIMAL and not kind.expressions:
        kind.replace(exp.DataType.build("DECIMAL(38, 9)"))


def _date(node: Node) -> None:
    """DATE_ADD, DATE_SUB and DATE_TRUNC give a DATE, DuckDB's a TIMESTAMP."""
    node.replace(exp.cast(node.copy(), "DATE"))


def _timestamp(node: Node) -> None:
    """PARSE_TIMESTAMP and TIMESTAMP_MILLIS give a TIMESTAMP, DuckDB's a DATETIME."""
    node.replace(exp.cast(node.copy(), "TIMESTAMPTZ"))


def _whole_units(node: Node) -> None:
    """TIMESTAMP_DIFF counts whole units, DuckDB's DATE_DIFF the boundaries between."""
    unit = exp.Literal.string(node.args["unit"].name)
    values = [unit, node.expression.copy(), node.this.copy()]
    node.replace(exp.Anonymous(this="DATE_SUB", expressions=values))


def _extract(node: Node) -> None:
    """Weeks start on Sunday, which is day 1 of them; a TIMESTAMP is taken in UTC."""
    part, value = node.this.name.upper(), node.expression
    if isinstance(node.this, exp.WeekStart):
        raise Problem("The sandbox cannot EXTRACT a week that starts on another day than Sunday; use ISOWEEK.")
    if isinstance(value, exp.Cast) and value.to.this == exp.DataType.Type.TIMESTAMPTZ:
        value.replace(exp.cast(value.copy(), "TIMESTAMP"))
    if part in ("DATE", "TIME"):
        node.replace(exp.cast(node.expression.copy(), part))
    elif part == "ISOWEEK":
        node.this.replace(exp.var("WEEK"))
    elif part == "WEEK":
        week = exp.Anonymous(this="STRFTIME", expressions=[node.expression.copy(), exp.Literal.string("%U")])
        node.replace(exp.cast(week, "BIGINT"))
    elif part == "DAYOFWEEK":
        node.replace(exp.paren(exp.Add(this=node.copy(), expression=exp.Literal.number(1))))


def _printf(node: Node) -> None:
    """FORMAT has printf's patterns, DuckDB's has {}."""
    node.replace(exp.Anonymous(this="PRINTF", expressions=[node.this.copy(), *node.expressions]))


_REWRITES: list[tuple[type, Callable[[Node], None]]] = [
    (exp.Literal, _double),
    (exp.DataType, _numeric),
    (exp.DateAdd, _date),
    (exp.DateSub, _date),
    (exp.DateTrunc, _date),
    (exp.StrToTime, _timestamp),
    (exp.UnixToTime, _timestamp),
    (exp.TimestampDiff, _whole_units),
    (exp.Extract, _extract),
    (exp.Format, _printf),
]
