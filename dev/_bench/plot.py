"""One SVG: how late the end of a job is noticed, and the CPU that waiting takes, against the number of triggers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from _bench.waiting import Result

COLORS = {
    "bigquery": "#1f6feb",
    "cloud_run": "#0a8f8f",
    "dataproc": "#d9730d",
    "dqops": "#8250df",
    "http": "#2da44e",
    "none": "#8c959f",
}
WIDTH, HEIGHT = 1180, 560
LEFT, TOP, BOTTOM = 70, 104, 62
PANEL, LABELS = 300, 195
GAP = 13.5
"""Pixels between two labels, at least."""


@dataclass(frozen=True)
class Line:
    """One contender in a panel: its points are (N, value), ours drawn through, peers dashed."""

    name: str
    color: str
    peer: bool
    points: list[tuple[int, float]]


@dataclass(frozen=True)
class Axes:
    """A panel with logarithmic axes; `left` is its place in the picture."""

    left: float
    sizes: Sequence[int]
    low: float
    high: float

    def x(self, n: int) -> float:
        """Return the pixel of a number of triggers."""
        first, last = math.log(self.sizes[0]), math.log(self.sizes[-1])
        part = (math.log(n) - first) / (last - first) if last > first else 0.5
        return self.left + 12 + part * (PANEL - 24)

    def y(self, value: float) -> float:
        """Return the pixel of a value."""
        part = (math.log(max(value, self.low)) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 of every power of ten that fits; of many powers only the 1."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if len(powers) <= 4 else (1,)
        values = [step * 10.0**power for power in powers for step in steps]
        return [value for value in values if self.low <= value * 1.0001 and value <= self.high * 1.0001]


def plot(results: Sequence[Result], path: Path) -> None:
    """Write the picture."""
    middle = LEFT + PANEL + LABELS + 75
    parts = [
        *_panel(LEFT, "Noticed after, 95th percentile, seconds", results, lambda r: r.p95),
        *_panel(middle, "CPU of the triggerer's runner, cores", results, lambda r: max(r.cpu, 0.001)),
    ]
    path.write_text(_HEAD + "\n".join(parts) + "\n</svg>\n")


def _panel(left: float, title: str, results: Sequence[Result], value: Callable[[Result], float]) -> list[str]:
    lines = _lines(results, value)
    values = [v for line in lines for _, v in line.points] or [1.0]
    axes = Axes(left, sorted({r.n for r in results}) or [1], min(values) / 1.25, max(values) * 1.25)
    return [*_frame(axes, title), *(_draw(axes, line) for line in lines), *_labels(axes, lines)]


def _lines(results: Sequence[Result], value: Callable[[Result], float]) -> list[Line]:
    names = dict.fromkeys(result.name for result in results)
    found = []
    for name in names:
        own = sorted((r for r in results if r.name == name), key=lambda r: r.n)
        found.append(Line(name, COLORS[own[0].service], own[0].peer, [(r.n, value(r)) for r in own]))
    return found


def _frame(axes: Axes, title: str) -> list[str]:
    """Draw title, grid and ticks."""
    bottom, right = HEIGHT - BOTTOM, axes.left + PANEL
    parts = [_text(axes.left, TOP - 16, title, "title")]
    for tick in axes.ticks():
        y = axes.y(tick)
        parts.append(f'<line class="grid" x1="{axes.left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(axes.left - 8, y + 4, f"{tick:g}", "tick", anchor="end"))
    for n in axes.sizes:
        x = axes.x(n)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(_text(x, bottom + 18, f"{n:,}", "tick", anchor="middle"))
    parts.append(_text(axes.left + PANEL / 2, bottom + 40, "triggers that wait", "tick", anchor="middle"))
    return parts


def _draw(axes: Axes, line: Line) -> str:
    points = [(axes.x(n), axes.y(value)) for n, value in line.points]
    dash = ' stroke-dasharray="5 4"' if line.peer else ""
    fill = "#ffffff" if line.peer else line.color
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" fill="{fill}" stroke="{line.color}"/>' for x, y in points
    )
    return f'<g class="line"><polyline points="{path}" stroke="{line.color}"{dash}/>{dots}</g>'


def _labels(axes: Axes, lines: Sequence[Line]) -> list[str]:
    """Name the lines right of the panel, each as near to its end as the others allow."""
    ordered = sorted(lines, key=lambda line: axes.y(line.points[-1][1]))
    wanted = [axes.y(line.points[-1][1]) for line in ordered]
    x = axes.left + PANEL + 26
    parts = []
    for line, y in zip(ordered, spread(wanted, GAP, TOP, HEIGHT - BOTTOM), strict=True):
        n, value = line.points[-1]
        start, end = (axes.x(n) + 5, axes.y(value)), (x - 4, y)
        places = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
        parts.append(f'<line class="leader" stroke="{line.color}" {places}/>')
        parts.append(_text(x, y + 4, line.name, "peer" if line.peer else "ours", color=line.color))
    return parts


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move sorted positions as little as needed for a gap between them, and into the bounds if they fit."""
    placed = []
    floor = low
    for position in wanted:
        placed.append(max(position, floor))
        floor = placed[-1] + gap
    ceiling = high
    for number in range(len(placed) - 1, -1, -1):
        placed[number] = min(placed[number], ceiling)
        ceiling = placed[number] - gap
    return placed


def _text(x: float, y: float, words: str, kind: str, *, anchor: str = "start", color: str = "") -> str:
    fill = f' style="fill:{color}"' if color else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{fill}>{escape(words)}</text>'


_HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">
<title>How late the end of a job is noticed, and the CPU that waiting takes</title>
<style>
text {{ font-size: 12px; font-family: system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #57606a; }}
.head {{ font-size: 17px; font-weight: 600; fill: #1f2328; }}
.title {{ font-size: 13px; font-weight: 600; fill: #1f2328; }}
.ours {{ font-weight: 600; }}
.grid {{ stroke: #d8dee4; stroke-width: 1; }}
.leader {{ stroke-width: 1; stroke-dasharray: 1 3; }}
.line polyline {{ fill: none; stroke-width: 2; }}
.line circle {{ stroke-width: 1.6; }}
</style>
<rect width="100%" height="100%" fill="#ffffff"/>
<text class="head" x="{LEFT}" y="32">Waiting for jobs in one Airflow triggerer</text>
<text x="{LEFT}" y="51">Drawn through: this package. Dashed: others, for the same jobs. All axes are logarithmic.</text>
"""
