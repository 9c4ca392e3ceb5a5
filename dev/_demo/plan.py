"""What the demo runs: the data, the query, its parameters, the HTTP jobs; and what the query must answer."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb

JsonDict = dict[str, Any]

SQL = """\
SELECT
  FORMAT_DATE('%Y-%m', date) AS month,
  COUNT(*) AS days,
  COUNTIF(weather = 'sun') AS sunny,
  COUNTIF(precipitation > 0) AS wet,
  ROUND(SUM(precipitation), 1) AS rain_mm,
  MAX(temp_max) AS hottest,
  MIN(temp_min) AS coldest,
  ROUND(100 * SAFE_DIVIDE(COUNTIF(weather = 'sun'), COUNT(*)), 1) AS sunny_percent
FROM weather.seattle
WHERE EXTRACT(YEAR FROM date) = @year AND IF(EXTRACT(MONTH FROM date) <= 6, 1, 2) = @half
GROUP BY month
ORDER BY month
"""
DIRECT_SQL = """\
SELECT strftime(date, '%Y-%m') AS month, count(*) AS days, count(*) FILTER (weather = 'sun') AS sunny,
  count(*) FILTER (precipitation > 0) AS wet, round(sum(precipitation), 1) AS rain_mm, max(temp_max) AS hottest,
  min(temp_min) AS coldest, round(100.0 * count(*) FILTER (weather = 'sun') / count(*), 1) AS sunny_percent
FROM read_csv($file) WHERE year(date) = $year AND (CASE WHEN month(date) <= 6 THEN 1 ELSE 2 END) = $half
GROUP BY ALL ORDER BY 1
"""
YEARS = (2012, 2013, 2014, 2015)


class DemoError(Exception):
    """The demo cannot run; one line says why."""


@dataclass
class Plan:
    """What runs: one query per element of `parameters`, one HTTP job per element of `reports`."""

    data: Path
    sql: str
    parameters: list[JsonDict]
    reports: list[JsonDict]
    expected: list[list[JsonDict]] | None = field(default=None, repr=False)

    def label(self, task_id: str, index: int) -> str:
        """Name a task instance for people."""
        if task_id == "query":
            return "query " + " ".join(f"{key}={value}" for key, value in self.parameters[index].items())
        return f"report {self.reports[index]['number']}"

    def to_env(self) -> dict[str, str]:
        """Return the plan as the DAG reads it."""
        plan = {"sql": self.sql, "parameters": self.parameters, "reports": self.reports}
        return {"ORK_DEMO": json.dumps(plan)}


def make_plan(options: Namespace, scratch: Path) -> Plan:
    """Make the plan that the options ask for; `scratch` is a folder for the built-in data."""
    jobs = options.jobs
    reports = [{"number": i, "fake": {"running": 15 + 7 * i % 20, "output": {"pages": 3 + i}}} for i in range(jobs)]
    data = options.data or _weather(scratch)
    if options.sql:
        sql = options.sql.read_text()
        return Plan(data, sql, [{"job": i} for i in range(jobs)], reports)
    halves = [{"year": year, "half": half} for year in YEARS for half in (1, 2)]
    parameters = [halves[i % len(halves)] for i in range(jobs)]
    return Plan(data, SQL, parameters, reports, [_direct(data, p) for p in parameters])


def _weather(scratch: Path) -> Path:
    """Lay out four years of Seattle's weather, from the package vega_datasets, as the table `weather.seattle`."""
    package = find_spec("vega_datasets")
    if package is None or package.origin is None:
        raise DemoError("The package vega_datasets, which holds the demo's data, is not installed.")
    folder = scratch / "weather"
    folder.mkdir(parents=True)
    shutil.copy(Path(package.origin).parent / "_data" / "seattle-weather.csv", folder / "seattle.csv")
    return folder


def _direct(data: Path, parameters: JsonDict) -> list[JsonDict]:
    """Ask DuckDB itself, in its own SQL."""
    answer = duckdb.execute(DIRECT_SQL, {"file": str(data / "seattle.csv"), **parameters})
    columns = [column[0] for column in answer.description or []]
    return [dict(zip(columns, row, strict=True)) for row in answer.fetchall()]
