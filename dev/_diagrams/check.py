"""What is wrong with an Excalidraw file: its form, its bindings, texts that do not fit, things that overlap."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from _diagrams.font import height, width
from _diagrams.geometry import Box, Element, Point, box, crosses, label_place, points, segments, text_height, text_width
from _diagrams.render import shown

TOP = {"type": str, "version": int, "source": str, "elements": list, "appState": dict, "files": dict}
COMMON = {
    **dict.fromkeys(("id", "type", "strokeColor", "backgroundColor", "fillStyle", "strokeStyle"), str),
    **dict.fromkeys(("x", "y", "width", "height", "angle", "strokeWidth", "opacity"), (int, float)),
    **dict.fromkeys(("roughness", "seed", "version", "versionNonce", "updated"), int),
    **dict.fromkeys(("groupIds", "boundElements"), list),
    **dict.fromkeys(("isDeleted", "locked"), bool),
    "frameId": (str, type(None)),
    "link": (str, type(None)),
    "roundness": (dict, type(None)),
}
SHAPES = ("rectangle", "diamond", "ellipse")
KINDS = {
    **{shape: {} for shape in SHAPES},
    "text": {
        **dict.fromkeys(("text", "originalText", "textAlign", "verticalAlign"), str),
        **dict.fromkeys(("fontSize", "lineHeight"), (int, float)),
        "fontFamily": int,
        "containerId": (str, type(None)),
    },
    "arrow": {
        **dict.fromkeys(("startBinding", "endBinding"), dict),
        **dict.fromkeys(("startArrowhead", "endArrowhead"), (str, type(None))),
        "points": list,
    },
}
SEEN = 9
"""Pixels of an arrow that must be seen on either side of its label."""
FAR = 12
"""Pixels between an arrow's end and its shape from which on they do not look joined."""


def problems(drawing: Element) -> list[str]:
    """List everything that is wrong; nothing of the later kinds before the form is right."""
    wrong = list(_form(drawing))
    if wrong:
        return wrong
    elements = {element["id"]: element for element in drawing["elements"]}
    wrong = list(_bindings(elements))
    return wrong or [*_fits(elements), *_joined(elements), *_hidden(elements), *_overlaps(elements)]


def _form(drawing: Element) -> Iterator[str]:
    yield from _fields(drawing, TOP, "file")
    if (drawing.get("type"), drawing.get("version")) != ("excalidraw", 2):
        yield "file: not an Excalidraw file of version 2"
    names = [element.get("id") for element in drawing.get("elements", [])]
    yield from (f"{name}: this id is there twice" for name in {n for n in names if names.count(n) > 1})
    for element in drawing.get("elements", []):
        kind = element.get("type")
        if kind not in KINDS:
            yield f"{element.get('id')}: unknown type {kind}"
            continue
        yield from _fields(element, {**COMMON, **KINDS[kind]}, element.get("id"))


def _fields(value: Element, fields: Mapping[str, Any], name: object) -> Iterator[str]:
    for field, kind in fields.items():
        if field not in value:
            yield f"{name}: no {field}"
        elif not isinstance(value[field], kind):
            yield f"{name}: {field} is {value[field]!r}"


def _bindings(elements: dict[str, Element]) -> Iterator[str]:
    for name, element in elements.items():
        for bound in element["boundElements"]:
            other = elements.get(bound["id"])
            if other is None or other["type"] != bound["type"] or name not in _ends(other):
                yield f"{name}: is bound to {bound['id']}, which does not know of it"
        for end in _ends(element):
            if end not in elements:
                yield f"{name}: is bound to {end}, which does not exist"
            elif name not in {bound["id"] for bound in elements[end]["boundElements"]}:
                yield f"{name}: is bound to {end}, which does not know of it"


def _ends(element: Element) -> list[str]:
    if element["type"] == "arrow":
        return [element[end]["elementId"] for end in ("startBinding", "endBinding")]
    return [element["containerId"]] if element["type"] == "text" and element["containerId"] else []


