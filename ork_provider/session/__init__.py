"""The door to the world.

Requests and answers (``door``), where a URL leads (``origin``), how much of an answer is read (``body``), what an
answer means (``answers``), who sends (``credentials``), what must not be seen (``secrets``), and what one event loop
has of it all (``connections``).
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
from ork_provider.session.origin import HostRule, Origin, check_host, read_origin, read_rules, same_origin
from ork_provider.session.secrets import (
    Headers,
    hide_headers,
    hide_secrets,
    is_secret,
    seal,
    secrets_of,
    secrets_of_url,
    show_url,
    unseal,
)

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
    "HostRule",
    "HttpxDoor",
    "Origin",
    "ReadConnection",
    "Request",
    "Response",
    "Session",
    "check",
    "check_host",
    "hide_headers",
    "hide_secrets",
    "is_secret",
    "proxy_for",
    "read_connection",
    "read_extra",
    "read_origin",
    "read_rules",
    "refusal",
    "retry_after",
    "same_origin",
    "seal",
    "secrets_of",
    "secrets_of_url",
    "send_as",
    "shared_session",
    "show_url",
    "tls_context",
    "unseal",
]
