"""What in a request must not be seen: secret headers, in templates, rendered fields, logs and messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ork_provider.session.door import Request, Response

HIDDEN = "***"

_SECRET_HEADERS = (
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "api-key",
    "apikey",
    "credential",
)

_SHORTEST = 6
"""Characters of a value that is looked for in texts; a shorter one would be found everywhere."""


def is_secret(header: str) -> bool:
    """Whether a header's value must not be seen."""
    return any(word in header.lower() for word in _SECRET_HEADERS)


class Headers(Mapping[str, Any]):
    """Headers as an operator keeps them: Airflow renders them, but never gets to show a secret one.

    A template field's value is stored in the metadata database twice: with the DAG, and rendered. Airflow asks an
    object with ``template_fields`` for what to render and one with ``serialize`` for what to store.
    """

    template_fields = ("content",)

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = dict(content)

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)

    def serialize(self) -> dict[str, Any]:
        """Return what may be seen."""
        return {name: HIDDEN if is_secret(str(name)) else value for name, value in self.content.items()}

    def __repr__(self) -> str:
        return repr(self.serialize())


def hide_headers(value: Any) -> Any:
    """Return a dict of headers as Headers; anything else, and a dict that Airflow has yet to resolve, as it is."""
    return Headers(value) if isinstance(value, dict) and not _has_references(value) else value


def _has_references(value: Mapping[str, Any]) -> bool:
    """Whether a dict holds outputs of other tasks: Airflow finds them in plain dicts only."""
    return any(hasattr(item, "iter_references") for item in value.values())


def scrub(request: Request, response: Response) -> Response:
    """Return a refusal without the secrets that the request had: services like to quote what they refuse."""
    if response.status < 300:
        return response
    body = response.body
    for secret in sorted(secrets_of(request.headers), key=len, reverse=True):
        body = body.replace(secret.encode(), HIDDEN.encode())
    return response if body == response.body else replace(response, body=body)


def secrets_of(headers: Mapping[str, str]) -> set[str]:
    """Return the secret values among headers, whole and without their scheme (``Bearer``)."""
    values = {value for name, value in headers.items() if is_secret(name) and isinstance(value, str)}
    parts = {value.partition(" ")[2] for value in values}
    return {secret for secret in values | parts if len(secret) >= _SHORTEST}
