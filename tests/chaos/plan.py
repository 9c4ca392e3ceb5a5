"""What runs in the chaos: tasks of every kind, with two hundred jobs whose fate is decided beforehand."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ork_provider.testing import DataprocOutcome, DqopsOutcome, ExecutionOutcome, HttpOutcome, Outcome
from tests.support.cloud import Cloud

Ending = Literal["good", "bad", "late"]

POLL_INTERVAL = 3.0
TIMEOUT = 60.0
"""Seconds that a task gives to a job which never ends."""

FOREVER = 1e6
RETRIES: dict[Ending, int] = {"good": 12, "bad": 2, "late": 2}
"""Most tries of a good job's task are for workers that are killed."""

KINDS = {"bigquery": 28, "http": 22, "cloudrun": 18, "dataproc": 14, "batch": 10, "dqops": 12, "watch": 20}
WATCHED = 10
"""Jobs of others that each watcher waits for."""

SHARES: list[tuple[Ending, float]] = [("good", 0.74), ("bad", 0.14), ("late", 0.12)]
SHORTEST, LONGEST = 50.0, 200.0
"""Seconds that a good job runs: long enough for most of them to run at the same time."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One task: its job runs so many seconds, and then is what `ending` says; a late one never ends by itself."""

    kind: str
    ending: Ending
    number: int
    seconds: float

    @property
    def task_id(self) -> str:
        """The mapped task that it is a copy of; `number` is its map index."""
        return f"{self.kind}_{self.ending}"

    @property
    def tag(self) -> str:
        """What its jobs carry wherever a service lets them, so that the fakes' own log says whose they are."""
        return f"{self.kind}-{self.ending}-{self.number}"


def make_plan(seed: int) -> list[Work]:
    """Return the works of a seed."""
    dice = random.Random(seed)
    return [work for kind, count in KINDS.items() for work in _works(kind, count, dice)]


def _works(kind: str, count: int, dice: random.Random) -> Iterator[Work]:
    for ending, share in SHARES:
        if kind == "watch" and ending != "good":  # who only watches ends nothing
            continue
        for number in range(count if kind == "watch" else round(count * share)):
            seconds = {"good": dice.uniform(SHORTEST, LONGEST), "bad": dice.uniform(2, 25), "late": FOREVER}[ending]
            yield Work(kind=kind, ending=ending, number=number, seconds=seconds)


def decide(cloud: Cloud, tag: str, seconds: float, *, good: bool) -> None:
    """Tell the fakes what becomes of the jobs with a tag that are started from now on."""
    cloud.bigquery.script(
        f"'{tag}'",
        Outcome(
            running=seconds,
            error=None if good else {"reason": "invalidQuery", "message": f"{tag} is bad"},
            cancelling=0.5,
        ),
    )
    cloud.http_jobs.script(f'"{tag}"', HttpOutcome(running=seconds, outcome="completed" if good else "failed"))

    def has_tag(about: Any) -> bool:
        return f'"{tag}"' in str(about["overrides"]).replace("'", '"')

    cloud.cloud_run.script(has_tag, ExecutionOutcome(running=seconds, failed=int(not good), cancelling=0.5))
    cloud.dataproc.script(f'"{tag}"', DataprocOutcome(running=seconds, error=None if good else f"{tag} is bad"))
    cloud.dqops.script(f'"{tag}"', DqopsOutcome(running=seconds, status="finished" if good else "failed"))


def to_json(works: list[Work], watched: list[list[dict[str, Any]]]) -> str:
    """Return the plan for the DAG file, which cannot import this module.

    :param watched: the jobs of each watcher
    """
    jobs = iter(watched)
    listed = [
        {
            "kind": w.kind,
            "ending": w.ending,
            "tag": w.tag,
            "task_id": w.task_id,
            "jobs": next(jobs, None) if w.kind == "watch" else None,
        }
        for w in works
    ]
    return json.dumps({"works": listed, "poll_interval": POLL_INTERVAL, "timeout": TIMEOUT, "retries": RETRIES})
