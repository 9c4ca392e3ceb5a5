"""HttpService: asks for an HTTP job over an Airflow ``http`` connection, and starts and cancels one."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from ork_provider.errors import BadRequest, Conflict, NoConnection, NotFound, TryAgain, UnknownOutcome
from ork_provider.http.job import HttpJob
from ork_provider.http.json_path import MISSING, find
from ork_provider.job import JobState, JobStatus, describe
from ork_provider.service import Service
from ork_provider.session import (
    Origin,
    Request,
    Response,
    Session,
    check,
    check_host,
    is_secret,
    read_extra,
    read_origin,
    same_origin,
    send_as,
    show_url,
)
from ork_provider.settings import allowed_hosts

HTTP_CONNECTION: dict[str, Any] = {"http_conn_id": "http_default"}
"""Connection parameters of every HTTP operator and trigger."""

_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)

REDIRECTS = (301, 302, 303, 307, 308)
HOPS = 5
"""Redirects that one question follows at most."""

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
        try:
            url = _with_port(host if "://" in host else f"{conn.schema or 'http'}://{host}", conn.port)
            read_origin(url)
        except ValueError as exc:
            raise BadRequest(f"Airflow connection {self._conn_id!r}, host: {exc}") from None
        return url

    async def verify(self) -> bool | str:
        """Return the connection's ``verify``: False, True, or the path of a CA bundle."""
        extra = read_extra(await self._session.connection(self._conn_id))
        verify = extra.get("verify", extra.get("verify_ssl", True))
        return verify if isinstance(verify, bool) or (isinstance(verify, str) and verify) else True


def _with_port(url: str, port: int | None) -> str:
    """Return a URL with the port of a connection, unless it names one itself."""
    there = urlsplit(url)
    named = ":" in there.netloc.rpartition("]")[2]
    return url if named or not port else urlunsplit(there._replace(netloc=f"{there.netloc}:{port}"))


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
        self._rules = allowed_hosts()

    @classmethod
    async def open(cls, session: Session, **connection: Any) -> HttpService:
        """See Service; the connection is read when a URL needs it."""
        await session.renew_connection(connection["http_conn_id"], if_old=True)
        return cls(session, connection["http_conn_id"])

    async def send(self, method: str, url: str, **request: Any) -> tuple[Request, Response]:
        """Send one request to a URL, relative or absolute; return it with any answer.

        :raises BadRequest: it leads to a server that ``[ork] allowed_hosts`` does not name; nothing was sent
        """
        full, credentials, verify = await self._resolve(url)
        asked = Request(method=method.upper(), url=full, verify=verify, **request)
        if credentials is not self._endpoint:
            check_host(asked.origin, self._rules, asked)
        return asked, await send_as(self._session.door, credentials, asked)

    async def _ask(self, job: HttpJob, method: str, url: str, **request: Any) -> tuple[Request, Response]:
        """Send a question about a job; go where the answer redirects to, if the job says so."""
        headers = await self._headers_for(job, url)
        asked, response = await self.send(method, url, headers=headers, **request)
        if not job.follow_redirects or asked.method not in ("GET", "HEAD"):
            return asked, response
        for _ in range(HOPS):
            target = self._target_of(job, asked, response)
            if target is None:
                return asked, response
            asked, response = await self.send(method, target, headers=headers, **request)
        if self._target_of(job, asked, response) is not None:
            raise BadRequest(f"{asked} is the end of {HOPS} redirects, and redirects again; correct the URL.")
        return asked, response

    def _target_of(self, job: HttpJob, asked: Request, response: Response) -> str | None:
        """Return where an answer redirects to; None if it does not, or if its code is one that the job declares."""
        location = response.headers.get("location")
        if response.status not in REDIRECTS or response.status in _declared(job) or not location:
            return None
        target = status_url_of(asked.url, location)
        if not _is_at(asked.origin, target):
            raise BadRequest(
                f"{asked} redirects to {show_url(target)!r}, which is another server than {asked.origin}; use that "
                "address if you trust it. Redirects are followed on the same server only."
            )
        return target

    async def _headers_for(self, job: HttpJob, url: str) -> dict[str, str]:
        """Return a job's headers for one of its URLs: secret ones go to the server of its status only."""
        if url == job.url or not any(map(is_secret, job.headers)):
            return job.headers
        there, home = await self.full_url(url), await self.full_url(job.url)
        return job.headers if same_origin(there, home) else without_secrets(job.headers)

    async def _resolve(self, url: str) -> tuple[str, HttpEndpoint | NoCredentials, bool | str]:
        """Return the full URL and who we are there: the connection's headers go to its own server only."""
        if _SCHEME.match(url):
            try:
                origin = read_origin(url)
            except ValueError as exc:
                raise BadRequest(f"{show_url(url)!r}: {exc}") from None
            if not await self._is_ours(origin):
                return url, NoCredentials(), True
            return url, self._endpoint, await self._endpoint.verify()
        base = await self._endpoint.base_url()
        return f"{base}/{url.lstrip('/')}", self._endpoint, await self._endpoint.verify()

    async def _is_ours(self, origin: Origin) -> bool:
        try:
            return read_origin(await self._endpoint.base_url()) == origin
        except NoConnection:  # an absolute URL does not need one
            return False

    async def check_urls(self, *urls: str | None) -> None:
        """Raise BadRequest if one of the URLs cannot be asked, or may not be; relative ones always may."""
        for url in urls:
            if url is not None and _SCHEME.match(url):
                full, credentials, _ = await self._resolve(url)
                if credentials is not self._endpoint:
                    check_host(read_origin(full), self._rules, show_url(url))

    async def check(self, job: HttpJob) -> JobStatus:
        """Ask once; the verdict is by status code, then by the value in the body."""
        body = {"json": job.body} if job.body is not None else {}
        if self._rules:
            await self.check_urls(job.cancel_url, job.result_url)
        asked, response = await self._ask(job, job.method, job.url, max_body=job.max_body_bytes, **body)
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
        headers = await self._headers_for(job, job.cancel_url)
        asked, response = await self.send(job.cancel_method, job.cancel_url, headers=headers)
        if response.status not in (409, 410):
            try:
                check(asked, response)
            except Conflict:
                return

    async def fetch(self, job: HttpJob, max_body: int) -> Any:
        """Return the JSON of a job's result: at its ``result_url``, else that of its status."""
        return check(*await self._ask(job, "GET", job.result_url or job.url, max_body=max_body)).json()


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


def _is_at(origin: Origin, url: str) -> bool:
    try:
        return read_origin(url) == origin
    except ValueError:
        return False


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers without those that look secret."""
    return {name: value for name, value in headers.items() if not is_secret(name)}


def _declared(job: HttpJob) -> list[int]:
    return [*job.success_status_codes, *job.running_status_codes, *job.failure_status_codes]


def fill(template: str, job_id: str | None) -> str:
    """Return a URL template with ``{job_id}`` replaced."""
    return template.replace("{job_id}", quote(job_id or "", safe=""))


def status_url_of(asked_url: str, location: str) -> str:
    """Return the absolute URL that a Location header names; raise BadRequest if it names none."""
    try:
        return urljoin(asked_url, location)
    except ValueError as exc:
        raise BadRequest(f"{show_url(location)!r} is not a URL") from exc
