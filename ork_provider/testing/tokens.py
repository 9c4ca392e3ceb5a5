"""OAuth for the fakes: a token endpoint for service account keys, and the check of what it issued."""

from __future__ import annotations

import base64
import binascii
import json
from urllib.parse import parse_qs

from ork_provider.testing.faults import Answer, Refused
from ork_provider.testing.server import RecordedRequest

ANONYMOUS = "anonymous@ork-sandbox.iam.gserviceaccount.com"


class Tokens:
    """Issues bearer tokens that live for `seconds` of the caller's clock."""

    def __init__(self, seconds: float = 3600.0) -> None:
        self.seconds = seconds
        self.issued: dict[str, tuple[str, float]] = {}

    def issue(self, request: RecordedRequest) -> Answer:
        """Answer `POST /token` as https://oauth2.googleapis.com/token does."""
        form = parse_qs(request.body.decode())
        if "grant_type" not in form:
            error = {"error": "invalid_request", "error_description": "No grant_type."}
            raise Refused(Answer.json(error, 400))
        token = f"fake-token-{len(self.issued) + 1}"
        email = _issuer(form.get("assertion", [""])[0])
        self.issued[token] = (email, request.at + self.seconds)
        return Answer.json({"access_token": token, "expires_in": int(self.seconds), "token_type": "Bearer"})

    def revoke(self) -> None:
        """Make every token that was issued so far invalid."""
        self.issued = {token: (email, float("-inf")) for token, (email, _) in self.issued.items()}

    def email(self, request: RecordedRequest) -> str | None:
        """Name the account whose valid token the request carries, if any."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        email, expires = self.issued.get(token, ("", float("-inf")))
        return email if scheme.lower() == "bearer" and request.at < expires else None


def _issuer(assertion: str) -> str:
    """Read the account's email from a JWT without checking its signature."""
    try:
        claims = assertion.split(".")[1]
        decoded = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
        return str(json.loads(decoded).get("iss", ANONYMOUS))
    except (IndexError, binascii.Error, ValueError):
        return ANONYMOUS
