"""How much of an answer is read: no service, broken or hostile, fills the memory or holds up a wait for ever."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from ork_provider.errors import BadRequest, TryAgain, UnknownOutcome
from ork_provider.session import AiohttpDoor, Door, HttpxDoor, Request, check


@pytest.fixture(params=[HttpxDoor, AiohttpDoor])
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """Each door in turn."""
    made = request.param()
    yield made
    await made.close()


@contextmanager
def serving(speak: Callable[[socket.socket], None], seen: list[bytes] | None = None) -> Iterator[str]:
    """Serve one connection after another with ``speak``, once the request has come; note it in ``seen``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # the client has left
                    (seen if seen is not None else []).append(connection.recv(65536))
                    speak(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        listening.shutdown(socket.SHUT_RDWR)


def sends(*parts: bytes) -> Callable[[socket.socket], None]:
    """Return a server that sends this and hangs up."""
    return lambda connection: [connection.sendall(part) for part in parts] and None


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode()


def get(url: str, **more: Any) -> Request:
    return Request(**{"method": "GET", "url": url, "max_body": 1000, "timeout": 20, **more})


def bomb(size: int) -> bytes:
    """Return that many zeros in gzip form, a thousandth of it: one packed block, again and again."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * (size // 2**20 - 1)


async def test_gzip_bomb(door: Door) -> None:
    """A gigabyte of zeros in a megabyte of gzip is refused when the limit is passed, in little memory."""
    packed = bomb(2**30)
    assert len(packed) < 2**21
    with serving(sends(head("Content-Encoding: gzip", f"Content-Length: {len(packed)}"), packed)) as url:
        with pytest.raises(BadRequest):  # what is imported at the first request does not count
            await door.send(get(url))
        tracemalloc.start()
        try:
            with pytest.raises(BadRequest, match=f"larger than {2**20} bytes"):
                await door.send(get(url, max_body=2**20))
            assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
        finally:
            tracemalloc.stop()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-Gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", lambda body: zlib.compress(body)[2:-4]),
    "plain": ("identity", bytes),
}


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize(("size", "fits"), [(0, True), (1, True), (1000, True), (1001, False), (5_000_000, False)])
async def test_limit_counts_what_is_unpacked(door: Door, name: str, size: int, fits: bool) -> None:
    """However an answer is packed, the limit is for what it holds."""
    encoding, pack = PACKERS[name]
    packed = pack(b"7" * size)
    with serving(sends(head(f"Content-Encoding: {encoding}", f"Content-Length: {len(packed)}"), packed)) as url:
        if fits:
            assert (await door.send(get(url))).body == b"7" * size
            return
        with pytest.raises(BadRequest, match="larger than 1000 bytes"):
            await door.send(get(url))


async def test_packed_answer_in_pieces(door: Door) -> None:
    """A packed answer may come byte by byte."""
    packed = gzip.compress(b'{"status": "completed"}' * 20)
    pieces = [packed[i : i + 1] for i in range(len(packed))]
    with serving(sends(head("Content-Encoding: gzip", f"Content-Length: {len(packed)}"), *pieces)) as url:
        assert (await door.send(get(url))).body == b'{"status": "completed"}' * 20


PACKED = gzip.compress(b'{"status": "completed"}' * 20, mtime=0)


@pytest.mark.parametrize(
    ("encoding", "body", "said"),
    [
        ("br", b"\x0b\x02\x80{}\x03", "packed as 'br', which was not asked for"),
        ("zstd", b"\x28\xb5\x2f\xfd", "packed as 'zstd'"),
        ("gzip, gzip", gzip.compress(PACKED, mtime=0), "packed as 'gzip, gzip'"),
        ("gzip", b"<html>", "cannot be unpacked"),
        ("deflate", b"<html>", "cannot be unpacked"),
        ("gzip", PACKED[:20] + b"xxxx" + PACKED[24:], "cannot be unpacked|its end is missing"),
        ("gzip", PACKED[:-9], "its end is missing"),
    ],
    ids=["br", "zstd", "packed twice", "no gzip", "no deflate", "damaged", "cut"],
)
async def test_answer_that_cannot_be_unpacked(door: Door, encoding: str, body: bytes, said: str) -> None:
    """A packed answer that is damaged, or packed otherwise, is no answer: ask again, never half of it."""
    with (
        serving(sends(head(f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}"), body)) as url,
        pytest.raises(TryAgain, match=rf"^GET {url}: the answer is .*({said})"),
    ):
        await door.send(get(url))


def forever(start: bytes, again: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    """Return a server that never ends its answer."""

    def speak(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(again)
            time.sleep(pause)

    return speak


CHUNKED = head("Transfer-Encoding: chunked")
EMPTY_BLOCKS = b"5\r\n" + b"\x00\x00\x00\xff\xff" + b"\r\n"
ENDLESS = {
    "chunks": (CHUNKED, b"400\r\n" + b"x" * 1024 + b"\r\n"),
    "no length": (head(), b"x" * 1024),
    "after the end of gzip": (head("Content-Encoding: gzip") + PACKED, b"x" * 65536),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 1000 + b"\r\n"),
    "small headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "one header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"b" * 65536),
    "status line": (b"HTTP/1.1 200 ", b"b" * 65536),
    "trailers": (CHUNKED + b"0\r\n", b"X-A: " + b"b" * 1000 + b"\r\n"),
    "chunk extensions": (CHUNKED + b"1;a=", b"b" * 65536),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_endless_answer(door: Door, name: str) -> None:
    """An answer that never ends, sent as fast as can be, is given up at a limit, or at the timeout in little memory."""
    with serving(forever(*ENDLESS[name])) as url:
        await _quietly(door, get(url, timeout=0.2))  # what is imported at the first request does not count
        tracemalloc.start()
        try:
            began = time.monotonic()
            with suppress(BadRequest, TryAgain):
                await door.send(get(url, timeout=0.5, max_body=65536))
            assert time.monotonic() - began < 5
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()


async def _quietly(door: Door, request: Request) -> None:
    with suppress(BadRequest, TryAgain):
        await door.send(request)


SLOW = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "body": (head("Content-Length: 100000"), b" "),
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "packed nothing": (
        head("Content-Encoding: deflate", "Transfer-Encoding: chunked") + b"2\r\n\x78\x9c\r\n",
        EMPTY_BLOCKS,
    ),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
async def test_slow_answer(door: Door, name: str) -> None:
    """An answer that drips is given up when the time of the request is over, however it drips."""
    with serving(forever(*SLOW[name], pause=0.02)) as url, pytest.raises(TryAgain, match="Timeout"):
        await asyncio.wait_for(door.send(get(url, timeout=0.4)), 10)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x1b[2J\x0b[2026-11-20] INFO fine " + b"x" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\x1b[2J-" + b"x" * 5000 + b": y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \x1b[2J" + b"x" * 5000 + b"\r\n\r\n",
    ],
    ids=["status line", "header", "length"],
)
async def test_what_is_no_http_is_quoted_in_one_line(door: Door, answer: bytes) -> None:
    """The clients quote what they do not understand; in our error it is one line, and not a long one."""
    with serving(sends(answer)) as url, pytest.raises(TryAgain) as caught:
        await door.send(get(url))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


async def test_large_refusal_is_cut(door: Door) -> None:
    """A large page that says 503 means 503: it is quoted, not waited for to its end, and asked again."""
    page = b"<html>" * 10_000
    request_ = head(f"Content-Length: {len(page)}", status="503 Service Unavailable")
    with serving(sends(request_, page)) as url:
        request = get(url)
        response = await door.send(request)
        assert len(response.body) == 1000
        with pytest.raises(TryAgain, match="answered 503"):
            check(request, response)


async def test_large_answer_to_a_start(door: Door) -> None:
    """When the answer to a request that starts a job is too large, nobody may say that nothing was started."""
    with (
        serving(sends(head("Content-Length: 5000"), b"x" * 5000)) as url,
        pytest.raises(UnknownOutcome, match="larger"),
    ):
        await door.send(get(url, method="POST"))


async def test_what_is_asked_for(door: Door) -> None:
    """Only what can be unpacked up to a limit is asked for, whatever codecs are installed."""
    seen: list[bytes] = []
    with serving(sends(head("Content-Length: 2"), b"{}"), seen) as url:
        await door.send(get(url))
    (line,) = [line for line in seen[0].lower().split(b"\r\n") if line.startswith(b"accept-encoding")]
    assert line == b"accept-encoding: gzip, deflate"
    assert get("http://h").all_headers["Accept-Encoding"] == "gzip, deflate"  # not left to the clients
