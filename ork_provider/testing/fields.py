"""Google's partial responses: `fields=jobs(id,status/state),nextPageToken` cuts an answer to these parts."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache
from typing import Any

Mask = dict[str, "Mask"]  # an empty mask keeps everything below it


class Everything:
    """The names that no mask, or an empty one, asks for: all."""

    def __contains__(self, name: object) -> bool:
        return True


EVERYTHING = Everything()

_TOKEN = re.compile(r"[(),/]|[^(),/\s]+")


class BadMask(ValueError):
    """A `fields` parameter that cannot be parsed."""


@lru_cache
def parse_mask(text: str) -> Mask:
    """Parse `a,b/c,d(e,f/g)` to nested dicts; `*` stands for every field.

    Raises `BadMask`. Source: https://developers.google.com/workspace/drive/api/guides/fields-parameter
    """
    tokens = _TOKEN.findall(text)
    mask = _parse_list(tokens)
    if tokens or not mask:
        raise BadMask(f"Invalid field selection {text}")
    return mask


def _parse_list(tokens: list[str]) -> Mask:
    mask: Mask = {}
    while tokens and tokens[0] not in "(),/":
        _parse_path(tokens, mask)
        if not tokens or tokens[0] != ",":
            break
        tokens.pop(0)
    return mask


def _parse_path(tokens: list[str], mask: Mask) -> None:
    below = mask.setdefault(tokens.pop(0), {})
    while tokens and tokens[0] == "/":
        tokens.pop(0)
        if not tokens or tokens[0] in "(),/":
            raise BadMask("Invalid field selection: a name is missing after '/'")
        below = below.setdefault(tokens.pop(0), {})
    if tokens and tokens[0] == "(":
        tokens.pop(0)
        below.update(_parse_list(tokens))
        if not tokens or tokens.pop(0) != ")":
            raise BadMask("Invalid field selection: ')' is missing")


def asked_of(mask: Mask, name: str) -> Container[str]:
    """Return the fields that a mask asks for below a field `name`: whoever renders many may leave out the others."""
    below = mask.get(name, {})
    return below if below and "*" not in below else EVERYTHING


def cut(value: Any, mask: Mask) -> Any:
    """Keep only what `mask` names; lists are cut item by item, missing names are skipped."""
    if not mask:
        return value
    if isinstance(value, list):
        return [cut(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    if "*" in mask:
        return {name: cut(item, mask.get(name, mask["*"])) for name, item in value.items()}
    return {name: cut(value[name], below) for name, below in mask.items() if name in value}
