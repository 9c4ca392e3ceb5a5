"""A local BigQuery that really runs the SQL, over the CSV and Parquet files of a folder (extra `[sandbox]`)."""

from __future__ import annotations

from importlib.util import find_spec


class MissingExtra(ImportError):
    """duckdb or sqlglot is not installed."""

    def __init__(self, missing: list[str]) -> None:
        super().__init__(
            f"Running SQL locally needs {' and '.join(missing)}: pip install 'airflow-provider-ork[sandbox]'"
        )


if _missing := [name for name in ("duckdb", "sqlglot") if find_spec(name) is None]:
    raise MissingExtra(_missing)

from ork_provider.testing.sandbox.catalog import BadFolder  # noqa: E402 - after the check of the extra
from ork_provider.testing.sandbox.engine import Sandbox  # noqa: E402

__all__ = ["BadFolder", "MissingExtra", "Sandbox"]
