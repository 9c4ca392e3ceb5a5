"""Draws who held a worker and who was deferred, as an SVG file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from _demo.services import Span
from _demo.watch import Track

History = Sequence[tuple[float, int, int]]

LABEL, CHART, ROW, MARGIN = 190, 760, 18, 16
LOAD = 90  # height of the chart of slots and triggers
BUSY, DEFERRED, GRID = "#1a56db", "#d9c8f5", "#e5e7eb"
STYLE = "text{font:11px system-ui,sans-serif;fill:#374151}.head{font-size:14px;font-weight:600}.small{font-size:10px}"


def draw(tracks: Sequence[Track], history: History, began: float, slots: int) -> str:
    """Return the timeline of a run; below it, the worker slots and triggers in use."""
    end = max([time for time, *_ in history] + [span[1] for track in tracks for span in track.busy])
    return "\n".join(_Drawing(tracks, history, began, end, slots).lines())


class _Drawing:
    def __init__(self, tracks: Sequence[Track], history: History, began: float, end: float, slots: int) -> None:
        self.tracks, self.history, self.began, self.slots = tracks, history, began, slots
        self.seconds = max(end - began, 1)
        self.top = MARGIN + 52
        self.load_top = self.top + ROW * len(tracks) + 34
        self.width = LABEL + CHART + 2 * MARGIN
        self.height = self.load_top + LOAD + 40

    def x(self, time: float) -> float:
        """Return where a moment is."""
        return round(MARGIN + LABEL + CHART * min(max((time - self.began) / self.seconds, 0), 1), 1)

    def lines(self) -> Iterator[str]:
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
        yield f"<style>{STYLE}</style>"
        yield '<rect width="100%" height="100%" fill="white"/>'
        yield from self._legend()
        yield from self._grid()
        for row, track in enumerate(self.tracks):
            yield from self._row(track, self.top + ROW * row)
        yield from self._load()
        yield "</svg>"

    def _legend(self) -> Iterator[str]:
        worker = sum(track.worker_seconds for track in self.tracks)
        blocking = sum(track.blocking_seconds for track in self.tracks)
        text = f"{worker:.0f} worker-seconds used; waiting in the worker would have held {blocking:.0f}"
        yield _text(MARGIN, MARGIN + 12, text, "head")
        for i, (color, meaning) in enumerate([(BUSY, "holds a worker slot"), (DEFERRED, "deferred: holds none")]):
            yield _rect((MARGIN + 160 * i, MARGIN + 22, 12, 10), color, meaning)
            yield _text(MARGIN + 160 * i + 18, MARGIN + 31, meaning)
        yield _rect((MARGIN + 325, MARGIN + 22, 2, 10), "#111827", "")
        yield _text(MARGIN + 333, MARGIN + 31, "its jobs are done at their services")

    def _grid(self) -> Iterator[str]:
        step = next(s for s in (5, 10, 20, 30, 60, 120, 300) if self.seconds / s <= 14 or s == 300)
        bottom = self.load_top + LOAD
        for second in range(0, int(self.seconds) + 1, step):
            x = self.x(self.began + second)
            yield f'<path d="M{x} {self.top - 4}V{bottom}" stroke="{GRID}"/>'
            yield _text(x, bottom + 14, f"{second} s", "small", "middle")

    def _row(self, track: Track, y: int) -> Iterator[str]:
        name = track.label
        yield _text(MARGIN, y + 12, name)
        if track.busy:
            whole = (track.busy[0][0], track.busy[-1][1])
            yield self._bar(whole, y + 4, ROW - 8, DEFERRED, f"{name}: deferred for {track.deferred:.1f} s")
        for span in track.busy:
            yield self._bar(span, y + 2, ROW - 4, BUSY, f"{name}: held a worker for {span[1] - span[0]:.1f} s")
        if track.job:
            yield _rect((self.x(track.job[1]) - 1, y + 1, 2, ROW - 2), "#111827", f"{name}: job done")

    def _load(self) -> Iterator[str]:
        most = max([self.slots] + [triggers for _, _, triggers in self.history])
        yield _text(MARGIN, self.load_top + 12, "running triggers")
        yield _text(MARGIN, self.load_top + 28, f"busy worker slots (of {self.slots})")
        yield f'<path d="{self._steps(2, most)}V{self.load_top + LOAD}H{self.x(self.began)}Z" fill="{DEFERRED}"/>'
        yield f'<path d="{self._steps(1, most)}" fill="none" stroke="{BUSY}" stroke-width="2"/>'
        yield _text(MARGIN + LABEL - 6, self.load_top + 4, str(most), "small", "end")
        yield _text(MARGIN + LABEL - 6, self.load_top + LOAD, "0", "small", "end")

    def _steps(self, column: int, most: int) -> str:
        bottom = self.load_top + LOAD
        path = [f"M{self.x(self.began)} {bottom}"]
        for sample in self.history:
            path.append(f"H{self.x(sample[0])}V{round(bottom - LOAD * sample[column] / most, 1)}")
        return "".join(path)

    def _bar(self, span: Span, y: float, height: float, color: str, title: str) -> str:
        x = self.x(span[0])
        return _rect((x, y, max(self.x(span[1]) - x, 1), height), color, title)


def _rect(box: tuple[float, float, float, float], color: str, title: str) -> str:
    x, y, width, height = box
    place = f'x="{x}" y="{y}" width="{round(width, 1)}" height="{height}"'
    return f'<rect {place} rx="2" fill="{color}"><title>{escape(title)}</title></rect>'


def _text(x: float, y: float, text: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>'
