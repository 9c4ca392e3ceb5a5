"""Dataproc: submit a job to a cluster or a serverless batch, wait for it in the triggerer, return what it came to.

``DataprocJob`` and ``DataprocBatchJob`` are the values (``job.py``, ``batch.py``), their services ask for them
(``service.py``, ``batch_service.py``), the operators and their triggers run them (``operator.py``); ``resource.py``
reads job and batch dicts in Google's two spellings.
"""

from ork_provider.dataproc.batch import DataprocBatchJob
from ork_provider.dataproc.batch_service import DataprocBatchService
from ork_provider.dataproc.job import DataprocJob
from ork_provider.dataproc.operator import (
    DataprocBatchOperator,
    DataprocBatchTrigger,
    DataprocJobOperator,
    DataprocJobTrigger,
)
from ork_provider.dataproc.service import DataprocJobService

__all__ = [
    "DataprocBatchJob",
    "DataprocBatchOperator",
    "DataprocBatchService",
    "DataprocBatchTrigger",
    "DataprocJob",
    "DataprocJobOperator",
    "DataprocJobService",
    "DataprocJobTrigger",
]
