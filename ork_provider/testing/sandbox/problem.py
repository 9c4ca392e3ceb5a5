"""What is wrong with a query, in the words of BigQuery's error messages."""

from __future__ import annotations

import re

import duckdb
from sqlglot.errors import ParseError, SqlglotError

_TOKEN = re.compile(r"<Token[^>]*>")
_MISSING = re.compile(r"Required keyword: '\w+' missing for <class '(?:\w+\.)*(\w+)'>")
_FUNCTION = re.compile(r"Function with name \"?(\w+)\"? does not exist")
_COLUMN = re.compile(r'Referenced (?:column|table) "([^"]+)" not found')


class Problem(Exception):
    """A job's `errorResult`: `reason` and `message`."""

    def __init__(self, message: str, reason: str = "invalidQuery") -> None:
        super().__init__(message)
        self.error = {"reason": reason, "location": "query", "message": message}


def from_sqlglot(exc: SqlglotError) -> Problem:
    """Translate a parser's complaint to `Syntax error: ... at [line:column]`."""
    if not isinstance(exc, ParseError) or not exc.errors:
        return Problem(f"Syntax error: {str(exc).splitlines()[0]}")
    first = exc.errors[0]
    text = _TOKEN.sub("end of input", str(first["description"]))
    text = _MISSING.sub(lambda m: f"Incomplete {m.group(1).upper()}", text)
    if first.get("highlight"):
        text += f' near "{first["highlight"]}"'
    return Problem(f"Syntax error: {text} at [{first['line']}:{first['col']}]")


def from_duckdb(exc: duckdb.Error, sql: str) -> Problem:
    """Translate an error of the engine; a name that it does not know is located in the user's `sql`."""
    text = str(exc)
    if match := _COLUMN.search(text):
        name = match.group(1)
        return Problem(f"Unrecognized name: {name}{_position(name, sql)}")
    if match := _FUNCTION.search(text):
        name = match.group(1)
        return Problem(f"Function not found: {name}{_position(name, sql)}")
    return Problem(" ".join(text.partition("\n\nLINE ")[0].split()))


def _position(name: str, sql: str) -> str:
    match = re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", sql, re.IGNORECASE)
    if match is None:
        return ""
    before = sql[: match.start()]
    return f" at [{before.count(chr(10)) + 1}:{match.start() - before.rfind(chr(10))}]"