def _fits(elements: dict[str, Element]) -> Iterator[str]:
    for name, text in elements.items():
        if text["type"] != "text":
            continue
        lines, size = shown(text, elements), text["fontSize"]
        wide = max(width(line, size, text["fontFamily"]) for line in lines.split("\n"))
        high = height(lines, size)
        if lines != text["text"]:
            yield f"{name}: is drawn in other lines than the file has"
        if wide > text["width"] + 1 or high > text["height"] + 1:
            yield f"{name}: the text needs {wide:.0f} x {high:.0f}"
        container = elements.get(text["containerId"] or "")
        if container and container["type"] != "arrow":
            kind = container["type"]
            room = text_width(kind, container["width"]), text_height(kind, container["height"])
            if wide > room[0] + 1 or high > room[1] + 1 or not box(container).holds(box(text)):
                yield f"{name}: the text does not fit into {container['id']}"


def _joined(elements: dict[str, Element]) -> Iterator[str]:
    for name, arrow in elements.items():
        if arrow["type"] == "arrow":
            corners = points(arrow)
            for end, tip in (("startBinding", corners[0]), ("endBinding", corners[-1])):
                target = elements[arrow[end]["elementId"]]
                if not _touches(target, tip):
                    yield f"{name}: does not reach {target['id']}"


def _touches(shape: Element, tip: Point) -> bool:
    place = box(shape)
    if shape["type"] == "rectangle":
        return place.grown(FAR).holds(Box(*tip, *tip))
    (x, y), (w, h) = place.middle, (shape["width"] / 2, shape["height"] / 2)
    return any(
        abs(tip[0] - cx) + abs(tip[1] - cy) <= FAR for cx, cy in ((x - w, y), (x + w, y), (x, y - h), (x, y + h))
    )


def _hidden(elements: dict[str, Element]) -> Iterator[str]:
    for name, text in elements.items():
        arrow = elements.get(text.get("containerId") or "")
        if arrow and arrow["type"] == "arrow":
            corners = points(arrow)
            middle = label_place(corners)
            if math.dist(middle, box(text).middle) > 1:
                yield f"{name}: is not where the editor would put it"
            for a, b in segments(arrow):
                label = box(text).grown(3)
                ends = [p for p in (a, b) if p in (corners[0], corners[-1])]
                near = min((_distance(p, label) for p in ends), default=SEEN)
                if crosses(a, b, label) and near < SEEN:
                    yield f"{name}: hides its arrow"


def _distance(point: Point, place: Box) -> float:
    dx = max(place.left - point[0], 0, point[0] - place.right)
    dy = max(place.top - point[1], 0, point[1] - place.bottom)
    return math.hypot(dx, dy)


def _overlaps(elements: dict[str, Element]) -> Iterator[str]:
    zones = {e["containerId"] for e in elements.values() if e["type"] == "text" and e["verticalAlign"] == "top"}
    still = [e for e in elements.values() if e["type"] != "arrow"]
    arrows = [e for e in elements.values() if e["type"] == "arrow"]
    for one, two in combinations(still, 2):
        if box(one).meets(box(two)) and not (_inside(one, two, zones) or _inside(two, one, zones)):
            yield f"{one['id']} and {two['id']} overlap"
    for arrow in arrows:
        for other in still:
            own = other["id"] in zones or other.get("containerId") == arrow["id"]
            if not own and any(crosses(a, b, box(other)) for a, b in segments(arrow)):
                yield f"{arrow['id']} runs through {other['id']}"
    for one, two in combinations(arrows, 2):
        if any(crosses(a, b, _line(c, d)) for a, b in segments(one) for c, d in segments(two)):
            yield f"{one['id']} and {two['id']} cross"


def _inside(inner: Element, outer: Element, zones: set[str]) -> bool:
    """Tell whether one may stand on the other: a text in its own shape, anything in a zone."""
    return inner.get("containerId") == outer["id"] or (outer["id"] in zones and box(outer).holds(box(inner)))


def _line(a: Point, b: Point) -> Box:
    return Box(min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])).grown(1.5)
