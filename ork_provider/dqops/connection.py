"""Where a DQOps server is and who we are there, from an Airflow connection of type ``dqops``."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ork_provider.errors import BadRequest, NoConnection, OrkError, TryAgain, Unauthorized
from ork_provider.session import (
    CONNECTION_TTL,
    Request,
    Response,
    Session,
    check_host,
    read_extra,
    read_origin,
    refusal,
    same_origin,
)
from ork_provider.settings import allowed_hosts

DQOPS_CONNECTION: dict[str, Any] = {"dqops_conn_id": "dqops_default"}
"""Connection parameters of every DQOps operator and trigger."""

DEFAULT_URL = "http://localhost:8888"
"""Where DQOps is when neither a connection nor ``base_url`` says."""


class DqopsAccess:
    """One Airflow connection, over which several servers may be asked (``base_url`` of a job).

    :param conn_id: ``dqops_default`` need not be defined: then there is no API key
    """

    def __init__(self, session: Session, conn_id: str) -> None:
        self._session = session
        self.conn_id = conn_id
        self.rules = allowed_hosts()

    async def connection(self) -> Any:
        """Return the Airflow connection; None if it is the default one and not defined.

        That it is not is remembered for a while, by all who wait: in a triggerer it takes seconds to find out.
        """
        undefined, now = ("undefined", self.conn_id), time.monotonic()
        if now - self._session.cache.get(undefined, -CONNECTION_TTL) < CONNECTION_TTL:
            return None
        try:
            return await self._session.connection(self.conn_id)
        except NoConnection:
            if self.conn_id != DQOPS_CONNECTION["dqops_conn_id"]:
                raise
            self._session.cache[undefined] = now
            return None

    async def renew(self) -> None:
        """Read the connection again."""
        await self._session.renew_connection(self.conn_id)

    async def extra(self) -> dict[str, Any]:
        """Return the connection's extra."""
        conn = await self.connection()
        return read_extra(conn) if conn is not None else {}


class DqopsServer:
    """One server over one connection; see Credentials in session/credentials.py.

    :param base_url: the server's base URL; None: the connection's
    """

    def __init__(self, access: DqopsAccess, base_url: str | None = None) -> None:
        self._access = access
        self._base_url = base_url

    async def url(self) -> str:
        """Return the base URL without a trailing slash.

        :raises BadRequest: ``base_url`` is none, or leads to a host that ``[ork] allowed_hosts`` does not name
        """
        conn = await self._access.connection()
        if not self._base_url:
            return DEFAULT_URL if conn is None else host_url(conn)
        try:
            origin = read_origin(self._base_url)
        except ValueError as exc:
            raise BadRequest(f"base_url: {exc}") from None
        if conn is None or not conn.host or read_origin(host_url(conn)) != origin:
            check_host(origin, self._access.rules, f"base_url {origin}")
        return self._base_url.rstrip("/")

    async def headers(self) -> dict[str, str]:
        """Return the API key and the data domain; none for a server that the connection is not for."""
        conn = await self._access.connection()
        if conn is None or not await self._is_the_connections(conn):
            return {}
        key = check_key((conn.password or "").strip(), self._access.conn_id)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if domain := read_extra(conn).get("data_domain"):
            headers["Cookie"] = f"DQODataDomain={check_domain(domain, self._access.conn_id)}"
        return headers

    async def _is_the_connections(self, conn: Any) -> bool:
        """Whether we are at the connection's own server; a connection without a host is for any."""
        return not conn.host or same_origin(host_url(conn), await self.url())

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        """Read the connection again."""
        await self._access.renew()

    async def verify(self) -> bool | str:
        """Return the connection's ``verify``: False, True, or the path of a CA bundle."""
        verify = (await self._access.extra()).get("verify", True)
        if isinstance(verify, str) and verify.lower() in ("", "true", "false"):  # as a form's text field has it
            return verify.lower() != "false"
        return verify if isinstance(verify, bool | str) else True

    async def check(self, asked: Request, response: Response) -> Response:
        """Return a 2xx answer; raise any other as our error, a refused login with what to change."""
        if 200 <= response.status < 300:
            return response
        error = refusal(asked, response)
        if isinstance(error, TryAgain):
            raise error
        sent = "Authorization" in await self.headers()
        raise _explain(error, response.status, f"Airflow connection {self._access.conn_id!r}", sent=sent)


def _explain(error: OrkError, status: int, where: str, *, sent: bool) -> OrkError:
    """Add to a refusal what a person must change."""
    if status == 401:
        what = (
            "DQOps does not accept the API key (the password)" if sent else "DQOps wants an API key: set the password"
        )
        return Unauthorized(f"{error} {what} of {where}.")
    if status == 403:
        return BadRequest(f"{error} The API key (the password) of {where} may not do this.")
    if 300 <= status < 400 and not sent:
        return BadRequest(
            f"{error} DQOps sends those to its login page who have no API key: authentication is on, and no API key "
            f"was sent. Set the password of {where}, and its host to this server."
        )
    return error


def host_url(conn: Any) -> str:
    """Return a connection's base URL: its host, with its schema and port where the host does not name them."""
    host = (conn.host or "").strip().rstrip("/")
    if not host:
        raise NoConnection(f"Airflow connection {conn.conn_id!r} has no host; set it to the base URL of DQOps.")
    url = host if "://" in host else f"{conn.schema or 'http'}://{host}"
    try:
        read_origin(url)
    except ValueError as exc:
        raise BadRequest(f"Airflow connection {conn.conn_id!r}: its host is not a URL: {exc}") from None
    parts = urlsplit(url)
    has_port = parts.port is not None
    netloc = f"{parts.netloc}:{conn.port}" if conn.port and not has_port else parts.netloc
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))


def check_key(key: str, conn_id: str) -> str:
    """Return an API key as a header holds it."""
    if not re.fullmatch("[ -~]*", key):
        raise BadRequest(f"Airflow connection {conn_id!r}: its password is no API key: it may hold ASCII only.")
    return key


def check_domain(domain: object, conn_id: str) -> str:
    """Return the name of a data domain as a cookie holds it."""
    if not isinstance(domain, str) or not _COOKIE_VALUE.fullmatch(domain):
        raise BadRequest(f"Airflow connection {conn_id!r}: {domain!r} in its extra is not the name of a data domain.")
    return domain


_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+")  # RFC 6265
