"""What is said of the lessons from outside: sections, exceptions, and what holds for the suite as a whole."""

from __future__ import annotations

SECTIONS = {
    "51.1": ("Fundamentals", "What a deferral is, what it saves, who watches, and what states a task goes through."),
    "51.2": ("Built-in sensors", "The sensors that come with Airflow and defer: times, files, HTTP, other DAGs."),
    "51.3": ("Custom operators", "An operator and a trigger of your own, part by part."),
    "51.4": ("Patterns", "Jobs elsewhere, APIs, batches, mapped tasks, and how to convert what you have."),
    "51.5": ("Debugging", "Where to look when a task stays deferred, and the ways in which it fails."),
    "51.8": ("Testing", "Tests of triggers, operators, whole DAGs, timeouts and failures, as tests that run."),
    "51.9": ("Anti-patterns", "What others got wrong, beside the right way, with the difference measured."),
}

NOT_IN_DAGS_TEST: dict[str, str] = {}
"""Lessons that end otherwise, or show less, under `airflow dags test`."""

WITHOUT_TRIGGERER: dict[str, str] = {
    "51.5.2": "it is about the triggerer that is not running, and fails at once, with one clear line, if one is"
}
"""Lessons that are run while no triggerer is there; it is started again after them."""

ALONE: dict[str, str] = {}
"""Lessons that hurt the triggerer: each is run when no other is, and the triggerer is replaced after it."""

CHECKLIST: dict[str, list[tuple[str, int]]] = {
    "The idea of deferring is explained": [("51.1.1", 3), ("51.1.4", 1)],
    "The built-in deferrable sensors are covered": [(f"51.2.{n}", 1) for n in range(1, 7)],
    "How to write a trigger is shown": [("51.3.3", 1), ("51.3.4", 1), ("51.3.5", 1)],
    "Common patterns are included": [(f"51.4.{n}", 2) for n in range(1, 6)],
    "Guidance for debugging is given": [("51.5.1", 1), ("51.5.1", 4)],
    "A triggerer has to run": [("51.5.2", 1), ("51.9.5", 3)],
    "Tried with a triggerer and without": [("51.1.3", 1), ("51.5.2", 3)],
    "Logs of the worker and of the triggerer": [("51.5.1", 1), ("51.1.4", 3)],
    "Code that uses async": [("51.3.5", 2), ("51.9.1", 4)],
    "Savings are demonstrated": [("51.1.2", 4), ("51.4.4", 4)],
}
"""What holds for the suite as a whole -> lessons and points that show it."""
