"""A sheet to lay a diagram out on: boxes at places, arrows between their sides; gives an Excalidraw file."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

from _diagrams.font import LINE_HEIGHT, MONO, SANS, height, width, wrap
from _diagrams.geometry import PADDING, Element, Point, box, label_place, text_height, text_width

GAP = 4
INK = "#1e1e1e"
Place = tuple[float, float, float, float]
"""x, y, width, height."""
NORMALS = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}


@dataclass
class Sheet:
    """One diagram. `name` is its file, `title` what it shows."""

    name: str
    title: str
    elements: list[Element] = field(default_factory=list)

    def zone(self, key: str, text: str, place: Place, fill: str) -> None:
        """Draw a box that holds others; its text stands on top."""
        shape = self._shape(key, "rectangle", place, fill)
        shape.update(strokeColor="#868e96", strokeStyle="dashed", strokeWidth=1)
        self._words(shape, text, 16, SANS, top=True)

    def box(
        self,
        key: str,
        text: str,
        place: Place,
        fill: str,
        *,
        shape: str = "rectangle",
        size: float = 14,
        mono: bool = False,
    ) -> None:
        """Draw a shape with its text in the middle."""
        self._words(self._shape(key, shape, place, fill), text, size, MONO if mono else SANS)

    def note(self, key: str, text: str, place: tuple[float, float, float], *, size: float = 12) -> None:
        """Write a text of its own; the third number says how wide."""
        x, y, w = place
        self._text(key, None, wrap(text, w, size), text, (x, y), size, SANS, "left")

    def arrow(
        self, start: str, end: str, label: str = "", *, at: float | None = None, room: float = 150, both: bool = False
    ) -> None:
        """Draw an arrow from a side to a side, as `box.right` or `box.right:0.25`, which is a place along it.

        `at`: where the part in the middle runs, if there are three. `room`: how wide the label may be. `both`: it has
        a head at either end.
        """
        (key1, side1, from_), (key2, side2, to) = self._port(start), self._port(end)
        corners = _route(from_, side1, to, side2, at)
        same = f"{key1}-{key2}"
        name = f"{same}-{sum(e['id'].startswith(same) for e in self.elements if e['type'] == 'arrow') + 1}"
        arrow = self._base(name, "arrow", (corners[0][0], corners[0][1], 0, 0), "transparent")
        arrow["points"] = [[x - corners[0][0], y - corners[0][1]] for x, y in corners]
        place = box(arrow)
        arrow.update(
            width=place.right - place.left,
            height=place.bottom - place.top,
            lastCommittedPoint=None,
            startBinding={"elementId": key1, "focus": 0, "gap": GAP},
            endBinding={"elementId": key2, "focus": 0, "gap": GAP},
            startArrowhead="triangle" if both else None,
            endArrowhead="triangle",
            elbowed=False,
        )
        self.elements.append(arrow)
        for key in {key1, key2}:
            self._get(key)["boundElements"].append({"type": "arrow", "id": name})
        if label:
            lines = wrap(label, room, 12)
            middle = label_place(corners)
            w, h = max(width(line, 12) for line in lines.split("\n")), height(lines, 12)
            self._text(f"{name}-text", arrow, lines, label, (middle[0] - w / 2, middle[1] - h / 2), 12, SANS, "center")

    def drawing(self) -> Element:
        """Return the Excalidraw file: what others stand on first."""
        return {
            "type": "excalidraw",
            "version": 2,
            "source": "https://excalidraw.com",
            "elements": self.elements,
            "appState": {"gridSize": 20, "gridStep": 5, "gridModeEnabled": False, "viewBackgroundColor": "#ffffff"},
            "files": {},
        }

    def _get(self, key: str) -> Element:
        return next(element for element in self.elements if element["id"] == key)

    def _port(self, name: str) -> tuple[str, str, Point]:
        key, _, rest = name.partition(".")
        side, _, share = rest.partition(":")
        place, along, (dx, dy) = box(self._get(key)), float(share or 0.5), NORMALS[side]
        x = place.left + along * (place.right - place.left) if dy else (place.left, place.right)[dx > 0]
        y = place.top + along * (place.bottom - place.top) if dx else (place.top, place.bottom)[dy > 0]
        return key, side, (x + dx * GAP, y + dy * GAP)

    def _shape(self, key: str, kind: str, place: Place, fill: str) -> Element:
        shape = self._base(key, kind, place, fill)
        self.elements.append(shape)
        return shape

    def _words(self, shape: Element, text: str, size: float, family: int, top: bool = False) -> None:
        kind = shape["type"]
        lines = wrap(text, text_width(kind, shape["width"]), size, family)
        w, h = max(width(line, size, family) for line in lines.split("\n")), height(lines, size)
        if h > text_height(kind, shape["height"]) + 1e-6 or w > text_width(kind, shape["width"]) + 1e-6:
            raise ValueError(f"{self.name}: {shape['id']}: the text needs {w:.0f} x {h:.0f}")
        x, y = box(shape).middle
        y = shape["y"] + PADDING + 3 if top else y - h / 2
        self._text(f"{shape['id']}-text", shape, lines, text, (x - w / 2, y), size, family, "center", top)

    def _text(  # noqa: PLR0917 - the parts of one text
        self,
        key: str,
        container: Element | None,
        lines: str,
        original: str,
        place: Point,
        size: float,
        family: int,
        align: str,
        top: bool = False,
    ) -> None:
        w, h = max(width(line, size, family) for line in lines.split("\n")), height(lines, size)
        text = self._base(key, "text", (place[0], place[1], w, h), "transparent")
        text.update(
            fontSize=size,
            fontFamily=family,
            text=lines,
            originalText=original,
            textAlign=align,
            verticalAlign="top" if top or container is None else "middle",
            containerId=container["id"] if container else None,
            autoResize=True,
            lineHeight=LINE_HEIGHT,
        )
        self.elements.append(text)
        if container:
            container["boundElements"].append({"type": "text", "id": key})

    def _base(self, key: str, kind: str, place: Place, fill: str) -> Element:
        if any(element["id"] == key for element in self.elements):
            raise ValueError(f"{self.name}: two elements are named {key}")
        seed = zlib.crc32(f"{self.name}/{key}".encode())
        x, y, w, h = place
        common: dict[str, Any] = {
            "id": key,
            "type": kind,
            "x": x,
            "y": y,
            "width": w,
            "height": h,
            "angle": 0,
            "strokeColor": INK,
            "backgroundColor": fill,
            "fillStyle": "solid",
            "strokeWidth": 1.5,
            "strokeStyle": "solid",
            "roughness": 0,
            "opacity": 100,
            "groupIds": [],
            "frameId": None,
            "roundness": {"type": 3} if kind == "rectangle" else None,
            "seed": seed,
            "version": 1,
            "versionNonce": seed,
            "isDeleted": False,
            "boundElements": [],
            "updated": 1,
            "link": None,
            "locked": False,
        }
        return common


def _route(start: Point, side1: str, end: Point, side2: str, at: float | None) -> list[Point]:
    level1, level2 = side1 in ("left", "right"), side2 in ("left", "right")
    if level1 and level2:
        if at is None and abs(start[1] - end[1]) < 1:
            return [start, end]
        x = (start[0] + end[0]) / 2 if at is None else at
        return [start, (x, start[1]), (x, end[1]), end]
    if not level1 and not level2:
        if at is None and abs(start[0] - end[0]) < 1:
            return [start, end]
        y = (start[1] + end[1]) / 2 if at is None else at
        return [start, (start[0], y), (end[0], y), end]
    return [start, (end[0], start[1]) if level1 else (start[0], end[1]), end]
