"""HttpService: asks for an HTTP job over an Airflow ``http`` connection, and starts and cancels one."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit

from ork_provider.errors import BadRequest, Conflict, NoConnection, NotFound, TryAgain, UnknownOutcome
from ork_provider.http.job import HttpJob
from ork_provider.http.json_path import MISSING, find
from ork_provider.job import JobState, JobStatus, describe
from ork_provider.service import Service
from ork_provider.session import Request, Response, Session, check, read_extra, send_as

HTTP_CONNECTION: dict[str, Any] = {"http_conn_id": "http_default"}
"""Connection parameters of every HTTP operator and trigger."""

_OPTIONS = frozenset(
    {"headers", "verify", "verify_ssl", "cert", "stream", "timeout", "proxies", "proxy", "allow_redirects"}
    | {"max_redirects", "trust_env", "check_response", "srv_lookup", "auth_type", "auth_kwargs"}
)
"""Names in a connection's extra that are settings; Airflow's http connections keep headers beside them."""


class HttpEndpoint:
    """Base URL and credentials of an Airflow ``http`` connection; see Credentials in session/credentials.py."""

    def __init__(self, session: Session, conn_id: str) -> None:
        self._session = session
        self._conn_id = conn_id

    async def headers(self) -> dict[str, str]:
        """Return the connection's headers, and its login as basic authentication."""
        conn = await self._session.connection(self._conn_id)
        extra = read_extra(conn)
        headers = {name: value for name, value in extra.items() if name not in _OPTIONS}
        headers.update(extra.get("headers") or {})
        if conn.login:
            pair = base64.b64encode(f"{conn.login}:{conn.password or ''}".encode()).decode()
            headers.setdefault("Authorization", f"Basic {pair}")
        return {name: str(value) for name, value in headers.items()}

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        """Read the connection again."""
        await self._session.renew_connection(self._conn_id)

    async def base_url(self) -> str:
        """Return the connection's base URL, without a trailing slash."""
        conn = await self._session.connection(self._conn_id)
        host = (conn.host or "").rstrip("/")
        if not host:
            raise NoConnection(f"Airflow connection {self._conn_id!r} has no host, and the URL is relative.")
        base = host if "://" in host else f"{conn.schema or 'http'}://{host}"
        there = urlsplit(base)
        return f"{base}:{conn.port}" if conn.port and not there.port and not there.path else str(base)

    async def verify(self) -> bool | str:
        """Return the connection's ``verify``: False, True, or the path of a CA bundle."""
        extra = read_extra(await self._session.connection(self._conn_id))
        verify = extra.get("verify", extra.get("verify_ssl", True))
        return verify if isinstance(verify, bool | str) else True


class NoCredentials:
    """A URL of a host that the connection is not for gets none of its headers."""

    async def headers(self) -> dict[str, str]:
        """Return none."""
        return {}

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        """Do nothing."""


