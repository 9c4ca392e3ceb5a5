"""DqopsService: the calls of DQOps' REST API that a job needs.

Status is asked for with ``GET api/jobs/jobs/{id}`` only: the ``wait`` calls answer an unfinished job with an empty
body, and a failed one with 500.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ork_provider.dqops import requests
from ork_provider.dqops.connection import DQOPS_CONNECTION, DqopsAccess, DqopsServer
from ork_provider.dqops.feed import JobChanges
from ork_provider.dqops.job import DqopsJob, read_id, read_job
from ork_provider.errors import MISSHAPEN, BadRequest, NotFound, TryAgain
from ork_provider.job import JobStatus, describe
from ork_provider.service import Service
from ork_provider.session import Request, Response, Session, send_as


class DqopsService(Service):
    """DQOps' job queue."""

    connection_defaults: ClassVar[dict[str, Any]] = DQOPS_CONNECTION

    def __init__(self, session: Session, conn_id: str) -> None:
        self._session = session
        self._access = DqopsAccess(session, conn_id)

    @classmethod
    async def open(cls, session: Session, **connection: Any) -> DqopsService:
        """See Service; the connection is read when it is needed."""
        await session.renew_connection(connection["dqops_conn_id"], if_old=True)
        return cls(session, connection["dqops_conn_id"])

    async def check(self, job: DqopsJob) -> JobStatus:
        """Ask once."""
        return read_entry(job, await self.get(job))

    async def get(self, job: DqopsJob) -> dict[str, Any]:
        """Return the job's history entry."""
        answer = await self.call(requests.get_job(job.remote_id), job.base_url)
        try:
            number = read_id(answer)
        except MISSHAPEN as exc:
            raise TryAgain(f"{job}: the answer is not a job: {describe(answer)}") from exc
        if job.job_id is not None and number != job.job_id:
            raise TryAgain(f"{job}: the answer names {'no' if number is None else 'another'} job: {describe(answer)}")
        return answer

    def shared(self, job: DqopsJob) -> JobChanges | None:
        """See Service; a job whose number is not known cannot be told from another one with its key."""
        return None if job.job_id is None else JobChanges(self, self._access.conn_id, job.base_url)

    async def find(self, job: DqopsJob) -> DqopsJob | None:
        """Return the job with the number that DQOps has given it; None if it does not know it."""
        try:
            entry = await self.get(job)
        except NotFound:
            return None
        number = read_id(entry) if job.job_id is None else job.job_id
        if number is None:
            raise TryAgain(f"{job}: the answer names no job: {describe(entry)}")
        return replace(job, job_id=number)

    async def submit(self, job: DqopsJob, request: Mapping[str, Any]) -> DqopsJob:
        """Send a request that starts a job. Unlike other services', a repeated one starts another: see ``find``."""
        call: requests.Call = ("POST", request["path"], dict(request["params"]), request["json"])
        try:
            answer = await self.call(call, job.base_url)
        except NotFound as exc:
            raise BadRequest(f"{exc}. Is the base URL that of DQOps?") from exc
        try:
            number = read_id(answer)
        except AttributeError:
            number = None
        if number is None:
            raise TryAgain(f"{job}: the answer names no job: {describe(answer)}")
        return replace(job, job_id=number)

    async def cancel(self, job: DqopsJob) -> None:
        """Stop with a DELETE.

        DQOps answers 204 for a job that it does not know, too, so it is asked for first. A refused or failed ask
        does not keep from cancelling.
        """
        try:
            if (await self.check(job)).state.final:
                return
        except NotFound:
            raise
        except (TryAgain, BadRequest):
            pass
        server = DqopsServer(self._access, job.base_url)
        await server.check(*await self._send(requests.cancel_job(job.remote_id), server))

    async def call(self, call: requests.Call, base_url: str | None, **how: Any) -> dict[str, Any]:
        """Send one request; return the JSON object of a good answer, raise any other as our error.

        :param how: ``timeout``, ``max_body``, ``shared`` as in Request
        """
        server = DqopsServer(self._access, base_url)
        asked, response = await self._send(call, server, **how)
        answer = (await server.check(asked, response)).json()
        if not isinstance(answer, dict):
            raise TryAgain(f"{asked}: expected a JSON object, got {type(answer).__name__}")
        return answer

    async def _send(self, call: requests.Call, server: DqopsServer, **how: Any) -> tuple[Request, Response]:
        method, path, params, body = call
        url = f"{await server.url()}/{path}"
        asked = Request(method=method, url=url, params=params, json=body, verify=await server.verify(), **how)
        return asked, await send_as(self._session.door, server, asked)


def read_entry(job: DqopsJob, entry: Mapping[str, Any]) -> JobStatus:
    """Read a history entry; what is none is TryAgain."""
    try:
        return read_job(entry)
    except MISSHAPEN as exc:
        raise TryAgain(f"{job}: the answer is not a job: {describe(entry)}") from exc
