"""SQL is executed for real: right rows, right types, right errors, over real public data."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google_bigquery

from ork_provider.testing import FakeBigQuery
from ork_provider.testing.sandbox.catalog import Catalog
from tests.support.discovery import Discovery

WEATHER = "`any-project.vega.seattle-weather`"
SLOW = f"""SELECT SUM(a.temp_max * b.wind + c.temp_min * d.wind)
    FROM {WEATHER} a CROSS JOIN {WEATHER} b CROSS JOIN {WEATHER} c CROSS JOIN {WEATHER} d"""


@pytest.fixture(scope="module")
def weather() -> Path:
    spec = find_spec("vega_datasets")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "_data" / "seattle-weather.csv"


@pytest.fixture
def folder(tmp_path: Path, weather: Path) -> Path:
    """Lay out a folder with two datasets: its own and `vega`."""
    data = tmp_path / "warehouse"
    (data / "vega").mkdir(parents=True)
    (data / "vega" / "seattle-weather.csv").write_bytes(weather.read_bytes())
    (data / "people.csv").write_text("name,born\nAda,1815-12-10\nAlan,1912-06-23\n")
    duckdb.sql("SELECT 1 AS id, ['a', 'b'] AS tags, {'x': 1.5} AS point").write_parquet(str(data / "items.parquet"))
    return data


@pytest.fixture
def fake(folder: Path) -> Iterator[FakeBigQuery]:
    with FakeBigQuery(data=folder, pending=0, keep_answers=True) as server:
        yield server


@pytest.fixture
def client(fake: FakeBigQuery) -> Iterator[google_bigquery.Client]:
    options = ClientOptions(api_endpoint=fake.url)
    credentials = AnonymousCredentials()
    with google_bigquery.Client("p", credentials=credentials, client_options=options, location="US") as google:
        yield google


def rows(client: google_bigquery.Client, sql: str, **config: Any) -> list[tuple[Any, ...]]:
    job = client.query(sql, job_config=google_bigquery.QueryJobConfig(**config))
    return [tuple(row) for row in job.result()]


def failure(client: google_bigquery.Client, sql: str) -> dict[str, str]:
    job = client.query(sql)
    while job.running() or job.state == "PENDING":
        time.sleep(0.01)
    assert job.error_result is not None
    error: dict[str, str] = job.error_result
    return error


@pytest.mark.parametrize(
    ("sql", "same"),
    [
        (
            f"SELECT weather, COUNT(*) AS n, AVG(temp_max) AS t FROM {WEATHER} GROUP BY weather ORDER BY n DESC",
            "SELECT weather, COUNT(*) AS n, AVG(temp_max) AS t FROM csv GROUP BY weather ORDER BY n DESC",
        ),
        (
            f"""SELECT DATE_TRUNC(date, MONTH) AS month, COUNTIF(precipitation > 0) AS wet,
                SAFE_DIVIDE(SUM(precipitation), COUNTIF(precipitation > 0)) AS mean
                FROM {WEATHER} WHERE EXTRACT(YEAR FROM date) = 2012 GROUP BY month ORDER BY month""",
            """SELECT date_trunc('month', date)::DATE AS month, count(*) FILTER (precipitation > 0),
               sum(precipitation) / nullif(count(*) FILTER (precipitation > 0), 0)
               FROM csv WHERE year(date) = 2012 GROUP BY month ORDER BY month""",
        ),
        (
            """SELECT date, temp_max FROM vega.`seattle-weather`
                QUALIFY ROW_NUMBER() OVER (PARTITION BY weather ORDER BY temp_max DESC, date) = 1 ORDER BY date""",
            """SELECT date, temp_max FROM csv
               QUALIFY row_number() OVER (PARTITION BY weather ORDER BY temp_max DESC, date) = 1 ORDER BY date""",
        ),
        (
            f"WITH sunny AS (SELECT * FROM {WEATHER} WHERE weather = 'sun') SELECT MAX(date), COUNT(*) FROM sunny",
            "SELECT max(date), count(*) FROM csv WHERE weather = 'sun'",
        ),
    ],
)
def test_rows_are_what_duckdb_gives_directly(
    client: google_bigquery.Client, weather: Path, sql: str, same: str
) -> None:
    """The same question put to DuckDB by hand has the same answer."""
    direct = duckdb.sql(same.replace("FROM csv", f"FROM read_csv('{weather}')")).fetchall()
    got = rows(client, sql)
    assert len(got) > 0
    assert got == [pytest.approx(row) if any(isinstance(v, float) for v in row) else row for row in direct]


def test_types_on_the_wire(client: google_bigquery.Client, fake: FakeBigQuery) -> None:
    """Google's client decodes every type to the Python value that it should be."""
    import datetime as dt
    from decimal import Decimal

    job = client.query("""SELECT 1, 1.5 AS x, NUMERIC '1.123456789' AS n, 'é' AS s, b'ab' AS b, TRUE AS t,
        DATE '2020-02-03' AS d, TIMESTAMP '2020-01-01 01:00:00+01' AS ts,
        DATETIME '2020-01-01 10:00:00' AS l, TIME '10:11:12' AS c,
        [1, 2] AS r, STRUCT(1 AS a, [TIMESTAMP '2020-01-01 00:00:00'] AS k) AS o, NULL AS z,
        CURRENT_DATE() > DATE '2020-01-01'
        """)
    (row,) = job.result()
    utc = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    assert tuple(row.values()) == (
        1,
        1.5,
        Decimal("1.123456789"),
        "é",
        b"ab",
        True,
        dt.date(2020, 2, 3),
        utc,
        dt.datetime(2020, 1, 1, 10),
        dt.time(10, 11, 12),
        [1, 2],
        {"a": 1, "k": [utc]},
        None,
        True,
    )
    assert list(row.keys()) == ["f0_", "x", "n", "s", "b", "t", "d", "ts", "l", "c", "r", "o", "z", "f1_"]
    Discovery("bigquery", "v2").check_log(fake.requests, ignore=("projection",))


