"""The way to the token server: what google-auth calls for each HTTP request, on httpx."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from google.auth.exceptions import TransportError

from ork_provider.google.connection import split
from ork_provider.session import Response, retry_after, tls_context
from ork_provider.text import one_line

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

TIMEOUT = 10.0
"""Seconds that a request for a token may take to connect, and between two pieces of the answer."""


@dataclass(frozen=True, repr=False)
class Answer:
    """An answer in the words of ``google.auth.transport.Response``; no repr, because it holds tokens."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class TokenRequest:
    """A ``google.auth.transport.Request`` that remembers how the last request went.

    Google's own implementations need ``requests``. What may pass by itself (``trouble``) is raised at once,
    so that the waiting loop backs off and not google-auth; ``refusal`` says what any other answer was.
    """

    def __init__(self) -> None:
        self._client: httpx.Client | None = None
        self._forget("")

    def _forget(self, url: str) -> None:
        self.url = url
        self.trouble = ""
        self.refusal = ""
        self.retry_after: float | None = None

    @property
    def origin(self) -> str:
        """Scheme and host of the last request."""
        parts = split(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts else "the token server"

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        cert: tuple[str, str] | None = None,
    ) -> Answer:
        """Make a request.

        :param cert: certificate and key file, for workload identity by X.509
        :raises google.auth.exceptions.TransportError: no answer, or one that says to come again
        """
        self._forget(url)
        limit = min(timeout or TIMEOUT, TIMEOUT)
        try:
            answer = self._open(cert).request(method, url, content=body, headers=headers, timeout=limit)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError, OSError) as exc:
            self.refusal = f"cannot call {self.origin} ({type(exc).__name__}): check URL, proxy, certificates"
            raise TransportError(self.refusal) from None  # type: ignore[no-untyped-call]
        except httpx.RequestError as exc:
            self.trouble = f"{type(exc).__name__} at {self.origin}"
            raise TransportError(self.trouble) from exc  # type: ignore[no-untyped-call]
        self._judge(answer)
        if self.trouble:
            raise TransportError(self.trouble)  # type: ignore[no-untyped-call]
        return Answer(answer.status_code, answer.headers, answer.content)

    def _open(self, cert: tuple[str, str] | None) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(verify=_tls(cert), follow_redirects=False, trust_env=True)
        return self._client

    def _judge(self, answer: httpx.Response) -> None:
        status, page = answer.status_code, "html" in answer.headers.get("content-type", "")
        said = f"HTTP {status} from {self.origin}{', an HTML page' if page else _reason(answer.content)}"
        if status in (408, 429) or status >= 500 or (status == 200 and page):
            self.trouble = said
            self.retry_after = retry_after(Response(status=status, headers=answer.headers, body=b""))
        else:
            self.refusal = said


def _tls(cert: tuple[str, str] | None) -> ssl.SSLContext:
    if cert is None:
        return tls_context()
    context: ssl.SSLContext = tls_context.__wrapped__()  # not the shared one: this one knows our certificate
    context.load_cert_chain(*cert)
    return context


def _reason(content: bytes) -> str:
    """Return what the server says is wrong, from the fields that Google uses; never the body as it is."""
    try:
        data = json.loads(content)
        error = data["error"]
        said = error["message"] if isinstance(error, dict) else f"{error}: {data.get('error_description', '')}"
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""
    return f", {one_line(str(said).rstrip(': '), 300)}"
