"""Runs BigQuery jobs on DuckDB: each in a thread with a connection of its own."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

import duckdb

from ork_provider.testing import bigquery_jobs as bq
from ork_provider.testing.bigquery_jobs import STOPPED, Outcome
from ork_provider.testing.bigquery_wire import Field
from ork_provider.testing.sandbox import sql as gsql
from ork_provider.testing.sandbox import types
from ork_provider.testing.sandbox.catalog import Catalog, Table, quoted
from ork_provider.testing.sandbox.problem import Problem, from_duckdb
from ork_provider.testing.scripts import NEVER

_log = logging.getLogger(__name__)

AT_ONCE = 8  # queries that run at the same time; more wait in PENDING
_running: WeakSet[SandboxWork] = WeakSet()
_TZ = "TIMESTAMP WITH TIME ZONE"
_DML = ("INSERT", "UPDATE", "DELETE", "MERGE")


class Sandbox:
    """Executes query jobs over a folder's files.

    `pending` is how many seconds a job waits at least before it runs, `minimum_seconds` how long it is RUNNING
    at least. Raises `BadFolder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float],
        pending: float = 0.0,
        minimum_seconds: float = 0.0,
    ) -> None:
        self.clock = clock
        self.pending = pending
        self.minimum_seconds = minimum_seconds
        self.catalog = Catalog(folder)
        self.slots = threading.Semaphore(AT_ONCE)

    def start(self, configuration: Mapping[str, Any]) -> SandboxWork:
        """Run a query job in the background."""
        work = SandboxWork(self, configuration)
        work.thread.start()
        _running.add(work)
        return work

    def dry_run(self, configuration: Mapping[str, Any]) -> Outcome:
        """Check a query and tell the bytes that it would read."""
        query = configuration["query"]
        try:
            statement = gsql.read(query, self.catalog)
            size = self._prepare(statement)
            fields = self._schema(self.catalog.cursor(), statement.sql) if statement.kind == "SELECT" else []
        except Problem as problem:
            return Outcome(error=problem.error)
        except duckdb.Error as exc:
            return Outcome(error=from_duckdb(exc, query["query"]).error)
        stats = _statistics(statement.kind, size, None)
        return Outcome(statistics=bq.merged(stats, {"query": {"schema": {"fields": fields}}}))

    def table(self, dataset: str, table: str) -> Outcome | None:
        """Read a whole table; None if there is none."""
        try:
            self.catalog.need(dataset, table)
        except Problem:
            return None
        return self._select(self.catalog.cursor(), f"SELECT * FROM {quoted(dataset, table)}")

    def execute(self, configuration: Mapping[str, Any], cursor: duckdb.DuckDBPyConnection) -> Outcome:
        """Run one query job to its end; raises `Problem` or a DuckDB error."""
        query = configuration["query"]
        statement = gsql.read(query, self.catalog)
        size = self._prepare(statement)
        if statement.kind == "SELECT":
            outcome = self._select(cursor, statement.sql)
            self._store(query, statement.sql, cursor)
            count = None
        else:
            outcome, count = Outcome(rows=[], schema=[]), self._change(statement, cursor)
        stats = _statistics(statement.kind, size, count)
        return Outcome(rows=outcome.rows, schema=outcome.schema, statistics=stats)

    def _prepare(self, statement: gsql.Statement) -> int:
        """Make the statement's tables readable; return the bytes that it reads."""
        size = sum(self.catalog.need(*name).size for name in statement.reads)
        if statement.kind in _DML and statement.target and statement.target not in statement.reads:
            size += self.catalog.need(*statement.target).size
        return size

    def _schema(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> list[Field]:
        cursor.execute(f"SELECT * FROM ({sql}) LIMIT 0")
        return [types.field(column[0], column[1]) for column in cursor.description or []]

    def _select(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> Outcome:
        fields = self._schema(cursor, sql)
        cursor.execute(_without_zones(cursor, sql))
        return Outcome(rows=cursor.fetchall(), schema=fields)

    def _store(self, query: Mapping[str, Any], sql: str, cursor: duckdb.DuckDBPyConnection) -> None:
        """Write a SELECT's rows to the destination table that the user named."""
        reference = query.get("destinationTable") or {}
        name = (str(reference.get("datasetId", "")), str(reference.get("tableId", "")))
        if not all(name) or name[0] == bq.ANONYMOUS_DATASET:
            return
        how = query.get("writeDisposition", "WRITE_EMPTY")
        with self.catalog.lock:
            if how == "WRITE_APPEND" and name in self.catalog.tables:
                self.catalog.need_writable(*name)
                cursor.execute(f"INSERT INTO {quoted(*name)} {sql}")
                return
            self._create(name, cursor, f"AS {sql}", replace=how == "WRITE_TRUNCATE")

    def _change(self, statement: gsql.Statement, cursor: duckdb.DuckDBPyConnection) -> int | None:
        """Run a statement that writes, one at a time; return the number of rows that it changed, if it does."""
        assert statement.target is not None
        with self.catalog.lock:
            exists = statement.target in self.catalog.tables
            if statement.kind == "DROP_TABLE":
                if exists or not statement.exists:
                    self.catalog.forget(*statement.target)
            elif not statement.kind.startswith("CREATE"):
                self.catalog.need_writable(*statement.target)
                cursor.execute(statement.sql)
            elif not (exists and statement.exists):
                self._create(statement.target, cursor, statement.sql, replace=statement.replace)
        return _count(cursor) if statement.kind in _DML else None

    def _create(self, name: gsql.TableName, cursor: duckdb.DuckDBPyConnection, sql: str, *, replace: bool) -> None:
        """Run a CREATE TABLE, or make one from `AS SELECT ...`."""
        self.catalog.need_dataset(name[0])
        if name in self.catalog.tables:
            if not replace:
                raise Problem(f"Already Exists: Table {'.'.join(name)}", "duplicate")
            self.catalog.need_writable(*name)  # DuckDB replaces a table by a table, not a view
        if sql.startswith("AS "):
            sql = f"CREATE OR REPLACE TABLE {quoted(*name)} {sql}"
        cursor.execute(sql)
        self.catalog.tables[name] = Table()


class SandboxWork:
    """One query that runs in a thread; see `Work`."""

    def __init__(self, sandbox: Sandbox, configuration: Mapping[str, Any]) -> None:
        self.started_at = NEVER
        self.ended_at = NEVER
        self.outcome = Outcome()
        self._sandbox = sandbox
        self._configuration = configuration
        self._cursor = sandbox.catalog.cursor()
        self.thread = threading.Thread(target=self.run, name="sandbox-query", daemon=True)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._heard = threading.Event()

    def cancel(self, now: float) -> None:
        """Interrupt the query, or end at once what has not begun or only seems to run."""
        self._stop.set()
        with self._lock:
            if self.started_at == NEVER or self.ended_at != NEVER:
                self._end(Outcome(error=STOPPED), now)
                return
        threading.Thread(target=self._interrupt, name="sandbox-cancel", daemon=True).start()

    def _interrupt(self) -> None:
        """Interrupt until it is heard: DuckDB forgets an interrupt that comes just before a query starts."""
        while not self._heard.is_set():
            with contextlib.suppress(duckdb.Error):  # closed in the meantime
                self._cursor.interrupt()
            self._heard.wait(0.01)

    def abandon(self) -> None:
        """Stop the query and wait for its thread."""
        self._stop.set()
        if self.thread.is_alive() and self.started_at != NEVER:
            self._interrupt()
        self.thread.join()

    def run(self) -> None:
        """Wait for a slot, run the query, keep the outcome."""
        self._stop.wait(self._sandbox.pending)
        with self._sandbox.slots:
            with self._lock:
                if self._stop.is_set():
                    self._cursor.close()
                    return
                self.started_at = self._sandbox.clock()
            outcome = self._outcome()
            with self._lock:
                now = self._sandbox.clock()
                if self._stop.is_set():
                    self._end(Outcome(error=STOPPED), now)
                else:
                    self._end(outcome, max(now, self.started_at + self._sandbox.minimum_seconds))

    def _end(self, outcome: Outcome, at: float) -> None:
        self.outcome = outcome
        self.started_at = min(self.started_at, at)
        self.ended_at = at

    def _outcome(self) -> Outcome:
        try:
            return self._sandbox.execute(self._configuration, self._cursor)
        except Problem as problem:
            return Outcome(error=problem.error)
        except duckdb.Error as exc:
            return Outcome(error=from_duckdb(exc, bq.sql_of(self._configuration)).error)
        except Exception as exc:  # the thread's last line: whatever it is, the job has to end
            _log.exception("The sandbox could not run a query")
            return Outcome(error={"reason": "internalError", "message": f"{type(exc).__name__}: {exc}"})
        finally:
            self._heard.set()
            self._cursor.close()


@atexit.register
def _end_all() -> None:
    """Interrupt what still runs: DuckDB aborts a process that ends in the middle of a query."""
    for work in list(_running):
        work.abandon()


def _count(cursor: duckdb.DuckDBPyConnection) -> int:
    counted = cursor.fetchone()
    return int(counted[0]) if counted else 0


def _without_zones(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Cast TIMESTAMPTZ, which duckdb hands over only with the help of pytz, to naive UTC at any depth."""
    kinds = [str(column[1]) for column in cursor.description or []]
    if not any(_TZ in kind for kind in kinds):
        return sql
    names = [f"c{number}" for number in range(len(kinds))]
    casts = ", ".join(
        f"CAST({name} AS {kind.replace(_TZ, 'TIMESTAMP')})" for name, kind in zip(names, kinds, strict=True)
    )
    return f"SELECT {casts} FROM ({sql}) AS q({', '.join(names)})"


def _statistics(kind: str, size: int, changed: int | None) -> dict[str, Any]:
    query: dict[str, Any] = {
        "totalBytesProcessed": str(size),
        "totalBytesBilled": str(bq.billed(size)),
        "statementType": kind,
    }
    if changed is not None:
        query |= bq.dml_statistics(kind, changed)
    return {"totalBytesProcessed": str(size), "query": query}
