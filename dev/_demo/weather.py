"""The program that the demo runs as a Cloud Run job and as a Spark job: it finds one figure of one year's weather.

    python weather.py seattle.csv --figure rain --year 2012

Without `--year`, the task of a Cloud Run job takes the year of its own number: task 0 takes 2012, task 1 2013.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

FIRST_YEAR = 2012
FIGURES: dict[str, tuple[str, Callable[[Iterable[float]], float], str]] = {
    "rain": ("precipitation", math.fsum, "mm"),
    "heat": ("temp_max", max, "degrees"),
    "wind": ("wind", max, "m/s"),
}


def say(year: int, figure: str, value: float) -> str:
    """Return the line that the program writes."""
    return f"{year} {figure} {value:.1f} {FIGURES[figure][2]}"


def find(file: Path, figure: str, year: int) -> float:
    """Read the figure of a year out of the file."""
    column, summary, _ = FIGURES[figure]
    with file.open(newline="") as lines:
        return summary([float(row[column]) for row in csv.DictReader(lines) if row["date"].startswith(str(year))])


def main() -> None:
    """Take a while, then print the line."""
    own_year = FIRST_YEAR + int(os.environ.get("CLOUD_RUN_TASK_INDEX", "0"))
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--figure", choices=FIGURES, required=True)
    parser.add_argument("--year", type=int, default=own_year)
    parser.add_argument("--seconds", type=float, default=0, help="how long to take before")
    options = parser.parse_args()
    time.sleep(options.seconds)
    said = say(options.year, options.figure, find(options.file, options.figure, options.year))
    print(f"{said}\n", end="", flush=True)  # in one piece, even where Python buffers nothing: tasks share a log


if __name__ == "__main__":
    main()
