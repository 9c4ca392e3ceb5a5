"""A StatsD server and an OTLP/HTTP collector on loopback that keep what they are told, and Prometheus' names for it."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

TYPES = {"c": "counter", "g": "gauge", "ms": "timer"}
Sample = tuple[dict[str, str], float]


@dataclass
class Received:
    """What was received: the samples of each metric, by its whole name, and its type."""

    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    types: dict[str, str] = field(default_factory=dict)
    processes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, name: str, kind: str, tags: dict[str, str], value: float) -> None:
        """Keep one sample."""
        self.types[name] = kind
        self.samples[name].append((tags, value))

    def tags(self, name: str) -> set[str]:
        """Return the names of all tags that a metric was sent with."""
        return {tag for tags, _ in self.samples.get(name, []) for tag in tags}

    def values(self, name: str, tag: str) -> set[str]:
        """Return the values of a tag of a metric."""
        return {tags[tag] for tags, _ in self.samples.get(name, []) if tag in tags}

    def total(self, name: str, **tags: str) -> float:
        """Return the sum of a counter's samples with these tags."""
        return sum(value for told, value in self.samples.get(name, []) if tags.items() <= told.items())


def read_line(line: str) -> tuple[str, str, dict[str, str], float]:
    """Read a line of StatsD with InfluxDB's tags: ``name,tag=value:1|c``; return name, type, tags and value."""
    head, _, sample = line.partition(":")
    value, kind, *_ = sample.split("|")
    name, *tags = head.split(",")
    return name, TYPES[kind], dict(tag.split("=", 1) for tag in tags), float(value)


@contextmanager
def statsd() -> Iterator[tuple[Received, int]]:
    """Receive StatsD over UDP; yield what was received, and the port."""
    received = Received()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        door.bind(("127.0.0.1", 0))
        port = int(door.getsockname()[1])

        def receive() -> None:
            while packet := door.recv(65536):
                for line in packet.decode().splitlines():
                    received.add(*read_line(line))

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        yield received, port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", port))
        thread.join(5)


@contextmanager
def otlp() -> Iterator[tuple[Received, int]]:
    """Receive OTLP over HTTP; yield what was received, and the port."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/metrics":
                _read_otlp(body, received)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield received, server.server_port
    server.shutdown()
    server.server_close()
    thread.join(5)


def _read_otlp(body: bytes, received: Received) -> None:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        whole = {one.key: one.value.string_value for one in resource.resource.attributes}
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            kind = str(metric.WhichOneof("data"))
            received.processes[metric.name].add(str(sorted(whole.items())))
            for point in getattr(metric, kind).data_points:
                tags = {one.key: one.value.string_value for one in point.attributes}
                counts = kind in ("histogram", "exponential_histogram")
                value = point.count if counts else getattr(point, str(point.WhichOneof("value")))
                types = {"sum": "counter", "gauge": "gauge"}
                received.add(metric.name, types.get(kind, "timer"), tags, float(value))


# -- Prometheus ----------------------------------------------------------------------------------------------------


class Mapping:
    """What statsd_exporter makes of a metric's name: the first mapping wins whose glob and type fit.

    As its pkg/mapper does: a ``*`` stands for one part between dots; ``${1}`` is what the first of them stood for.
    """

    def __init__(self, file: Path) -> None:
        self.rules: list[dict[str, Any]] = yaml.safe_load(file.read_text())["mappings"]

    def series(self, name: str, kind: str) -> set[str]:
        """Return the names of the series of a metric; none if no mapping fits."""
        observed = "observer" if kind == "timer" else kind
        for rule in self.rules:
            glob = re.escape(rule["match"]).replace(r"\*", r"([^.]*)")
            match = re.fullmatch(glob, name)
            if match and rule.get("match_metric_type", observed) == observed:
                made = re.sub(r"\$\{(\d)\}", lambda n, match=match: match[int(n[1])], rule["name"])  # type: ignore[misc]
                histogram = kind == "timer" and rule["observer_type"] == "histogram"
                return {f"{made}_{part}" for part in ("bucket", "sum", "count")} if histogram else {made}
        return set()


def series_of_otlp(name: str, kind: str) -> set[str]:
    """Return the series that Prometheus makes of an OpenTelemetry metric: dots are underscores, units are added."""
    made = re.sub(r"[^a-zA-Z0-9_:]", "_", name)
    return {made + {"counter": "_total", "gauge": "", "timer": "_milliseconds"}[kind]}