class HttpService(Service):
    """Any HTTP API with jobs."""

    connection_defaults: ClassVar[dict[str, Any]] = HTTP_CONNECTION

    def __init__(self, session: Session, conn_id: str) -> None:
        self._session = session
        self._conn_id = conn_id
        self._endpoint = HttpEndpoint(session, conn_id)

    @classmethod
    async def open(cls, session: Session, **connection: Any) -> HttpService:
        """See Service; the connection is read when a URL needs it."""
        await session.renew_connection(connection["http_conn_id"], if_old=True)
        return cls(session, connection["http_conn_id"])

    async def send(self, method: str, url: str, **request: Any) -> tuple[Request, Response]:
        """Send one request to a URL, relative or absolute; return it with any answer."""
        full, credentials, verify = await self._resolve(url)
        asked = Request(method=method.upper(), url=full, verify=verify, **request)
        return asked, await send_as(self._session.door, credentials, asked)

    async def _resolve(self, url: str) -> tuple[str, HttpEndpoint | NoCredentials, bool | str]:
        """Return the full URL and who we are there: the connection's headers go to its own host only."""
        if urlsplit(url).scheme:
            if not url.startswith(("http://", "https://")):
                raise BadRequest(f"{url!r} is not an http(s) URL.")
            if not await self._is_ours(url):
                return url, NoCredentials(), True
            return url, self._endpoint, await self._endpoint.verify()
        base = await self._endpoint.base_url()
        return f"{base}/{url.lstrip('/')}", self._endpoint, await self._endpoint.verify()

    async def _is_ours(self, url: str) -> bool:
        try:
            return same_origin(await self._endpoint.base_url(), url)
        except NoConnection:  # an absolute URL does not need one
            return False

    async def check(self, job: HttpJob) -> JobStatus:
        """Ask once; the verdict is by status code, then by the value in the body."""
        body = {"json": job.body} if job.body is not None else {}
        asked, response = await self.send(job.method, job.url, headers=job.headers, max_body=job.max_body_bytes, **body)
        if response.status in job.failure_status_codes:
            return JobStatus(state=JobState.FAILED, remote_state=str(response.status), message=_excerpt(response))
        if response.status in job.running_status_codes:
            return JobStatus(state=JobState.RUNNING, remote_state=str(response.status))
        if response.status not in job.success_status_codes:
            check(asked, response)
            raise BadRequest(
                f"{asked} answered {response.status}, which is in none of success_status_codes, "
                "running_status_codes and failure_status_codes."
            )
        if job.completion_field is None:
            return JobStatus(state=JobState.SUCCEEDED, remote_state=str(response.status))
        return read_status(job, asked, response.json())

    async def submit(self, job: Any, request: Mapping[str, Any]) -> HttpJob:
        """See HttpJobOperator.submit; an HTTP job has no form of its own to be started in."""
        raise BadRequest("HTTP jobs are started by HttpJobOperator.")

    async def start(self, request: Mapping[str, Any], headers: Mapping[str, str], *, can_resend: bool) -> Response:
        """Send the request that starts a job.

        :param can_resend: whether the service recognises a repeated request
        :raises UnknownOutcome: the answer was lost, and the request must not be sent again
        """
        body = {"json": request["data"]} if request["data"] is not None else {}
        try:
            asked, response = await self.send(request["method"], request["endpoint"], headers=headers, **body)
            return check(asked, response)
        except NotFound as exc:
            raise BadRequest(str(exc)) from exc
        except TryAgain as exc:
            if exc.processed and not can_resend:
                raise UnknownOutcome(f"{exc}") from exc
            raise

    async def full_url(self, url: str) -> str:
        """Return an absolute URL."""
        return (await self._resolve(url))[0]

    async def cancel(self, job: HttpJob) -> None:
        """Send the job's cancel request; 409 and 410 mean that it has ended already."""
        if job.cancel_url is None:
            raise BadRequest(f"{job} names no cancel_url, so it cannot be cancelled from here.")
        asked, response = await self.send(job.cancel_method, job.cancel_url, headers=job.headers)
        if response.status not in (409, 410):
            try:
                check(asked, response)
            except Conflict:
                return

    async def fetch(self, url: str, headers: Mapping[str, str], max_body: int) -> Any:
        """Return the JSON at a URL."""
        asked, response = await self.send("GET", url, headers=headers, max_body=max_body)
        return check(asked, response).json()


def read_status(job: HttpJob, asked: Request, document: Any) -> JobStatus:
    """Read the status out of a JSON body."""
    value = find(document, str(job.completion_field))
    if value is MISSING:
        raise TryAgain(f"{asked}: the answer has no {job.completion_field!r}: {describe(document)}")
    state = job.verdict(value)
    if state is None:
        return JobStatus(
            state=JobState.FAILED,
            remote_state=str(value)[:80],
            message=f"{job.completion_field} is {describe(value)}, which is in none of the declared values",
        )
    bad = state in (JobState.FAILED, JobState.CANCELLED)
    return JobStatus(state=state, remote_state=str(value)[:80], message=_say(job, document, value) if bad else "")


def _say(job: HttpJob, document: Any, value: Any) -> str:
    if job.message_field is not None:
        said = find(document, job.message_field)
        if said is not MISSING and said is not None:
            return str(said)[:2000]
    return f"{job.completion_field} is {describe(value)}"


def _excerpt(response: Response) -> str:
    return response.text[:500]


def same_origin(a: str, b: str) -> bool:
    """Whether two absolute URLs are on the same server, so that one's credentials may go to the other."""
    return _origin(a) == _origin(b)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def fill(template: str, job_id: str | None) -> str:
    """Return a URL template with ``{job_id}`` replaced."""
    return template.replace("{job_id}", quote(job_id or "", safe=""))


def status_url_of(asked_url: str, location: str) -> str:
    """Return the absolute URL that a Location header names."""
    return urljoin(asked_url, location)
