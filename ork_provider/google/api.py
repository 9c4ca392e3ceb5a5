"""Calls of a Google REST API over an Airflow connection: where to, as whom, and once more after a 401."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from ork_provider.errors import MISSHAPEN, BadRequest, Conflict, TryAgain
from ork_provider.google import GoogleAccess
from ork_provider.job import Job, describe
from ork_provider.session import Request, Response, Session, check, read_extra, retry_after, send_as

T = TypeVar("T")

LIST_TIMEOUT = 10.0
"""Seconds that a page of a list may take: many wait for it."""

LIST_LIMIT = 16 * 1024 * 1024
"""Bytes that a page of a list may have."""

ApiName = Literal["bigquery", "run", "dataproc"]

GOOGLE_CONNECTION: dict[str, Any] = {"gcp_conn_id": "google_cloud_default", "impersonation_chain": None}
"""Connection parameters of every Google operator and trigger."""


class GoogleApi:
    """One Google API over one connection.

    Its ``access`` is shared by all who use the same connection and chain in this session, so that they share
    one key parse and one token.
    """

    def __init__(
        self,
        session: Session,
        service: ApiName,
        default_endpoint: str,
        *,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        self._session = session
        self._service = service
        self._default_endpoint = default_endpoint
        self._conn_id = gcp_conn_id
        self._chain = impersonation_chain

    @property
    def identity(self) -> tuple[str, str]:
        """Who asks: those who are the same may share what is asked."""
        return self._conn_id, json.dumps(self._chain)

    async def access(self) -> GoogleAccess:
        """Return who we are; another object only if the connection has changed."""
        conn = await self._session.connection(self._conn_id)
        fields = read_extra(conn)
        key = ("google", *self.identity)
        known = self._session.cache.get(key)
        if known is None or known[0] != fields:
            access = GoogleAccess(conn_id=self._conn_id, fields=fields, impersonation_chain=self._chain)
            known = self._session.cache[key] = (fields, access)
        granted: GoogleAccess = known[1]
        return granted

    async def project_id(self) -> str:
        """Return the connection's project.

        :raises BadRequest: it has none
        """
        access = await self.access()
        project = await access.project_id()
        if not project:
            raise BadRequest(
                f"No project: neither project_id nor the connection {access.conn_id!r} names one. "
                "Set project_id, or 'project' in the connection's extra."
            )
        return project

    async def headers(self) -> dict[str, str]:
        """See Credentials."""
        return await (await self.access()).headers()

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        """See Credentials: read the connection again, and fetch a new token if it is still the same one."""
        await self._session.renew_connection(self._conn_id)
        await (await self.access()).renew(stale)

    async def url(self, path: str) -> str:
        """Return the full URL of a path that begins with a slash."""
        return (await self.access()).endpoint(self._service, self._default_endpoint) + path

    async def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Send one request; return the JSON object of a good answer, raise any other as our error.

        :param request: ``params``, ``json``, ``max_body``, ``timeout`` as in Request
        """
        return read_object(*await self.send(method, path, **request))

    async def send(self, method: str, path: str, **request: Any) -> tuple[Request, Response]:
        """Send one request; return it with any answer."""
        asked = Request(method=method, url=await self.url(path), **request)
        return asked, await send_as(self._session.door, self, asked)

    async def list(
        self, path: str, params: Sequence[tuple[str, str]], items: str, *, pages: int
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """List for many who wait: page by page, at most so many of them; what is no object is left out.

        :param items: name of the list in an answer
        """
        token: str | None = ""
        for _ in range(pages):
            more = (("pageToken", token),) if token else ()
            asked = {"params": (*params, *more), "timeout": LIST_TIMEOUT, "max_body": LIST_LIMIT, "shared": True}
            page = await self.call("GET", path, **asked)
            listed = page.get(items) or []
            if not isinstance(listed, list):
                raise TryAgain(f"GET {path}: {items!r} is not a list: {describe(listed)}")
            yield [item for item in listed if isinstance(item, dict)]
            token = page.get("nextPageToken")
            if not token or not isinstance(token, str):
                return


def read_answer(job: Job, answer: dict[str, Any], what: str, read: Callable[[dict[str, Any]], T]) -> T:
    """Return what ``read`` makes of an answer about a job; one of a wrong shape may be a good one next time.

    :param what: what the answer should be, such as ``a batch``
    """
    try:
        return read(answer)
    except MISSHAPEN as exc:
        raise TryAgain(f"{job}: the answer is not {what}: {describe(answer)}") from exc


def read_object(asked: Request, response: Response) -> dict[str, Any]:
    """Return the JSON object of a good answer, raise any other as our error.

    A 409 with the status ABORTED is no conflict over an id: the request had no effect and is to be sent again
    (https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto).
    """
    try:
        answer = check(asked, response).json()
    except Conflict as exc:
        if read_error(response).get("status") == "ABORTED":
            raise TryAgain(str(exc), retry_after=retry_after(response), processed=False) from exc
        raise
    if not isinstance(answer, dict):
        raise TryAgain(f"{asked}: expected a JSON object, got {type(answer).__name__}")
    return answer


def read_error(response: Response) -> dict[str, Any]:
    """Return what a refusal says in Google's form (``code``, ``status``, ``message``, ``details``), if it has one."""
    try:
        error = json.loads(response.body)["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {}


def sentence(exc: Exception) -> str:
    """Return an error's text with one full stop at its end."""
    return f"{str(exc).rstrip('.')}."
