"""Other Airflows with a run each, as far as their REST API is needed to wait for tasks and read their outputs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@contextmanager
def serve_airflow(
    patch: pytest.MonkeyPatch, conn_id: str, values: Mapping[str, Any], dag_id: str = "sales", run_id: str = "r1"
) -> Iterator[list[str]]:
    """Serve an Airflow with one run, whose tasks have succeeded and returned these values; yield the paths asked for.

    :param conn_id: the connection to it, which is set in the environment
    """
    asked: list[str] = []
    which = {"dag_id": dag_id, "dag_run_id": run_id}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self._read()
            if parts[-1] == "return_value":
                self._answer({"value": values[parts[-3]]})
            else:
                self._answer({**which, "state": "success"})

        def do_POST(self) -> None:
            self._read()
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["task_ids"]
            one = {**which, "map_index": -1, "state": "success"}
            instances = [{**one, "task_id": task_id} for task_id in wanted if task_id in values]
            self._answer({"task_instances": instances, "total_entries": len(instances)})

        def _read(self) -> list[str]:
            path = self.path.split("?")[0]
            asked.append(path)
            return path.split("/")

        def _answer(self, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    host = f"http://127.0.0.1:{server.server_port}"
    patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "http", "host": host}))
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
