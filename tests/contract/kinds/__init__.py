"""One sample of every kind of job that can be submitted; a new kind gets the whole contract by adding a line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.contract.kinds.bigquery import bigquery
from tests.contract.kinds.cloud_run import cloud_run
from tests.contract.kinds.dataproc import dataproc
from tests.contract.kinds.dataproc_batch import dataproc_batch
from tests.contract.kinds.dqops import dqops
from tests.contract.kinds.http import http
from tests.contract.kinds.kind import Kind

KINDS: dict[str, Callable[[], AbstractContextManager[Kind]]] = {
    "bigquery": bigquery,
    "cloudrun": cloud_run,
    "custom_http": http,
    "dataproc": dataproc,
    "dataproc_batch": dataproc_batch,
    "dqops": dqops,
}

SHARING = ["bigquery", "dataproc", "dataproc_batch", "dqops"]
"""Those that are told of by one request for all who wait, also when only one waits."""

__all__ = ["KINDS", "SHARING", "Kind"]