@pytest.mark.parametrize(
    ("expression", "kind", "value"),
    [
        ("1.5", "FLOAT", "1.5"),
        ("ROUND(2.567, 2)", "FLOAT", "2.57"),
        ("NUMERIC '1.5'", "NUMERIC", "1.5"),
        ("SUM(3)", "INTEGER", "3"),
        ("7 / 2", "FLOAT", "3.5"),
        ("LOG(EXP(1))", "FLOAT", "1.0"),
        ("DATE_TRUNC(DATE '2020-01-05', WEEK)", "DATE", "2020-01-05"),
        ("DATE_TRUNC(DATE '2020-01-05', ISOWEEK)", "DATE", "2019-12-30"),
        ("DATE_SUB(DATE '2020-03-31', INTERVAL 1 MONTH)", "DATE", "2020-02-29"),
        ("DATE_DIFF(DATE '2020-01-05', DATE '2020-01-04', WEEK)", "INTEGER", "1"),
        ("EXTRACT(DAYOFWEEK FROM DATE '2020-01-05')", "INTEGER", "1"),
        ("EXTRACT(WEEK FROM DATE '2020-01-04')", "INTEGER", "0"),
        ("EXTRACT(WEEK FROM DATE '2020-01-05')", "INTEGER", "1"),
        ("EXTRACT(ISOWEEK FROM DATE '2020-01-05')", "INTEGER", "1"),
        ("EXTRACT(HOUR FROM TIMESTAMP '2020-01-05 10:00:00+02')", "INTEGER", "8"),
        ("EXTRACT(DATE FROM TIMESTAMP '2020-01-05 00:00:00+02')", "DATE", "2020-01-04"),
        ("TIMESTAMP_DIFF(TIMESTAMP '2020-01-01 11:00:00', TIMESTAMP '2020-01-01 10:59:00', HOUR)", "INTEGER", "0"),
        ("DATETIME_DIFF(DATETIME '2020-01-01 11:00:00', DATETIME '2020-01-01 10:59:00', HOUR)", "INTEGER", "1"),
        ("PARSE_TIMESTAMP('%Y-%m-%d', '2020-01-01')", "TIMESTAMP", "1.5778368E9"),
        ("TIMESTAMP_MILLIS(1000)", "TIMESTAMP", "1.0E0"),
        ("FORMAT('%d-%s', 1, 'a')", "STRING", "1-a"),
        ("[5, 6][OFFSET(0)]", "INTEGER", "5"),
        ("(SELECT o FROM UNNEST(['a', 'b']) AS x WITH OFFSET o WHERE x = 'b')", "INTEGER", "1"),
        ("(SELECT MAX(offset) FROM UNNEST(['a', 'b']) WITH OFFSET)", "INTEGER", "1"),
    ],
)
def test_expressions_mean_what_they_do_in_bigquery(fake: FakeBigQuery, expression: str, kind: str, value: str) -> None:
    """Values and types by BigQuery's function reference, where DuckDB by itself often has others."""
    body = {"query": f"SELECT {expression} AS v", "useLegacySql": False}
    answer = httpx.post(f"{fake.url}/projects/p/queries", json=body).json()
    assert (answer["schema"]["fields"][0]["type"], answer["rows"]) == (kind, [{"f": [{"v": value}]}])


