"""The filters of Dataproc's lists, such as `state = RUNNING AND labels.team = blue`.

OR binds stronger than AND, a space is an AND. Source: https://google.aip.dev/160
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

Values = Callable[[str], str | None]
"""The value of a field of one job; None if it has none."""

Test = Callable[[Values], bool]
Clause = tuple[str, str, str]

_TOKEN = re.compile(
    r"\s*(?:(?P<sign>[()])|(?P<word>AND|OR|and|or)\b"
    r"|(?P<name>[\w.-]+(?:\[[^\]]*\])?)\s*(?P<sign2><=|>=|!=|=|<|>)\s*(?P<value>\"[^\"]*\"|[^\s()]+))\s*"
)
_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "=": lambda a, b: b in (a, "*"),
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class BadFilter(ValueError):
    """A filter that cannot be parsed."""


def parse(text: str, *, alternatives: bool = True) -> Test:
    """Parse a filter to a test of one job's values; an empty one lets every job pass.

    Raises `BadFilter`, also for an OR without `alternatives`.
    """
    tokens = _tokens(text)
    if not alternatives and "OR" in tokens:
        raise BadFilter(f"Invalid filter {text!r}: only AND is supported")
    try:
        test = _all_of(tokens) if tokens else lambda values: True
    except IndexError:
        raise BadFilter(f"Invalid filter {text!r}: something is missing at its end") from None
    if tokens:
        raise BadFilter(f"Invalid filter {text!r}: ')' without '('")
    return test


def _tokens(text: str) -> list[str | Clause]:
    tokens: list[str | Clause] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise BadFilter(f"Invalid filter {text!r} at {text[position:]!r}")
        word = found["sign"] or found["word"]
        tokens.append(word.upper() if word else (found["name"], found["sign2"], found["value"].strip('"')))
        position = found.end()
    return tokens


def _all_of(tokens: list[str | Clause]) -> Test:
    tests = [_any_of(tokens)]
    while tokens and tokens[0] != ")":
        if tokens[0] == "AND":
            tokens.pop(0)
        tests.append(_any_of(tokens))
    return tests[0] if len(tests) == 1 else lambda values: all(test(values) for test in tests)


def _any_of(tokens: list[str | Clause]) -> Test:
    tests = [_term(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        tests.append(_term(tokens))
    return tests[0] if len(tests) == 1 else lambda values: any(test(values) for test in tests)


def _term(tokens: list[str | Clause]) -> Test:
    token = tokens.pop(0)
    if token == "(":
        test = _all_of(tokens)
        if tokens.pop(0) != ")":
            raise BadFilter("Invalid filter: ')' is missing")
        return test
    if isinstance(token, str):
        raise BadFilter(f"Invalid filter: a field is missing before {token!r}")
    name, sign, wanted = token
    compare = _COMPARE[sign]

    def test_of(values: Values) -> bool:
        value = values(name)
        return value is not None and compare(value, wanted)

    return test_of
