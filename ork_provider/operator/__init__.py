"""The bases of all operators: WaitOperator watches jobs that exist, JobOperator starts one and watches it.

``execute`` finds or submits the job, tells Airflow about it, asks once, and defers; ``execute_complete``
turns the trigger's event into a result or an error. What an earlier try left is read from the task state
store, so that there are never two live jobs for one task instance; the table is ``JobOperator._find_or_submit``.
"""

from ork_provider.operator.job import JobOperator
from ork_provider.operator.link import ConsoleLink
from ork_provider.operator.many import WaitForJobsOperator
from ork_provider.operator.wait import WaitOperator

__all__ = ["ConsoleLink", "JobOperator", "WaitForJobsOperator", "WaitOperator"]