def test_files_of_the_folder_itself(client: google_bigquery.Client) -> None:
    """They are in the dataset named like the folder, which is also the default one; Parquet keeps its types."""
    assert rows(client, "SELECT name FROM people WHERE born > '1900-01-01'") == [("Alan",)]
    assert rows(client, "SELECT COUNT(*) FROM p.warehouse.people") == [(2,)]
    assert rows(client, "SELECT id, tags, point FROM items") == [(1, ["a", "b"], {"x": 1.5})]
    assert rows(client, "SELECT COUNT(*) FROM `seattle-weather`", default_dataset="p.vega") == [(1461,)]


def test_bytes_are_the_files_sizes(client: google_bigquery.Client, folder: Path) -> None:
    """Each file counts once; a dry run tells it without a job."""
    sizes = [path.stat().st_size for path in (folder / "people.csv", folder / "vega" / "seattle-weather.csv")]
    sql = f"SELECT COUNT(*) FROM people a, {WEATHER} b, people c"
    job = client.query(sql)
    job.result()
    assert (job.total_bytes_processed, job.total_bytes_billed) == (sum(sizes), 10 * 1024 * 1024)
    dry = client.query(sql, job_config=google_bigquery.QueryJobConfig(dry_run=True))
    assert dry.total_bytes_processed == sum(sizes)
    assert [field.name for field in dry.schema] == ["f0_"]
    with pytest.raises(BadRequest, match="Unrecognized name: nme at \\[1:8\\]"):
        client.query("SELECT nme FROM people", job_config=google_bigquery.QueryJobConfig(dry_run=True))


@pytest.mark.parametrize(
    ("sql", "reason", "message"),
    [
        ("SELECT nme\nFROM people", "invalidQuery", "Unrecognized name: nme at [1:8]"),
        ("SELECT name,\n  nme FROM people", "invalidQuery", "Unrecognized name: nme at [2:3]"),
        ("SELEC 1", "invalidQuery", 'Syntax error: Invalid expression / Unexpected token near "1" at [1:7]'),
        (
            "SELECT * FROM",
            "invalidQuery",
            'Syntax error: Expected table name but got end of input near "FROM" at [1:13]',
        ),
        ("SELECT 1/0, CAST('x' AS INT64)", "invalidQuery", "Conversion Error"),
        ("SELECT * FROM vega.nope", "notFound", "Not found: Table vega.nope was not found in location US"),
        ("SELECT * FROM nope.t", "notFound", "Not found: Dataset nope was not found in location US"),
        (
            "SELECT * FROM read_csv('/etc/passwd')",
            "invalidQuery",
            "Table-valued function not found: read_csv('/etc/passwd')",
        ),
        ("SELECT read_text('/etc/passwd')", "invalidQuery", "read_text"),
        ("SELECT 1, FARM_FINGERPRINT('a')", "invalidQuery", "Function not found: farm_fingerprint at [1:11]"),
        ("SELECT EXTRACT(WEEK(MONDAY) FROM born) FROM people", "invalidQuery", "cannot EXTRACT a week"),
        ("SELECT * FROM UNNEST([1]) AS x WITH OFFSET o", "invalidQuery", "name the columns"),
        ("SELECT 1; SELECT 2", "invalidQuery", "The sandbox runs one statement per job, this query has 2."),
        ("CREATE SCHEMA d", "invalidQuery", "The sandbox does not run CREATE SCHEMA statements."),
        ("SELECT @x", "invalidQuery", "Query parameter 'x' not found"),
        ("CREATE TABLE people AS SELECT 1", "duplicate", "Already Exists: Table warehouse.people"),
    ],
)
def test_bad_sql_fails_the_job(client: google_bigquery.Client, sql: str, reason: str, message: str) -> None:
    """The job ends as failed, with BigQuery's reason and a message that says what and where."""
    error = failure(client, sql)
    assert error["reason"] == reason
    assert message in error["message"]
    assert "\n" not in error["message"]


