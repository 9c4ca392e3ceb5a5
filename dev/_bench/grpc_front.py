"""What the peers ask and the fakes do not serve: a gRPC server before the same jobs, and two more URLs.

Google's triggers for Dataproc and Cloud Run speak gRPC. `start` serves `GetJob` and `GetOperation` over TLS in the
process of the fakes, with their latency, from the state of their jobs. The certificate is made for the occasion; a
client trusts it by GRPC_DEFAULT_SSL_ROOTS_FILE_PATH. Requests count when they arrive, connections by the client's port.

Over HTTP it adds an operation for each Cloud Run execution, `.../operations/<execution>`, as jobs.run would have
returned one, and `/jobs/<id>/when-done` of the HTTP service: 404 until the job has ended, then the job.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]

from ork_provider.testing import cloud_run_jobs
from ork_provider.testing.cloud_run import FakeCloudRun
from ork_provider.testing.cloud_run_jobs import EXECUTION_TYPE, FakeExecution
from ork_provider.testing.dataproc_jobs import FakeDataprocJob
from ork_provider.testing.dataproc_resources import job_resource
from ork_provider.testing.faults import Answer, Refused
from ork_provider.testing.http_jobs import FakeHttpJobs
from ork_provider.testing.server import RecordedRequest, Route

if TYPE_CHECKING:
    from _bench.cloud import Fakes

HOST = "localhost"
"""The name in the certificate."""


@dataclass
class GrpcFault:
    """What happens to the next `times` calls about a job; `applied` counts them."""

    code: str
    times: int
    applied: int = 0


class Operations(dict[str, FakeExecution]):
    """The operations of a fake Cloud Run; also each that is named like its execution."""

    def __init__(self, fake: FakeCloudRun) -> None:
        super().__init__()
        self._fake = fake
        self._by_id: dict[str, FakeExecution] = {}

    def __missing__(self, name: str) -> FakeExecution:
        started = self._fake.started
        for execution in started[len(self._by_id) :]:
            self._by_id[execution.execution_id] = execution
        return self._by_id[name.rpartition("/")[2]]

    def __contains__(self, name: object) -> bool:
        try:
            return bool(self[str(name)])
        except KeyError:
            return False


def serve_peers(cloud_run: FakeCloudRun, http: FakeHttpJobs) -> Operations:
    """Add to the fakes what the peers need over HTTP; return the operations."""
    operations = Operations(cloud_run)
    cloud_run._operations = operations

    def when_done(request: RecordedRequest, job_id: str) -> Answer:
        job = http._find_job(job_id)
        if not job.done:
            raise Refused(Answer.json({"error": "Not yet."}, 404))
        return Answer.json(job.to_dict())

    route = Route("GET", "/jobs/{job_id}/when-done", when_done)
    http._routes.append((route.method, route.pattern(http.path_prefix), route.handler))
    return operations


class GrpcFront:
    """The gRPC server; see `_bench.cloud.Front`."""

    def __init__(self, fakes: Fakes, operations: Operations, folder: Path) -> None:
        self.port = 0
        self.connections = 0
        self.requests: Counter[str] = Counter()
        self.faults: dict[str, GrpcFault] = {}
        self._fakes = fakes
        self._operations = operations
        self._clients: set[str] = set()
        self._messages: dict[tuple[str, str], bytes] = {}
        self._key, certificate = _certificate()
        self._certificate = certificate
        path = folder / "ca.pem"
        path.write_bytes(certificate)
        self.ca_file = str(path)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="grpc", daemon=True)

    def start(self) -> GrpcFront:
        """Serve in a thread of its own; returns when calls are accepted."""
        from google.cloud import dataproc_v1, run_v2  # noqa: F401 - seconds, which no answer is to wait for

        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(60)
        return self

    def stop(self) -> None:
        """Stop serving at once."""
        asyncio.run_coroutine_threadsafe(self._server.stop(None), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self) -> None:
        from google.cloud.dataproc_v1 import GetJobRequest
        from google.longrunning.operations_pb2 import GetOperationRequest

        self._server = grpc.aio.server()
        for service, method, handler, message in (
            ("google.longrunning.Operations", "GetOperation", self._get_operation, GetOperationRequest),
            ("google.cloud.dataproc.v1.JobController", "GetJob", self._get_job, GetJobRequest.pb()),
        ):
            call = grpc.unary_unary_rpc_method_handler(handler, request_deserializer=message.FromString)
            self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: call})])
        credentials = grpc.ssl_server_credentials([(self._key, self._certificate)])
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        await self._server.start()

    def break_job(self, job_id: str, code: str, times: int) -> GrpcFault:
        """Let the next `times` calls about a job (-1: all) end with a status of this name; "HANG": never."""
        self.faults[job_id] = GrpcFault(code, times)
        return self.faults[job_id]

    # -- the calls ---------------------------------------------------------------------------------------------

    async def _get_operation(self, request: Any, context: Any) -> bytes:
        await self._arrive(context, request.name)
        if request.name not in self._operations:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Operation '{request.name}' does not exist.")
        return self._operation(request.name, self._operations[request.name])

    async def _get_job(self, request: Any, context: Any) -> bytes:
        await self._arrive(context, request.job_id)
        job = self._fakes.dataproc._jobs.get((request.project_id, request.job_id))
        if job is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Not found: Job {request.job_id}")
            raise AssertionError("abort raises")
        return self._job(job)

    async def _arrive(self, context: Any, name: str) -> None:
        """Count a call, let it take its time, and act out a fault that is scripted for it."""
        self.requests["get"] += 1
        self._fakes.tally.asked.setdefault(name, time.time())
        if context.peer() not in self._clients:
            self._clients.add(context.peer())
            self.connections += 1
        await asyncio.sleep(self._fakes.latency)
        fault = self.faults.get(name.rpartition("/")[2])
        if fault is None or fault.applied == fault.times:
            return
        fault.applied += 1
        if fault.code == "HANG":
            await asyncio.Event().wait()
        await context.abort(grpc.StatusCode[fault.code], f"Scripted fault: {fault.code}")

    # -- messages: the REST resource, translated once for each state -------------------------------------------

    def _operation(self, name: str, execution: FakeExecution) -> bytes:
        key = (name, execution.state)
        if key not in self._messages:
            self._messages[key] = _operation_message(name, execution, self._fakes.cloud_run.epoch_ms)
        return self._messages[key]

    def _job(self, job: FakeDataprocJob) -> bytes:
        from google.cloud.dataproc_v1 import Job
        from google.protobuf import json_format

        key = (job.job_id, job.state)
        if key not in self._messages:
            message = json_format.ParseDict(
                job_resource(job, self._fakes.dataproc.epoch_ms), Job.pb()(), ignore_unknown_fields=True
            )
            self._messages[key] = message.SerializeToString()
        return self._messages[key]


def _operation_message(name: str, execution: FakeExecution, epoch_ms: Callable[[float], int]) -> bytes:
    from google.cloud.run_v2 import Execution
    from google.longrunning.operations_pb2 import Operation
    from google.protobuf import json_format
    from google.protobuf.any_pb2 import Any as Packed

    shown = cloud_run_jobs.resource(execution, epoch_ms)
    said = cloud_run_jobs.operation(name, execution, shown)
    message = json_format.ParseDict(shown, Execution.pb()(), ignore_unknown_fields=True)
    packed = Packed(type_url=EXECUTION_TYPE, value=message.SerializeToString())
    operation = Operation(name=name, metadata=packed, done=bool(said.get("done")))
    if error := said.get("error"):
        operation.error.code, operation.error.message = error["code"], error["message"]
    elif operation.done:
        operation.response.CopyFrom(packed)
    return bytes(operation.SerializeToString())


def _certificate() -> tuple[bytes, bytes]:
    """Return key and certificate, both PEM, of a server on this machine."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def start(fakes: Fakes, folder: Path) -> GrpcFront:
    """Serve what the peers ask, before these fakes; `folder` takes the certificate."""
    return GrpcFront(fakes, serve_peers(fakes.cloud_run, fakes.http), folder).start()
