"""The body of an answer: read and unpacked up to a limit, whatever the service sends.

Both clients can unpack by themselves, but what comes out has no limit: 64 kB of network are 64 MB of zeros, or with
some codecs gigabytes. So they hand over what was sent, and it is unpacked here, no further than agreed.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ork_provider.errors import BadRequest, TryAgain, UnknownOutcome

if TYPE_CHECKING:
    from ork_provider.session.door import Request

ENCODINGS = "gzip, deflate"
"""What services may pack with: what Python itself unpacks, and with a limit."""

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Limited:
    """Collects a body up to ``limit`` bytes, unpacked.

    :param encoding: the answer's ``Content-Encoding``
    """

    def __init__(self, encoding: str, limit: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", *_WINDOW_BITS):
            raise ValueError(f"packed as {encoding[:40]!r}, which was not asked for ({ENCODINGS})")
        self._limit = limit
        self._unpacker = zlib.decompressobj(_WINDOW_BITS[encoding]) if encoding in _WINDOW_BITS else None
        self._may_be_raw = encoding == "deflate"  # some servers leave the zlib header out
        self.body = bytearray()

    @property
    def is_too_large(self) -> bool:
        """Whether there is more than the limit."""
        return len(self.body) > self._limit

    def add(self, chunk: bytes) -> None:
        """Take what was sent; raise ValueError if it cannot be unpacked."""
        self.body += chunk if self._unpacker is None else self._unpack(chunk)

    def _unpack(self, chunk: bytes) -> bytes:
        assert self._unpacker is not None
        if self._unpacker.eof:  # what follows the end would be kept without limit
            return b""
        room = self._limit + 1 - len(self.body)
        try:
            unpacked = self._unpacker.decompress(chunk, room)
        except zlib.error as exc:
            if not self._may_be_raw:
                raise ValueError("packed, and cannot be unpacked") from exc
            self._unpacker, self._may_be_raw = zlib.decompressobj(-15), False
            return self._unpack(chunk)
        self._may_be_raw = self._may_be_raw and not chunk
        return unpacked

    def end(self) -> bytes:
        """Return the body, cut to the limit; raise ValueError if its end is missing."""
        if self._unpacker and self.body and not self.is_too_large and not self._unpacker.eof:
            raise ValueError("packed, and its end is missing")
        return bytes(self.body[: self._limit])


async def read_body(chunks: AsyncIterator[bytes], request: Request, status: int, encoding: str) -> bytes:
    """Return an answer's body; of a refusal no more than the limit, because it is only quoted.

    :raises BadRequest: it is larger than agreed (UnknownOutcome where the request may have had an effect)
    :raises TryAgain: it cannot be unpacked
    """
    try:
        read = Limited(encoding, request.max_body)
        async for chunk in chunks:
            read.add(chunk)
            if read.is_too_large:
                break
        if read.is_too_large and status < 400:
            raise _too_large(request)
        return read.end()
    except ValueError as exc:
        raise TryAgain(f"{request}: the answer is {exc}") from exc


def _too_large(request: Request) -> BadRequest:
    kind = BadRequest if request.method in ("GET", "HEAD") else UnknownOutcome
    return kind(
        f"{request}: the answer is larger than {request.max_body} bytes; "
        "ask the service for less, or raise max_body_bytes."
    )