def test_legacy_sql_is_refused(fake: FakeBigQuery) -> None:
    """The API's default is legacy SQL, which is a common mistake: the message says what to do."""
    answer = httpx.post(f"{fake.url}/projects/p/queries", json={"query": "SELECT 1"}).json()
    assert "set useLegacySql to False" in answer["error"]["message"]


def test_named_parameters(client: google_bigquery.Client) -> None:
    """Scalars of each type, arrays and structs; text with quotes stays text."""
    import datetime as dt

    scalar, array = google_bigquery.ScalarQueryParameter, google_bigquery.ArrayQueryParameter
    utc = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    values = {
        "s": scalar("s", "STRING", "o'k \\ \" -- @i"),
        "i": scalar("i", "INT64", 2**60),
        "f": scalar("f", "FLOAT64", 0.5),
        "b": scalar("b", "BOOL", False),
        "d": scalar("d", "DATE", dt.date(2012, 1, 1)),
        "t": scalar("t", "TIMESTAMP", utc),
        "a": array("a", "STRING", ["sun", "fog"]),
        "n": scalar("n", "STRING", None),
        "o": google_bigquery.StructQueryParameter("o", scalar("k", "INT64", 3)),
    }
    parameters = list(values.values())
    sql = "SELECT @s, @i, @f, @b, @d, @t, @a, @n, @o.k"
    expected = ("o'k \\ \" -- @i", 2**60, 0.5, False, dt.date(2012, 1, 1), utc, ["sun", "fog"], None, 3)
    assert rows(client, sql, query_parameters=parameters) == [expected]
    counted = (
        f"SELECT weather, COUNT(*) FROM {WEATHER} WHERE weather IN UNNEST(@a) AND date >= @d GROUP BY 1 ORDER BY 1"
    )
    assert rows(client, counted, query_parameters=parameters) == [("fog", 411), ("sun", 714)]


def test_positional_parameters_in_the_order_of_the_text(client: google_bigquery.Client) -> None:
    """Also where the parser sees them in another order than the reader."""
    values = [google_bigquery.ScalarQueryParameter(None, "INT64", n) for n in (1, 2, 3)]
    sql = "WITH c AS (SELECT ? AS x) SELECT x, ?, '?' FROM c WHERE 3 = ? -- ?"
    assert rows(client, sql, query_parameters=values) == [(1, 2, "?")]


def test_dml_changes_memory_not_files(client: google_bigquery.Client, folder: Path) -> None:
    """Counts come back as dmlStats; later queries see the change; the file stays as it was."""
    before = (folder / "people.csv").read_bytes()

    def changed(sql: str) -> int:
        job = client.query(sql)
        job.result()
        assert job.num_dml_affected_rows is not None
        return int(job.num_dml_affected_rows)

    assert changed("INSERT INTO people (name, born) VALUES ('Grace', '1906-12-09'), ('Mary', '1915-01-01')") == 2
    assert changed("UPDATE people SET name = UPPER(name) WHERE born > '1910-01-01'") == 2
    assert changed("DELETE people WHERE name = 'Ada'") == 1
    merge = "MERGE people p USING (SELECT 'ALAN' AS n) s ON p.name = s.n WHEN MATCHED THEN DELETE"
    assert changed(merge) == 1
    assert rows(client, "SELECT name FROM people ORDER BY born") == [("Grace",), ("MARY",)]
    assert (folder / "people.csv").read_bytes() == before


def test_tables_are_created_and_dropped(client: google_bigquery.Client) -> None:
    rows(client, "CREATE TABLE vega.hot PARTITION BY date AS SELECT * FROM vega.`seattle-weather` WHERE temp_max > 35")
    assert rows(client, "SELECT MAX(temp_max) FROM vega.hot") == [(35.6,)]
    rows(client, "CREATE OR REPLACE TABLE people AS SELECT 'Only' AS name")
    assert rows(client, "SELECT * FROM people") == [("Only",)]
    rows(client, "DROP TABLE vega.hot")
    rows(client, "DROP TABLE IF EXISTS vega.hot")
    assert failure(client, "SELECT * FROM vega.hot")["reason"] == "notFound"


