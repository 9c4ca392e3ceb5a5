"""The sandbox's tables: files of a folder that are read in place, and what statements made of them in memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ork_provider.testing.sandbox.problem import Problem

_READERS = {".csv": "read_csv", ".parquet": "read_parquet"}


class BadFolder(ValueError):
    """The folder given as data cannot be served."""


@dataclass
class Table:
    """A table; `size` is what a query over it is billed for, in bytes. Without a file it lives in memory."""

    size: int = 0
    file: Path | None = None
    known: bool = False


def quoted(*names: str) -> str:
    """Quote a dotted name for DuckDB."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


class Catalog:
    """Folder = dataset, file = table; files directly in the folder are the dataset named like the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.default = self.folder.name
        self.tables = _scan(self.folder)
        self.datasets = {sub.name for sub in self.folder.iterdir() if sub.is_dir()} | {self.default}
        self.lock = threading.RLock()
        self._root = duckdb.connect(":memory:")
        for dataset in self.datasets:
            self._root.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(dataset)}")
        self._lock_down()

    def _lock_down(self) -> None:
        """Let SQL read the folder's files and nothing else."""
        folder = str(self.folder).replace("'", "''")
        self._root.execute(f"SET allowed_directories=['{folder}']")
        self._root.execute("SET TimeZone='UTC'")
        self._root.execute("SET enable_external_access=false")
        self._root.execute("SET lock_configuration=true")

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Open a connection of its own to the one database."""
        return self._root.cursor()

    def need_dataset(self, dataset: str) -> None:
        """Raise `Problem` if there is no such dataset."""
        if dataset not in self.datasets:
            raise Problem(f"Not found: Dataset {dataset} was not found in location US", "notFound")

    def need(self, dataset: str, table: str) -> Table:
        """Make a table readable; raises `Problem` if there is none."""
        self.need_dataset(dataset)
        found = self.tables.get((dataset, table))
        if found is None:
            message = f"Not found: Table {dataset}.{table} was not found in location US"
            raise Problem(message, "notFound")
        with self.lock:
            if found.file is not None and not found.known:
                self._define("VIEW", dataset, table, found.file)
                found.known = True
        return found

    def need_writable(self, dataset: str, table: str) -> Table:
        """Copy a file's rows into memory, once, so that a statement can change them; the file stays as it is."""
        found = self.need(dataset, table)
        with self.lock:
            if found.file is not None:
                self._root.execute(f"DROP VIEW {quoted(dataset, table)}")
                self._define("TABLE", dataset, table, found.file)
                found.file = None
        return found

    def _define(self, kind: str, dataset: str, table: str, file: Path) -> None:
        path = str(file).replace("'", "''")
        reader = f"{_READERS[file.suffix.lower()]}('{path}')"
        try:
            self._root.execute(f"CREATE {kind} {quoted(dataset, table)} AS SELECT * FROM {reader}")
        except duckdb.Error as exc:
            text = str(exc).splitlines()[0]
            raise Problem(f"Error while reading table: {dataset}.{table}, error message: {text}") from exc

    def forget(self, dataset: str, table: str) -> None:
        """Drop a table, of a file or in memory; the file stays."""
        found = self.need(dataset, table)
        with self.lock:
            kind = "VIEW" if found.file is not None else "TABLE"
            self._root.execute(f"DROP {kind} {quoted(dataset, table)}")
            del self.tables[dataset, table]


def _scan(folder: Path) -> dict[tuple[str, str], Table]:
    if not folder.is_dir():
        raise BadFolder(f"{folder} is not a folder. Give a folder with CSV or Parquet files.")
    files = [*folder.iterdir(), *(file for sub in folder.iterdir() if sub.is_dir() for file in sub.iterdir())]
    tables = {
        (file.parent.name, file.stem): Table(size=file.stat().st_size, file=file)
        for file in sorted(files)
        if file.is_file() and file.suffix.lower() in _READERS
    }
    if not tables:
        raise BadFolder(f"{folder} holds no CSV or Parquet file, nor does a folder in it.")
    return tables
