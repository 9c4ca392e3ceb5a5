"""Draw an Excalidraw file as SVG: shapes, arrows with labels, wrapped and centred text; light or dark."""

from __future__ import annotations

import math
from html import escape

from _diagrams.font import FAMILIES, LINE_HEIGHT, width, wrap
from _diagrams.geometry import Element, Point, box, points, text_width

MARGIN = 24
HEAD = 11
"""Length of an arrow's head."""
STYLE = """\
@media (prefers-color-scheme: dark) { .all { filter: invert(93%) hue-rotate(180deg) } }
text { white-space: pre }"""


def svg(drawing: Element, title: str) -> str:
    """Return the picture; the same drawing gives the same text."""
    elements = {element["id"]: element for element in drawing["elements"] if not element["isDeleted"]}
    boxes = [box(element) for element in elements.values()]
    left, top = min(b.left for b in boxes) - MARGIN, min(b.top for b in boxes) - MARGIN
    right, bottom = max(b.right for b in boxes) + MARGIN, max(b.bottom for b in boxes) + MARGIN
    place = f'x="{_n(left)}" y="{_n(top)}" width="{_n(right - left)}" height="{_n(bottom - top)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{_n(left)} {_n(top)} {_n(right - left)} {_n(bottom - top)}"'
        f' width="{_n(right - left)}" height="{_n(bottom - top)}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        '<g class="all" stroke-linejoin="round" stroke-linecap="round">',
        f'<rect {place} rx="12" fill="{drawing["appState"]["viewBackgroundColor"]}"/>',
    ]
    for element in elements.values():
        lines += _element(element, elements, place)
    return "\n".join([*lines, "</g>", "</svg>"]) + "\n"


def shown(text: Element, elements: dict[str, Element]) -> str:
    """Return the lines of a text as they are drawn: wrapped to the room that its shape has."""
    container = elements.get(text["containerId"] or "")
    if container is None or container["type"] == "arrow":
        return str(text["text"])
    room = text_width(container["type"], container["width"])
    return wrap(text["originalText"], room, text["fontSize"], text["fontFamily"])


def _element(element: Element, elements: dict[str, Element], whole: str) -> list[str]:
    if element["type"] == "text":
        return _text(element, elements)
    if element["type"] == "arrow":
        return _arrow(element, elements, whole)
    return [_shape(element)]


def _shape(element: Element) -> str:
    x, y, w, h = (element[name] for name in ("x", "y", "width", "height"))
    ink = f"{_ink(element)} fill={_fill(element)}"
    if element["type"] == "ellipse":
        return f'<ellipse cx="{_n(x + w / 2)}" cy="{_n(y + h / 2)}" rx="{_n(w / 2)}" ry="{_n(h / 2)}" {ink}/>'
    if element["type"] == "diamond":
        corners = ((x + w / 2, y), (x + w, y + h / 2), (x + w / 2, y + h), (x, y + h / 2))
        return f'<polygon points="{_path(corners)}" {ink}/>'
    if element["type"] != "rectangle":
        raise ValueError(f"{element['id']}: no way to draw a {element['type']}")
    round_ = ' rx="8"' if element["roundness"] else ""
    return f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}"{round_} {ink}/>'


def _arrow(element: Element, elements: dict[str, Element], whole: str) -> list[str]:
    corners = points(element)
    label = next((elements[b["id"]] for b in element["boundElements"] if b["type"] == "text"), None)
    mask, masked = [], ""
    if label is not None:  # the line leaves room for its label
        hole = box(label).grown(3)
        name = f"hole-{element['id']}"
        size = f'width="{_n(hole.right - hole.left)}" height="{_n(hole.bottom - hole.top)}"'
        mask = [
            f'<mask id="{name}" maskUnits="userSpaceOnUse" {whole}><rect {whole} fill="#fff"/>'
            f'<rect x="{_n(hole.left)}" y="{_n(hole.top)}" {size} fill="#000"/></mask>'
        ]
        masked = f' mask="url(#{name})"'
    drawn = [*mask, f'<polyline points="{_path(corners)}" fill="none" {_ink(element)}{masked}/>']
    if element["endArrowhead"]:
        drawn.append(_head(corners[-2], corners[-1], element["strokeColor"]))
    if element["startArrowhead"]:
        drawn.append(_head(corners[1], corners[0], element["strokeColor"]))
    return drawn


def _head(before: Point, tip: Point, colour: str) -> str:
    angle = math.atan2(tip[1] - before[1], tip[0] - before[0])
    sides = [(tip[0] - HEAD * math.cos(angle + a), tip[1] - HEAD * math.sin(angle + a)) for a in (0.42, -0.42)]
    return f'<polygon points="{_path((tip, *sides))}" fill="{colour}" stroke="{colour}"/>'


def _text(element: Element, elements: dict[str, Element]) -> list[str]:
    size, family = element["fontSize"], element["fontFamily"]
    x = {"left": element["x"], "center": element["x"] + element["width"] / 2}[element["textAlign"]]
    anchor = {"left": "start", "center": "middle"}[element["textAlign"]]
    lines = shown(element, elements).split("\n")
    middle = element["y"] + element["height"] / 2
    top = middle - len(lines) * size * LINE_HEIGHT / 2
    return [
        f'<text x="{_n(x)}" y="{_n(top + (at + 0.77) * size * LINE_HEIGHT)}" text-anchor="{anchor}"'
        f' font-family="{FAMILIES[family]}" font-size="{_n(size)}" fill="{element["strokeColor"]}"'
        f' textLength="{_n(width(line, size, family))}" lengthAdjust="spacingAndGlyphs">{escape(line)}</text>'
        for at, line in enumerate(lines)
        if line
    ]


def _ink(element: Element) -> str:
    dash = {"dashed": ' stroke-dasharray="7 6"', "dotted": ' stroke-dasharray="2 5"'}.get(element["strokeStyle"], "")
    return f'stroke="{element["strokeColor"]}" stroke-width="{_n(element["strokeWidth"])}"{dash}'


def _fill(element: Element) -> str:
    colour = element["backgroundColor"]
    return '"none"' if colour == "transparent" else f'"{colour}"'


def _path(corners: tuple[Point, ...] | list[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in corners)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
