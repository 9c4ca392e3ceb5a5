"""BigQuery: submit a job of any type, wait for it in the triggerer, return its statistics and rows.

``BigQueryJob`` is the value (``job.py``), ``BigQueryService`` asks for it (``service.py``), the operator and its
trigger run it (``operator.py``); ``values.py`` turns query parameters and rows into JSON and back.
"""

from ork_provider.bigquery.job import BigQueryJob
from ork_provider.bigquery.operator import BigQueryJobOperator, BigQueryJobTrigger
from ork_provider.bigquery.service import BigQueryService

__all__ = ["BigQueryJob", "BigQueryJobOperator", "BigQueryJobTrigger", "BigQueryService"]
