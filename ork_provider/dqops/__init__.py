"""DQOps: run data quality checks, collect statistics, import tables, and wait for any job of a DQOps server.

``DqopsJob`` is the value (``job.py``), ``DqopsService`` asks for it (``service.py``) over a connection of type
``dqops`` (``connection.py``, ``hook.py``). What the operators send is in ``requests.py``; what they share is in
``base.py``.

Source: the REST API of DQOps, https://dqops.com/docs/client/operations/jobs/
"""

from ork_provider.dqops.hook import DqopsHook
from ork_provider.dqops.job import DqopsJob
from ork_provider.dqops.outcome import (
    DqopsJobCancelled,
    DqopsJobFailed,
    DqopsJobLost,
    DqopsNoJob,
    DqopsQualityIssue,
)
from ork_provider.dqops.run_checks import (
    DqopsRunChecksOperator,
    DqopsRunMonitoringChecksOperator,
    DqopsRunPartitionedChecksOperator,
    DqopsRunProfilingChecksOperator,
)
from ork_provider.dqops.service import DqopsService
from ork_provider.dqops.table_status import (
    DqopsAssertMonitoringTableStatusOperator,
    DqopsAssertPartitionedTableStatusOperator,
    DqopsAssertProfilingTableStatusOperator,
    DqopsAssertTableStatusOperator,
)
from ork_provider.dqops.tables import DqopsCollectStatisticsOperator, DqopsTableImportOperator
from ork_provider.dqops.trigger import DqopsJobTrigger
from ork_provider.dqops.values import (
    CheckTarget,
    CheckTimeScale,
    CheckType,
    RuleSeverityLevel,
    RunChecksTarget,
    StatisticsCollectorTarget,
)
from ork_provider.dqops.wait_for_job import DqopsWaitForJobOperator

__all__ = [
    "CheckTarget",
    "CheckTimeScale",
    "CheckType",
    "DqopsAssertMonitoringTableStatusOperator",
    "DqopsAssertPartitionedTableStatusOperator",
    "DqopsAssertProfilingTableStatusOperator",
    "DqopsAssertTableStatusOperator",
    "DqopsCollectStatisticsOperator",
    "DqopsHook",
    "DqopsJob",
    "DqopsJobCancelled",
    "DqopsJobFailed",
    "DqopsJobLost",
    "DqopsJobTrigger",
    "DqopsNoJob",
    "DqopsQualityIssue",
    "DqopsRunChecksOperator",
    "DqopsRunMonitoringChecksOperator",
    "DqopsRunPartitionedChecksOperator",
    "DqopsRunProfilingChecksOperator",
    "DqopsService",
    "DqopsTableImportOperator",
    "DqopsWaitForJobOperator",
    "RuleSeverityLevel",
    "RunChecksTarget",
    "StatisticsCollectorTarget",
]
