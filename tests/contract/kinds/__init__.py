"""One sample of every kind of job that can be submitted; a new kind gets the whole contract by adding a line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.contract.kinds.bigquery import bigquery
from tests.contract.kinds.http import http
from tests.contract.kinds.kind import Kind

KINDS: dict[str, Callable[[], AbstractContextManager[Kind]]] = {
    "bigquery": bigquery,
    "custom_http": http,
}

__all__ = ["KINDS", "Kind"]
