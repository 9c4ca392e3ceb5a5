"""`python -m ork_provider.testing`: serve the fakes and print the Airflow connections that reach them."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack

from ork_provider.testing.bigquery import FakeBigQuery
from ork_provider.testing.cloud_run import FakeCloudRun
from ork_provider.testing.dataproc import FakeDataproc
from ork_provider.testing.dqops import FakeDqops
from ork_provider.testing.google_connection import merged_connections
from ork_provider.testing.http_jobs import FakeHttpJobs
from ork_provider.testing.server import FakeServer

_EPILOG = """\
It prints `export AIRFLOW_CONN_...` lines (Google's services share one), for the shell in which Airflow starts,
and serves until Ctrl-C. With --data, BigQuery jobs run their SQL over the folder's CSV and Parquet files (folder =
dataset, file = table); this needs pip install 'airflow-provider-ork[sandbox]'. With --dataproc-files, a PySpark
job or batch of Dataproc whose mainPythonFileUri is a file:///... URI runs that file with this Python. With
--cloud-run-job nightly='python nightly.py', each task of that Cloud Run job runs the command.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code, 2 for bad arguments."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with ExitStack() as stack:
            servers = [stack.enter_context(server) for server in _servers(options)]
            _print_connections(servers)
            stop.wait()
    except (OSError, ValueError, ImportError) as exc:  # a port in use, a bad folder, a missing extra
        print(f"ork_provider.testing: {exc}", file=sys.stderr)
        return 2
    return 0


def _servers(options: argparse.Namespace) -> list[FakeServer]:
    return [
        FakeBigQuery(
            options.host,
            options.bigquery_port,
            running=options.running,
            minimum_seconds=options.running if options.data else 0.0,
            data=options.data,
            latency=options.latency,
        ),
        FakeCloudRun(
            options.host,
            options.cloud_run_port,
            running=options.running,
            commands=dict(options.cloud_run_job),
            latency=options.latency,
        ),
        FakeDataproc(
            options.host,
            options.dataproc_port,
            running=options.running,
            run_files=options.dataproc_files,
            latency=options.latency,
        ),
        FakeDqops(options.host, options.dqops_port, running=options.running, latency=options.latency),
        FakeHttpJobs(options.host, options.http_port, running=options.running, latency=options.latency),
    ]


def _print_connections(servers: Sequence[FakeServer]) -> None:
    for name, value in merged_connections(servers).items():
        print(f"export {name}='{value}'", flush=True)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError(text)
    return seconds


def _command(text: str) -> tuple[str, list[str]]:
    name, _, command = text.partition("=")
    words = shlex.split(command)
    if not name or not words:
        raise ValueError(text)
    return name, words


_port.__name__, _seconds.__name__ = "port", "seconds"  # as argparse names them in its errors
_command.__name__ = "NAME=COMMAND"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ork_provider.testing",
        description="Serve fakes of BigQuery, Cloud Run, Dataproc, DQOps and an HTTP job API for Airflow DAGs, "
        "without a cloud.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", metavar="DIR", help="run the SQL of BigQuery jobs over the files of this folder")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--bigquery-port", type=_port, default=0, metavar="PORT", help="port of BigQuery (default: a free one)")
    add(
        "--cloud-run-job",
        type=_command,
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="run this command for each task of a Cloud Run job; may be given again",
    )
    add("--cloud-run-port", type=_port, default=0, metavar="PORT", help="port of Cloud Run (default: a free one)")
    add("--dataproc-files", action="store_true", help="run the local files (file:///...) of Dataproc's PySpark jobs")
    add("--dataproc-port", type=_port, default=0, metavar="PORT", help="port of Dataproc (default: a free one)")
    add("--dqops-port", type=_port, default=0, metavar="PORT", help="port of DQOps (default: a free one)")
    add("--http-port", type=_port, default=0, metavar="PORT", help="port of the HTTP job API (default: a free one)")
    add("--latency", type=_seconds, default=0.0, metavar="S", help="seconds before every answer (default: %(default)s)")
    add("--running", type=_seconds, default=1.0, metavar="S", help="seconds that a job runs (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
