"""What fails a DQOps task: errors after which Airflow does not try again, and the severity gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from ork_provider.dqops.values import SEVERITIES
from ork_provider.errors import InvalidJob, JobError
from ork_provider.job import show
from ork_provider.operator.outcome import CancelledForGood, FailedForGood, LostForGood, for_good


class DqopsJobFailed(FailedForGood):
    """The job failed; waiting for it again cannot help."""


class DqopsJobCancelled(CancelledForGood):
    """Somebody cancelled the job; waiting for it again cannot help."""


class DqopsJobLost(LostForGood):
    """DQOps no longer knows the job; waiting for it again cannot help."""


class DqopsQualityIssue(FailedForGood):
    """The checks ran, and found what the task must not pass."""


class InvalidForGood(InvalidJob, AirflowFailException):
    """An argument makes no sense now that it is rendered; waiting again would render the same."""


class DqopsNoJob(InvalidJob, AirflowFailException):
    """There is no job to wait for; waiting again cannot help."""


_NAMES: dict[type[JobError], type[JobError]] = {
    FailedForGood: DqopsJobFailed,
    CancelledForGood: DqopsJobCancelled,
    LostForGood: DqopsJobLost,
}


def without_retries(error: JobError) -> JobError:
    """Return the same error as one that Airflow does not retry, if the job has ended for good."""
    final = for_good(error)
    kind = _NAMES.get(type(final))
    return kind(str(final), job=final.job, jobs=final.jobs) if kind else final


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What the results of checks must be like for a task to pass.

    :param fail_at_severity: severity from which on it fails; None: never
    :param fail_on_execution_errors: whether checks that could not be run fail it, too
    :param min_executed_checks: how many checks must have been run at least
    """

    fail_at_severity: str | None
    fail_on_execution_errors: bool
    min_executed_checks: int

    def complaint(self, stats: Mapping[str, Any]) -> str | None:
        """Say what is wrong with the results, if something is."""
        executed = stats.get("executed_checks", 0)
        if type(executed) is not int:
            return f"DQOps tells no number of executed checks: {show(executed)}."
        if executed < self.min_executed_checks:
            return (
                f"{executed} checks were run, and min_executed_checks is {self.min_executed_checks}. "
                "Do the filters match tables with active checks?"
            )
        if self.fail_on_execution_errors and (failed := stats.get("execution_errors", 0)):
            return f"{failed} checks could not be run (fail_on_execution_errors). {say_counts(stats)}"
        return self._complaint_of_severity(stats)

    def _complaint_of_severity(self, stats: Mapping[str, Any]) -> str | None:
        if self.fail_at_severity is None:
            return None
        severity = stats.get("highest_severity")
        if severity is None and "executed_checks" in stats and not stats["executed_checks"]:
            return None
        if not isinstance(severity, str) or severity not in SEVERITIES:
            return f"DQOps tells no known severity ({severity!r}); fail_at_severity=None does without one."
        if SEVERITIES[severity] < SEVERITIES[self.fail_at_severity]:
            return None
        return f"The severity is {severity}, and fail_at_severity is {self.fail_at_severity}. {say_counts(stats)}"


def say_counts(stats: Mapping[str, Any]) -> str:
    """Say how many checks had which result."""
    words = {name: stats.get(name, 0) for name in _SAID}
    counted = ", ".join(f"{count} {_SAID[name]}" for name, count in words.items())
    return f"{stats.get('executed_checks', 0)} checks were run: {counted}."


_SAID = {
    "valid_results": "valid",
    "warnings": "warning",
    "errors": "error",
    "fatals": "fatal",
    "execution_errors": "could not be run",
}
