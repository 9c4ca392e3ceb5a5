"""Dependencies: DAG runs and tasks, of this Airflow or another one, that a task waits for without holding a worker."""

from ork_provider.dependency.job import TaskDependency
from ork_provider.dependency.operator import DependencyWaitOperator
from ork_provider.dependency.outputs import Outputs
from ork_provider.dependency.service import DependencyService
from ork_provider.dependency.status import DependencyStatus
from ork_provider.dependency.trigger import DependencyWaitTrigger

__all__ = [
    "DependencyService",
    "DependencyStatus",
    "DependencyWaitOperator",
    "DependencyWaitTrigger",
    "Outputs",
    "TaskDependency",
]
