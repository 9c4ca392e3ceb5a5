"""What the fakes of Google's services share: one Airflow connection, tokens, and partial answers."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from typing import Any, ClassVar

from ork_provider.testing.faults import Answer, Refused
from ork_provider.testing.fields import BadMask, Mask, asked_of, cut, parse_mask
from ork_provider.testing.server import FakeServer, RecordedRequest
from ork_provider.testing.tokens import ANONYMOUS, Tokens

PROJECT = "ork-sandbox"
"""Project of the connection that reaches the fakes."""

REGION = "europe-west1"
"""Region of jobs that are seeded in a fake."""


class GoogleServer(FakeServer):
    """Base of the fakes of Google's services.

    `require_auth=True` answers 401 to requests without a token from `POST /token`; tokens live for
    `token_seconds`.
    """

    endpoint_name: ClassVar[str]
    """Name of the service under `api_endpoints` in the connection's extra."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        require_auth: bool = False,
        token_seconds: float = 3600.0,
        **server: Any,
    ) -> None:
        super().__init__(host, port, **server)
        self.require_auth = require_auth
        self._tokens = Tokens(token_seconds)

    def connections(self) -> dict[str, str]:
        """Map the Airflow connection that reaches this fake, as environment variable -> JSON."""
        return google_connections(self)

    def revoke_tokens(self) -> None:
        """Make every access token issued so far answer 401 (with `require_auth=True`)."""
        self._tokens.revoke()

    def authorize(self, request: RecordedRequest) -> None:
        """Refuse a request without a valid token, if tokens are required."""
        if self.require_auth and request.path != "/token" and self._tokens.email(request) is None:
            message = "Request had invalid authentication credentials. Expected OAuth 2 access token."
            raise Refused(Answer.google_error(401, "authError", message))

    def _token(self, request: RecordedRequest) -> Answer:
        return self._tokens.issue(request)

    def _email(self, request: RecordedRequest) -> str:
        """Name the account that asks."""
        return self._tokens.email(request) or ANONYMOUS

    def _answer(self, request: RecordedRequest, value: dict[str, Any]) -> Answer:
        """Answer with what the request's `fields` mask leaves of a value."""
        return Answer.json(cut(value, self._mask(request)))

    def _mask(self, request: RecordedRequest) -> Mask:
        text = request.query.get("fields")
        try:
            return parse_mask(text) if text else {}
        except BadMask as exc:
            raise Refused(Answer.google_error(400, "invalidParameter", str(exc))) from exc

    def _asked(self, request: RecordedRequest, name: str) -> Container[str]:
        """Name the fields that a request wants of each item of the list `name`."""
        return asked_of(self._mask(request), name)


def google_connections(*fakes: GoogleServer) -> dict[str, str]:
    """Map the one Airflow connection that reaches all of these fakes, as environment variable -> JSON."""
    endpoints = {fake.endpoint_name: fake.url for fake in fakes}
    extra = {"is_anonymous": True, "project": PROJECT, "api_endpoints": endpoints}
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    return {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection, separators=(",", ":"))}


def merged_connections(servers: Sequence[FakeServer]) -> dict[str, str]:
    """Map the Airflow connections that reach any fakes; those of Google's services share one."""
    google = [server for server in servers if isinstance(server, GoogleServer)]
    found = google_connections(*google) if google else {}
    for server in servers:
        if not isinstance(server, GoogleServer):
            found.update(server.connections())
    return found
