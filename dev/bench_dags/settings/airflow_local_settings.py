"""What Airflow imports at its start in `_bench.reliability`, so that cancels of Google's triggers reach the fake.

Google's operators use two clients of BigQuery. Both read BIGQUERY_EMULATOR_HOST, but google-cloud-bigquery takes it
with a scheme, and gcloud-aio, by which the triggers cancel, puts one before it. Nothing else is changed.
"""

from __future__ import annotations

import os

from gcloud.aio.bigquery import bigquery

_as_it_is = bigquery.init_api_root


def init_api_root(api_root: str | None, api_is_dev: bool | None = None) -> tuple[bool, str]:
    """Return where the API is, as gcloud-aio does; the emulator's address as it was given."""
    return _as_it_is(api_root or f"{os.environ['BIGQUERY_EMULATOR_HOST']}/bigquery/v2", api_is_dev)


bigquery.init_api_root = init_api_root
