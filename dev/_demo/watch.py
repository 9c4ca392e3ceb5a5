"""Who holds a worker and who waits: read from Airflow's REST API, from its scheduler's log and from the services."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from _demo.plan import MAPPED, Plan
from _demo.services import Services, Span
from ork_provider.forms import read_jobs
from ork_provider.testing.airflow_rest import FINISHED_RUN
from ork_provider.testing.local_airflow import LocalAirflow

DONE = ("success", "failed", "upstream_failed", "skipped")
STARTED = "Secrets backends loaded for worker"
FINISHED = re.compile(r"^(\S+) .*Workload finished .*\bduration=(\S+) .*\bworkload_id=(\S+)")


@dataclass
class Track:
    """One task instance. Times are seconds since the epoch."""

    task_id: str
    index: int
    label: str
    instance_id: str
    states: list[tuple[float, str]] = field(default_factory=list)
    busy: list[Span] = field(default_factory=list)
    """When it held a worker slot; known once it has given the slot back."""
    job: Span | None = None
    """When its jobs ran at their services."""

    @property
    def state(self) -> str:
        """Airflow's word for its state."""
        return self.states[-1][1] if self.states else "none"

    @property
    def step(self) -> str:
        """The demo's word for its state."""
        has_deferred = any(state == "deferred" for _, state in self.states)
        if self.state == "running":
            return "finishing" if has_deferred else "submitting"
        if self.state in ("none", "scheduled", "queued"):
            return "resuming" if has_deferred else "waiting"
        return {"success": "done"}.get(self.state, self.state)

    @property
    def deferred(self) -> float:
        """Seconds from when it gave a worker back to when it took one again."""
        return sum(max(after[0] - before[1], 0) for before, after in pairwise(self.busy))

    @property
    def worker_seconds(self) -> float:
        """Seconds in which it held a worker slot."""
        return sum(end - start for start, end in self.busy)

    @property
    def blocking_seconds(self) -> float:
        """Seconds for which an operator that waits in the worker would have held the slot: until its job was done."""
        if not self.busy or not self.job:
            return self.worker_seconds
        return max(self.job[1], self.busy[0][1]) - self.busy[0][0]


class WorkerSlots:
    """What the scheduler's log says of LocalExecutor's slots: a slot is held until the task's supervisor has gone."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0
        self._started = 0
        self._finished = 0
        self.spans: dict[str, list[Span]] = {}

    @property
    def busy(self) -> int:
        """Slots that are held now."""
        return self._started - self._finished

    def update(self) -> None:
        """Read what is new in the log."""
        for line in self._new_lines():
            self._started += STARTED in line
            if found := FINISHED.match(line):
                end, duration = datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp(), float(found[2])
                self.spans.setdefault(found[3], []).append((end - duration, end))
                self._finished += 1

    def _new_lines(self) -> Iterator[str]:
        with self._log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                yield line.decode(errors="replace")


@dataclass
class Watch:
    """A run of the demo's DAG, watched."""

    airflow: LocalAirflow
    services: Services
    plan: Plan
    dag_id: str
    run_id: str
    began: float = field(default_factory=time.time)
    tracks: dict[str, Track] = field(default_factory=dict)
    history: list[tuple[float, int, int]] = field(default_factory=list)
    """(time, busy worker slots, running triggers)"""

    def __post_init__(self) -> None:
        self.slots = WorkerSlots(self.airflow.home / "scheduler.log")

    @property
    def counts(self) -> Counter[str]:
        """Task instances by state."""
        return Counter(track.state for track in self.tracks.values())

    def update(self) -> list[Track]:
        """Look again; return the tracks whose step is new."""
        now, changed = time.time(), []
        for instance in self.airflow.task_instances(self.dag_id, self.run_id):
            if instance["map_index"] < 0 and instance["task_id"] in MAPPED:
                continue  # before it is expanded
            track = self._track(instance["id"], instance["task_id"], instance["map_index"])
            before, state = track.step if track.states else None, instance["state"] or "none"
            if track.state != state or not track.states:
                track.states.append((now, state))
            if track.step != before:
                changed.append(track)
        self.slots.update()
        self.history.append((now, self.slots.busy, self.counts["deferred"]))
        return changed

    def finished(self) -> str | None:
        """Return the state of the run when it has ended and all its workers are free; None before."""
        state = str(self.airflow.dag_run(self.dag_id, self.run_id)["state"])
        return state if state in FINISHED_RUN and self.slots.busy == 0 else None

    def collect(self) -> list[Track]:
        """Add what is known at the end; return all tracks in order."""
        for track in self.tracks.values():
            track.busy = sorted(self.slots.spans.get(track.instance_id, []))
            track.job = self._job_span(track)
        return sorted(self.tracks.values(), key=lambda track: (track.task_id, track.index))

    def _track(self, instance_id: str, task_id: str, index: int) -> Track:
        if instance_id not in self.tracks:
            label = self.plan.label(task_id, index)
            self.tracks[instance_id] = Track(task_id, index, label, instance_id)
        return self.tracks[instance_id]

    def _job_span(self, track: Track) -> Span | None:
        """Return when the task's jobs ran, from the start of the first to the end of the last."""
        told = self.airflow.xcom(self.dag_id, self.run_id, track.task_id, "ork_job", track.index)
        if not told:
            return None
        spans = [self.services.span(job) for job in read_jobs(told)]
        return min(began for began, _ in spans), max(ended for _, ended in spans)
