"""Where things are in an Excalidraw file: boxes, outlines, the room for a text, the segments of an arrow."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

Element = dict[str, Any]
Point = tuple[float, float]
PADDING = 5
"""Excalidraw's distance between a shape and its text."""


class Box(NamedTuple):
    """A rectangle that stands upright."""

    left: float
    top: float
    right: float
    bottom: float

    def grown(self, by: float) -> Box:
        """Return the box with so many pixels more on each side."""
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def meets(self, other: Box) -> bool:
        """Tell whether the two have a point in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def holds(self, other: Box) -> bool:
        """Tell whether the other lies inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom

    @property
    def middle(self) -> Point:
        """The point in the middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


def box(element: Element) -> Box:
    """Return where an element is."""
    x, y = element["x"], element["y"]
    if element["type"] == "arrow":
        xs, ys = zip(*points(element), strict=True)
        return Box(min(xs), min(ys), max(xs), max(ys))
    return Box(x, y, x + element["width"], y + element["height"])


def points(arrow: Element) -> list[Point]:
    """Return the corners of an arrow."""
    return [(arrow["x"] + dx, arrow["y"] + dy) for dx, dy in arrow["points"]]


def label_place(corners: list[Point]) -> Point:
    """Return where the label of an arrow has its middle: where the editor puts it."""
    at = len(corners) // 2
    if len(corners) % 2:
        return corners[at]
    (x1, y1), (x2, y2) = corners[at - 1], corners[at]
    return (x1 + x2) / 2, (y1 + y2) / 2


def text_width(shape: str, width: float) -> float:
    """Return how wide a text in a shape may be, by the rules of the editor."""
    room = {"ellipse": width / 2 * math.sqrt(2), "diamond": width / 2}.get(shape, width)
    return room - 2 * PADDING


def text_height(shape: str, height: float) -> float:
    """Return how high a text in a shape may be."""
    return text_width(shape, height)


def crosses(a: Point, b: Point, target: Box) -> bool:
    """Tell whether the straight line from a to b has a point inside the box."""
    low, high = 0.0, 1.0
    for start, end, least, most in ((a[0], b[0], target.left, target.right), (a[1], b[1], target.top, target.bottom)):
        way = end - start
        if abs(way) < 1e-9:
            if not least < start < most:
                return False
            continue
        first, last = sorted(((least - start) / way, (most - start) / way))
        low, high = max(low, first), min(high, last)
    return low < high


def segments(arrow: Element) -> list[tuple[Point, Point]]:
    """Return the straight parts of an arrow."""
    corners = points(arrow)
    return list(pairwise(corners))