def test_destination_table(client: google_bigquery.Client) -> None:
    """A SELECT with a destination writes a table by its disposition; later queries read it."""
    table = google_bigquery.TableReference.from_string("p.vega.names")
    for how in ("WRITE_TRUNCATE", "WRITE_APPEND"):
        rows(client, "SELECT name FROM people", destination=table, write_disposition=how)
    assert rows(client, "SELECT COUNT(*) FROM vega.names") == [(4,)]
    assert client.get_table(table).num_rows == 2
    with pytest.raises(Exception, match=r"Already Exists: Table vega\.names"):
        rows(client, "SELECT 1 AS x", destination=table)


@pytest.mark.parametrize("after", [0, 0.1])
def test_cancel_interrupts_the_query(fake: FakeBigQuery, client: google_bigquery.Client, after: float) -> None:
    """A query that would run for long is stopped, also in the moment in which it starts."""
    job = client.query(SLOW)
    deadline = time.monotonic() + 2
    while fake.jobs[job.job_id].state != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(after)
    job.cancel()
    while job.running():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert job.error_result["reason"] == "stopped"
    assert rows(client, "SELECT 1") == [(1,)]


def test_queries_run_at_the_same_time(fake: FakeBigQuery, client: google_bigquery.Client) -> None:
    """A slow query does not hold up a quick one."""
    slow = client.query(SLOW)
    assert rows(client, f"SELECT COUNT(*) FROM {WEATHER}") == [(1461,)]
    assert fake.jobs[slow.job_id].state == "RUNNING"
    slow.cancel()


def test_minimum_seconds(folder: Path) -> None:
    """For demos a query stays PENDING and RUNNING for as long as asked."""
    with FakeBigQuery(data=folder, pending=0.1, minimum_seconds=0.4) as fake:
        body = {"configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}}}
        begin, seen = time.monotonic(), []
        httpx.post(f"{fake.url}/projects/p/jobs", json=body)
        while not seen or seen[-1] != "DONE":
            if (state := fake.inserted[0].state) not in seen:
                seen.append(state)
            time.sleep(0.005)
        assert seen == ["PENDING", "RUNNING", "DONE"]
        assert 0.5 <= time.monotonic() - begin < 5


@pytest.mark.parametrize(("name", "text"), [("nowhere", "is not a folder"), (".", "holds no CSV or Parquet file")])
def test_bad_folder(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FakeBigQuery(data=tmp_path / name)


def test_engine_reads_nothing_but_the_folder(folder: Path, tmp_path: Path) -> None:
    """Whatever SQL slips through, the engine itself opens no file elsewhere and keeps its settings."""
    outside = tmp_path / "outside.csv"
    outside.write_text("n\n1\n")
    cursor = Catalog(folder).cursor()
    assert cursor.execute(f"SELECT count(*) FROM read_csv('{folder}/people.csv')").fetchall() == [(2,)]
    for sql in (f"SELECT * FROM read_csv('{outside}')", f"COPY (SELECT 1) TO '{tmp_path}/new.csv'"):
        with pytest.raises(duckdb.PermissionException):
            cursor.execute(sql)
    with pytest.raises(duckdb.Error, match="locked"):
        cursor.execute("SET enable_external_access=true")


def test_broken_file_fails_only_its_own_queries(folder: Path) -> None:
    (folder / "broken.parquet").write_bytes(b"not parquet")
    with FakeBigQuery(data=folder, pending=0) as fake:
        url = f"{fake.url}/projects/p/queries"
        broken = httpx.post(url, json={"query": "SELECT * FROM broken", "useLegacySql": False})
        assert "Error while reading table: warehouse.broken" in broken.json()["error"]["message"]
        assert httpx.post(url, json={"query": "SELECT * FROM people", "useLegacySql": False}).status_code == 200


def test_missing_extra_is_one_clear_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("ork_provider.testing.sandbox")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs duckdb and sqlglot: pip install 'airflow-provider-ork\[sandbox\]'$"):
        FakeBigQuery(data=folder)
