"""Shows a run while it goes on: a live table on a terminal, one line per change elsewhere."""

from __future__ import annotations

import time
from collections import Counter

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from _demo.watch import DONE, Track, Watch

INTERVAL = 0.5
LONGEST_RUN = 600
STYLES = {"submitting": "bold blue", "finishing": "bold blue", "deferred": "magenta", "done": "green", "failed": "red"}


def show(watch: Watch, slots: int, console: Console) -> str | None:
    """Show the run until it has ended; return its state, None if it has not ended in ten minutes."""
    if not console.is_terminal:
        return _print_changes(watch, slots, console)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            watch.update()
            live.update(_screen(watch, slots, console.height), refresh=True)
            if (state := watch.finished()) or _too_long(watch):
                return state
            time.sleep(INTERVAL)


def _print_changes(watch: Watch, slots: int, console: Console) -> str | None:
    while True:
        for track in watch.update():
            line = f"{time.time() - watch.began:6.1f} s  {track.label:<24} {track.step:<11} {_load(watch, slots)}"
            console.print(line, highlight=False, soft_wrap=True)
        if (state := watch.finished()) or _too_long(watch):
            return state
        time.sleep(INTERVAL)


def _too_long(watch: Watch) -> bool:
    return time.time() - watch.began > LONGEST_RUN


def _load(watch: Watch, slots: int) -> str:
    return f"worker slots busy {watch.slots.busy}/{slots}, running triggers {watch.counts['deferred']}"


def _screen(watch: Watch, slots: int, height: int) -> Group:
    tracks = sorted(watch.tracks.values(), key=lambda t: (t.state in DONE, t.task_id, t.index))
    fitting = tracks[: max(4, height - 8)]
    table = Table(box=None, pad_edge=False)
    for column in ("task instance", "now", "for"):
        table.add_column(column, justify="right" if column == "for" else "left")
    for track in fitting:
        table.add_row(track.label, Text(track.step, STYLES.get(track.step, "")), _for(track))
    if len(tracks) > len(fitting):
        table.add_row(f"... and {len(tracks) - len(fitting)} more", "", "")
    return Group(_headline(watch, slots), table)


def _headline(watch: Watch, slots: int) -> Text:
    steps = Counter(track.step for track in watch.tracks.values())
    done = sum(track.state in DONE for track in watch.tracks.values())
    busy = min(watch.slots.busy, slots)
    return Text.assemble(
        (f"{time.time() - watch.began:4.0f} s   ", "bold"),
        f"submitted {watch.services.submitted}   deferred {steps['deferred']}   done {done} of {len(watch.tracks)}\n",
        "       worker slots ",
        ("■" * busy, "blue"),
        f"{'□' * (slots - busy)} {busy} of {slots} busy   running triggers {watch.counts['deferred']}\n",
    )


def _for(track: Track) -> str:
    return f"{time.time() - track.states[-1][0]:.0f} s" if track.states and track.state not in DONE else ""
