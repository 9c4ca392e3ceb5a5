"""What an Airflow Google connection says, checked; nothing here is read from disk or network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from ork_provider.errors import BadRequest

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"

SERVICES = ("bigquery", "dataproc", "run")
SOURCES = ("key_path", "keyfile_dict", "credential_config_file", "key_secret_name", "is_anonymous")
"""Fields that say where the credentials come from; at most one of them is set."""

_LEGACY_PREFIX = "extra__google_cloud_platform__"
_UNIVERSE = "googleapis.com"


class ConnectionLike(Protocol):
    """What we need of an Airflow connection, whichever of Airflow's classes it is."""

    @property
    def conn_id(self) -> str:
        """Name of the connection."""

    @property
    def extra_dejson(self) -> Mapping[str, Any]:
        """Its ``extra`` as a dict."""


@dataclass(frozen=True, repr=False)
class GoogleConnection:
    """The fields of one connection; it has no repr, because they hold keys.

    :param chain: accounts to impersonate, each by the one before it; the last is who we are
    """

    conn_id: str
    fields: Mapping[str, Any]
    chain: Sequence[str]
    scopes: Sequence[str]

    @classmethod
    def read(
        cls,
        conn_id: str,
        extra: Any,
        impersonation_chain: str | Sequence[str] | None,
        scopes: Sequence[str] | None,
    ) -> GoogleConnection:
        """Read the ``extra`` of a connection; arguments go before its ``impersonation_chain`` and ``scope``.

        :raises BadRequest: when it is no object, or names more than one source of credentials
        """
        if not isinstance(extra, Mapping):
            raise BadRequest(f"Google connection {conn_id!r}, extra: is not a JSON object. Write {{...}}.")
        fields = _plain_names(extra)
        connection = cls(
            conn_id,
            fields,
            _words(impersonation_chain or fields.get("impersonation_chain")),
            _words(scopes or fields.get("scope")) or [CLOUD_PLATFORM],
        )
        sources = [name for name in SOURCES if name in fields]
        if len(sources) > 1:
            raise connection.refuse(" and ".join(sources), "exclude one another", "Keep one of them.")
        return connection

    @property
    def source(self) -> str:
        """The field that the credentials come from."""
        return next((name for name in SOURCES if name in self.fields), "default credentials")

    @property
    def anonymous(self) -> bool:
        """Whether requests go out without credentials."""
        return "is_anonymous" in self.fields

    def text(self, field: str) -> str | None:
        """Return a field as text, None if it is not set."""
        value = self.fields.get(field)
        return None if value is None else str(value)

    def refuse(self, field: str, problem: str, remedy: str) -> BadRequest:
        """Return an error that says where, what and what to do; the caller keeps secrets out of it."""
        return BadRequest(f"Google connection {self.conn_id!r}, {field}: {problem.rstrip('.')}. {remedy}")

    def in_universe(self, url: str) -> str:
        """Return a Google URL as it is in the universe of this connection."""
        universe = self.text("universe_domain") or os.environ.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN")
        return url.replace(_UNIVERSE, universe) if universe else url

    def endpoints(self) -> dict[str, str]:
        """Return the URLs of ``api_endpoints``, without trailing slashes.

        :raises BadRequest: when it is not an object of known services and http(s) URLs
        """
        field = "api_endpoints"
        if field not in self.fields:
            return {}
        urls = self.parsed(field, self.fields[field])
        if not urls.keys() <= set(SERVICES):
            raise self.refuse(field, "unknown service", f"Known services: {', '.join(SERVICES)}.")
        return {service: self._base_url(f"{field}.{service}", url) for service, url in urls.items()}

    def _base_url(self, field: str, url: Any) -> str:
        parts = split(url)
        plain = parts and parts.scheme in ("http", "https") and parts.hostname
        if parts is None or not plain or "@" in parts.netloc or parts.query or parts.fragment:
            remedy = "Write it like https://bigquery.example.com, without user, query and fragment."
            raise self.refuse(field, "is not a base URL", remedy)
        return str(url).strip().rstrip("/")

    def parsed(self, field: str, value: Any) -> dict[str, Any]:
        """Return a JSON object that may be written as text.

        :raises BadRequest: when it is none; the message does not quote it
        """
        if isinstance(value, str):
            try:
                value = json.loads(value, strict=False)  # pasted keys often hold real line breaks
            except ValueError:
                raise self.refuse(field, "is not valid JSON", "Store all of it, from { to }.") from None
        if not isinstance(value, dict):
            raise self.refuse(field, "is not a JSON object", "Store all of it, from { to }.")
        return value


def split(url: Any) -> SplitResult | None:
    """Return the parts of a URL, None if it is none."""
    text = str(url).strip()
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises when it is not a number
    except ValueError:
        return None
    return None if re.search(r"\s", text) else parts


def _plain_names(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the legacy prefix, and what Airflow's form leaves empty; a plain name wins, even an empty one."""
    old = {k[len(_LEGACY_PREFIX) :]: v for k, v in extra.items() if k.startswith(_LEGACY_PREFIX)}
    new = {k: v for k, v in extra.items() if not k.startswith(_LEGACY_PREFIX)}
    fields = {k: v for k, v in {**old, **new}.items() if v}
    if not _is_true(fields.get("is_anonymous")):
        fields.pop("is_anonymous", None)
    return fields


def _is_true(value: Any) -> bool:
    return value.strip().lower() in ("true", "1", "yes", "on") if isinstance(value, str) else bool(value)


def _words(value: str | Sequence[str] | None) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value or ()
    return [word.strip() for word in parts if word.strip()]
