"""The door to the world.

Requests and answers (``door``), what an answer means (``answers``), who sends (``credentials``), and what one
event loop has of it all (``connections``).
"""

from ork_provider.session.answers import PASSING_REASONS, check, refusal, retry_after
from ork_provider.session.connections import (
    CONNECTION_TTL,
    ReadConnection,
    Session,
    read_connection,
    read_extra,
    shared_session,
)
from ork_provider.session.credentials import Credentials, send_as
from ork_provider.session.door import (
    MAX_BODY,
    QUOTED,
    REQUEST_TIMEOUT,
    AiohttpDoor,
    Door,
    HttpxDoor,
    Request,
    Response,
    proxy_for,
    tls_context,
)
from ork_provider.session.secrets import Headers, hide_headers, is_secret, seal, secrets_of, unseal

__all__ = [
    "CONNECTION_TTL",
    "MAX_BODY",
    "PASSING_REASONS",
    "QUOTED",
    "REQUEST_TIMEOUT",
    "AiohttpDoor",
    "Credentials",
    "Door",
    "Headers",
    "HttpxDoor",
    "ReadConnection",
    "Request",
    "Response",
    "Session",
    "check",
    "hide_headers",
    "is_secret",
    "proxy_for",
    "read_connection",
    "read_extra",
    "refusal",
    "retry_after",
    "seal",
    "secrets_of",
    "send_as",
    "shared_session",
    "tls_context",
    "unseal",
]
