"""What the demo runs: the data, the query, its parameters, the program, the HTTP jobs; and what must come out."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb

from _demo.weather import say
from ork_provider.bigquery.values import to_query_parameters

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
WHERE EXTRACT(YEAR FROM date) = @year
GROUP BY month
ORDER BY month
"""
DIRECT_SQL = """\
SELECT strftime(date, '%Y-%m') AS month, count(*) AS days, count(*) FILTER (weather = 'sun') AS sunny,
  count(*) FILTER (precipitation > 0) AS wet, round(sum(precipitation), 1) AS rain_mm, max(temp_max) AS hottest,
  min(temp_min) AS coldest, round(100.0 * count(*) FILTER (weather = 'sun') / count(*), 1) AS sunny_percent
FROM read_csv($file) WHERE year(date) = $year
GROUP BY ALL ORDER BY 1
"""
DIRECT_FIGURES = {"rain": "round(sum(precipitation), 1)", "heat": "max(temp_max)", "wind": "max(wind)"}
YEARS = (2012, 2013, 2014, 2015)
MAPPED = ("query", "report")
"""Tasks of which there are as many as there are elements of `parameters` and `reports`."""
WEATHER_PROGRAM = Path(__file__).resolve().with_name("weather.py")
PROGRAM_SECONDS = 15  # the program would be done in milliseconds


class DemoError(Exception):
    """The demo cannot run; one line says why."""


@dataclass
class Plan:
    """What runs: one query per element of `parameters`, one HTTP job per element of `reports`.

    `data` is the folder that BigQuery reads, `weather` the file that the program reads.
    """

    data: Path
    weather: Path
    sql: str
    parameters: list[JsonDict]
    reports: list[JsonDict]
    expected: list[list[JsonDict]] | None = field(default=None, repr=False)

    def label(self, task_id: str, index: int) -> str:
        """Name a task instance for people."""
        if task_id == "query":
            return "query " + " ".join(f"{key}={value}" for key, value in self.parameters[index].items())
        return f"report {self.reports[index]['number']}" if task_id == "report" else task_id

    @property
    def weather_arguments(self) -> list[str]:
        """Arguments of the program, whatever figure it is to find."""
        return [str(self.weather), f"--seconds={PROGRAM_SECONDS}"]

    @property
    def query(self) -> JsonDict:
        """The configuration of a BigQuery job that runs the query with the first parameters."""
        parameters = {"parameterMode": "NAMED", "queryParameters": to_query_parameters(self.parameters[0])}
        return {"query": {"query": self.sql, "useLegacySql": False, **parameters}}

    def to_env(self) -> dict[str, str]:
        """Return the plan as the DAG reads it."""
        plan = {
            "sql": self.sql,
            "parameters": self.parameters,
            "reports": self.reports,
            "query": self.query,
            "spark": {"mainPythonFileUri": WEATHER_PROGRAM.as_uri(), "args": self.weather_arguments},
            "years": len(YEARS),
        }
        return {"ORK_DEMO": json.dumps(plan)}


def make_plan(options: Namespace, scratch: Path) -> Plan:
    """Make the plan that the options ask for; `scratch` is a folder for the built-in data."""
    jobs = options.jobs
    reports = [{"number": i, "fake": {"running": 15 + 7 * i % 20, "output": {"pages": 3 + i}}} for i in range(jobs)]
    weather = _weather(scratch)
    data = options.data or weather.parent
    if options.sql:
        sql = options.sql.read_text()
        return Plan(data, weather, sql, [{"job": i} for i in range(jobs)], reports)
    parameters = [{"year": YEARS[i % len(YEARS)]} for i in range(jobs)]
    return Plan(data, weather, SQL, parameters, reports, [_direct(weather, p) for p in parameters])


def weather_line(weather: Path, figure: str, year: int) -> str:
    """Return the line that the program must write, by asking DuckDB itself."""
    sql = f"SELECT {DIRECT_FIGURES[figure]} FROM read_csv($file) WHERE year(date) = $year"
    row = duckdb.execute(sql, {"file": str(weather), "year": year}).fetchone()
    return say(year, figure, row[0] if row else float("nan"))


def _weather(scratch: Path) -> Path:
    """Lay out four years of Seattle's weather, of the package vega_datasets, as the file of `weather.seattle`."""
    package = find_spec("vega_datasets")
    if package is None or package.origin is None:
        raise DemoError("The package vega_datasets, which holds the demo's data, is not installed.")
    folder = scratch / "weather"
    folder.mkdir(parents=True)
    file = folder / "seattle.csv"
    shutil.copy(Path(package.origin).parent / "_data" / "seattle-weather.csv", file)
    return file


def _direct(weather: Path, parameters: JsonDict) -> list[JsonDict]:
    """Ask DuckDB itself, in its own SQL."""
    answer = duckdb.execute(DIRECT_SQL, {"file": str(weather), **parameters})
    columns = [column[0] for column in answer.description or []]
    return [dict(zip(columns, row, strict=True)) for row in answer.fetchall()]
