"""A job of the fake DQOps: what a test scripts, how it moves by the clock, and how the REST API shows it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

FINAL = ("finished", "failed", "cancelled")
_PARAMETERS = {  # job type -> where the history entry holds the request body
    "run_checks": "runChecksParameters",
    "collect_statistics": "collectStatisticsParameters",
    "collect_error_samples": "collectErrorSamplesParameters",
    "import_tables": "importTableParameters",
    "delete_stored_data": "deleteStoredDataParameters",
    "synchronize_multiple_folders": "synchronizeMultipleFoldersParameters",
}
_RESULT_NAMES = {  # job type -> the name of the result inside those parameters; the others show none there
    "run_checks": "run_checks_result",
    "collect_statistics": "collect_statistics_result",
    "collect_error_samples": "error_sampler_result",
}


@dataclass(frozen=True)
class DqopsOutcome:
    """What happens to a job: seconds queued, waiting and running, then `status`: finished, failed or cancelled.

    The rest describes the result of a run-checks job. A count that is None follows from `severity`: one
    result of it, and the others of `executed_checks` valid. `severity=None` leaves the field out.
    `cancelling` is the time in seconds that the job stays in cancel_requested.

    Raises `ValueError` for another status.
    """

    pending: float = 0.2
    running: float = 1.0
    status: str = "finished"
    severity: str | None = "valid"
    executed_checks: int = 10
    valid_results: int | None = None
    warnings: int | None = None
    errors: int | None = None
    fatals: int | None = None
    execution_errors: int = 0
    error_message: str | None = None
    cancelling: float = 0.0
    waiting: float = 0.0

    def __post_init__(self) -> None:
        if self.status not in FINAL:
            raise ValueError(f"Unknown status {self.status!r} for the end of a job; known: {', '.join(FINAL)}.")

    @property
    def checks_result(self) -> dict[str, Any]:
        """Render the result of a run-checks job."""
        given = {"warning": self.warnings, "error": self.errors, "fatal": self.fatals}
        counts = {level: int(level == self.severity) if n is None else n for level, n in given.items()}
        valid = self.executed_checks - sum(counts.values()) if self.valid_results is None else self.valid_results
        return {
            **({"highest_severity": self.severity} if self.severity else {}),
            "executed_checks": self.executed_checks,
            "valid_results": max(valid, 0),
            "warnings": counts["warning"],
            "errors": counts["error"],
            "fatals": counts["fatal"],
            "execution_errors": self.execution_errors,
        }


@dataclass(eq=False)
class FakeDqopsJob:
    """One job. `created_at` and `cancelled_at` (when it was asked for) are readings of the fake's clock.

    `query` holds the parameters of the request that started it, `lost` says that a restart forgot it.
    """

    job_id: int
    job_type: str
    body: Any
    outcome: DqopsOutcome
    created_at: float
    clock: Callable[[], float] = field(repr=False)
    key: str | None = None
    data_domain: str = ""
    query: dict[str, str] = field(default_factory=dict)
    cancelled_at: float | None = None
    lost: bool = False
    on_cancel: Callable[[FakeDqopsJob], None] = field(default=lambda job: None, repr=False)

    def moves(self) -> list[tuple[float, str]]:
        """List every status of the job with the time at which it begins, past and future."""
        plan = self.outcome
        starts = self.created_at + plan.pending
        runs = starts + plan.waiting
        moves = [(self.created_at, "queued")]
        moves += [(starts, "waiting")] if plan.waiting > 0 else []
        moves += [(runs, "running"), (runs + plan.running, plan.status)]
        if self.cancelled_at is None:
            return moves
        kept = [move for move in moves if move[0] < self.cancelled_at] or moves[:1]
        return [*kept, (self.cancelled_at, "cancel_requested"), (self.cancelled_at + plan.cancelling, "cancelled")]

    def _last_move(self) -> tuple[float, str]:
        now = self.clock()
        return next(move for move in reversed(self.moves()) if move[0] <= now or move[1] == "queued")

    @property
    def status(self) -> str:
        """Return queued, waiting, running, finished, failed, cancel_requested or cancelled by now.

        A job that was live when the server was restarted is lost.
        """
        return "lost" if self.lost else self._last_move()[1]

    @property
    def changed_at(self) -> float:
        """When the job came to its status."""
        return self._last_move()[0]

    @property
    def done(self) -> bool:
        """Whether the status is final, or a restart ended the job."""
        return self.lost or self.status in FINAL

    def cancel(self) -> None:
        """Ask the job to end, unless it has ended or was asked before."""
        if not self.done and self.cancelled_at is None:
            self.cancelled_at = self.clock()
            self.on_cancel(self)

    @property
    def error_message(self) -> str:
        """What a failed job says."""
        return self.outcome.error_message or "The job failed."

    @property
    def result(self) -> dict[str, Any] | None:
        """Render the result of a finished job; None for a kind of job that has none."""
        if self.job_type == "run_checks":
            return self.outcome.checks_result
        if self.job_type == "collect_statistics":
            return _statistics("executed_statistics_collectors", "total_collectors_failed", "total_collected_results")
        if self.job_type == "collect_error_samples":
            return _statistics(
                "executed_error_samplers", "total_error_samplers_failed", "total_error_samples_collected"
            )
        others: dict[str, dict[str, Any]] = {
            "import_tables": {"source_table_specs": []},
            "delete_stored_data": {"partitionResults": {}},
        }
        return others.get(self.job_type)

    def parameters(self, status: str) -> dict[str, Any]:
        """Render the parameters of a history entry, with the result if it is shown there."""
        body = dict(self.body)
        if self.job_type == "collect_statistics":
            body = {"statistics_collector_search_filters": body, "data_scope": "table"}
        if status == "finished" and (name := _RESULT_NAMES.get(self.job_type)):
            body[name] = self.result
        return {_PARAMETERS[self.job_type]: body}


def _statistics(executed: str, failed: str, collected: str) -> dict[str, int]:
    return {executed: 3, failed: 0, collected: 3, "columns_analyzed": 1, "columns_successfully_analyzed": 1}


@lru_cache(maxsize=1 << 16)
def iso(milliseconds: float) -> str:
    """Render a time since 1970 as the API does."""
    at = dt.datetime.fromtimestamp(milliseconds / 1000, dt.timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
