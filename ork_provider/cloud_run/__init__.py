"""Cloud Run: run a Cloud Run job, wait in the triggerer until its execution has ended, and return how it went.

``CloudRunJob`` is the value (``job.py``), ``CloudRunService`` asks for it (``service.py``), the operator and its
trigger run it (``operator.py``); ``overrides.py`` turns what a task overrides into the API's form.
"""

from ork_provider.cloud_run.job import CloudRunJob
from ork_provider.cloud_run.operator import CloudRunJobOperator, CloudRunJobTrigger
from ork_provider.cloud_run.service import CloudRunService

__all__ = ["CloudRunJob", "CloudRunJobOperator", "CloudRunJobTrigger", "CloudRunService"]
