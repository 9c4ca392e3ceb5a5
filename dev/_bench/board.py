"""What the benchmark and the triggerer share: an order, and numbers in a file that both have mapped into memory."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from _bench.contenders import Addresses

SLOTS = ("pid", "waves", "running", "reported", "failed", "stop")
"""Process id of the runner; waves of triggers handed in; triggers that run; events; failures; 1 to end it."""

_SIZE = 8


class Board:
    """Named numbers; one process writes each of them, others may read it at any time, at no cost for the first."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_SIZE * len(SLOTS)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def __getitem__(self, name: str) -> int:
        (value,) = struct.unpack_from("=q", self._map, SLOTS.index(name) * _SIZE)
        return int(value)

    def __setitem__(self, name: str, value: int) -> None:
        struct.pack_into("=q", self._map, SLOTS.index(name) * _SIZE, value)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the benchmark wants of a triggerer; it lies in its folder as `order.pickle`.

    :param per_loop: triggers to start in one loop of the supervisor
    """

    addresses: Addresses
    prepare: tuple[str, ...] = ()
    per_loop: int = 50
