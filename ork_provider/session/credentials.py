"""Requests that say who sends them; a 401 renews what is said, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from ork_provider.session.door import Door, Request, Response
from ork_provider.session.secrets import scrub


class Credentials(Protocol):
    """Headers that say who we are."""

    async def headers(self) -> dict[str, str]:
        """Return the headers to send now; cheap when nothing has to be renewed."""
        ...

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        """Forget what the service has just refused (the ``stale`` headers)."""
        ...


async def send_as(door: Door, credentials: Credentials, request: Request) -> Response:
    """Send with credentials; a 401 renews them and asks once more.

    Any other answer is returned as it is, a refusal without the secrets that we sent.
    """
    signed = await credentials.headers()
    sent = _sign(request, signed)
    response = await door.send(sent)
    if response.status == 401:
        await credentials.renew(signed)
        sent = _sign(request, await credentials.headers())
        response = await door.send(sent)
    return scrub(sent, response)


def _sign(request: Request, headers: Mapping[str, str]) -> Request:
    """Add the credentials; a header that the request has already, in whatever case, stays as it is."""
    given = {name.lower() for name in request.headers}
    missing = {name: value for name, value in headers.items() if name.lower() not in given}
    return replace(request, headers={**request.headers, **missing})
