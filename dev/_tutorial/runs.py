"""Runs lessons in both worlds, through a real scheduler and triggerer and by `airflow dags test`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from _tutorial.airflow import LessonHome
from _tutorial.catalog import POINTS, Lesson
from _tutorial.special import ALONE, WITHOUT_TRIGGERER
from ork_provider.testing.local_airflow import LocalAirflow, LocalAirflowError

LIMIT = 60  # seconds that a lesson should take at most
PATIENCE = 150  # seconds until a run counts as stuck


@dataclass(frozen=True)
class Result:
    """How a lesson's run ended, after how many seconds, and everything that it has logged."""

    lesson: Lesson
    state: str
    seconds: float
    output: str

    @property
    def good(self) -> bool:
        """Whether it ended as its tag says, with all points."""
        return self.state == self.lesson.ends and self.shown == set(POINTS)

    @property
    def shown(self) -> set[int]:
        """The points that were logged."""
        return self.lesson.shown(self.output) & set(POINTS)

    @property
    def lines(self) -> list[str]:
        """The lines with points, shortened to what they say."""
        return [line for line in self.output.splitlines() if self.lesson.shown(line)]


def run_together(airflow: LocalAirflow, lessons: Iterable[Lesson]) -> Iterator[Result]:
    """Run lessons at the same time; yield their results in order."""
    started = [(lesson, airflow.trigger_dag(lesson.dag_id)) for lesson in lessons]
    for lesson, run_id in started:
        yield _finished(airflow, lesson, run_id)


def run_alone(airflow: LocalAirflow, lesson: Lesson) -> Result:
    """Run one lesson by itself; give it an Airflow without triggerer, or the next one a new triggerer, where needed."""
    if lesson.number in WITHOUT_TRIGGERER:
        airflow.kill("triggerer", signal.SIGTERM)
    (result,) = run_together(airflow, [lesson])
    if lesson.number in WITHOUT_TRIGGERER:
        airflow.start("triggerer")
    elif lesson.number in ALONE:
        airflow.restart("triggerer", signal.SIGKILL)
    return result


def _finished(airflow: LocalAirflow, lesson: Lesson, run_id: str) -> Result:
    try:
        state = airflow.wait(lesson.dag_id, run_id, timeout=PATIENCE)
    except LocalAirflowError as stuck:
        state = str(stuck)
    run = airflow.dag_run(lesson.dag_id, run_id)
    return Result(lesson, state, float(run.get("duration") or PATIENCE), _logs(airflow, lesson.dag_id, run_id))


def _logs(airflow: LocalAirflow, dag_id: str, run_id: str) -> str:
    """Return the logs of all tries of all tasks of a run, worker and triggerer merged."""
    texts = []
    for instance in airflow.task_instances(dag_id, run_id):
        for number in range(1, instance["try_number"] + 1):
            try:
                texts.append(airflow.log(dag_id, run_id, instance["task_id"], number, instance["map_index"]))
            except LocalAirflowError as exc:  # a try that Airflow has taken back has none
                texts.append(f"no log of try {number}: {exc}")
    return "\n".join(texts)


def begin_dags_test(home: LessonHome, lessons: list[Lesson], folder: Path) -> subprocess.Popen[bytes]:
    """Start `airflow dags test` for lessons, one after another in one process; see `read_dags_test`."""
    dags = lessons[0].file.parent
    command = [sys.executable, "-m", "_tutorial.dags_test", str(folder), *(lesson.dag_id for lesson in lessons)]
    environ = {**home.environ, "AIRFLOW__CORE__DAGS_FOLDER": str(dags), "PYTHONPATH": str(Path(__file__).parents[1])}
    with (folder / f"{lessons[0].dag_id}.errors").open("wb") as errors:
        return subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)


def read_dags_test(lessons: list[Lesson], folder: Path) -> list[Result]:
    """Return how they ended; one that did not, because its process died, has the state "none"."""
    file = folder / f"results-{lessons[0].dag_id}"
    said = {line.split()[0]: line.split() for line in file.read_text().splitlines()} if file.exists() else {}
    results = []
    for lesson in lessons:
        _, state, seconds = said.get(lesson.dag_id, (lesson.dag_id, "none", "0"))
        log = folder / f"{lesson.dag_id}.log"
        output = log.read_text(errors="replace") if log.exists() else ""
        results.append(Result(lesson, state, float(seconds), output))
    return results


def print_table(results: Iterable[Result], world: str) -> None:
    """Print lesson, state, seconds, points."""
    print(f"\n{world}\n{'lesson':8} {'state':9} {'seconds':>7}  points")
    good = points = total = 0
    for result in results:
        total += 1
        good += result.state == result.lesson.ends
        points += len(result.shown)
        shown = ", ".join(str(point) for point in sorted(result.shown))
        shown += f"  (more than {LIMIT} s)" if result.seconds > LIMIT else ""
        print(f"{result.lesson.number:8} {result.state:9.40} {result.seconds:7.1f}  {shown}")
    print(f"{good} of {total} end as their tags say; {points} of {total * len(POINTS)} points", flush=True)


def wait_all(processes: Iterable[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait for processes; kill those that are not done in time."""
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
