"""The button that opens a job in its service's own console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator, BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class ConsoleLink(BaseOperatorLink):
    """Button on the task instance's page that opens the job in its service's own console."""

    name = "Job console"

    @property
    def xcom_key(self) -> str:
        """XCom that holds the link; it is pushed before the wait begins."""
        return "ork_link"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link of the job that this try has watched, or an empty string."""
        return getattr(operator, "job_link", None) or ""
