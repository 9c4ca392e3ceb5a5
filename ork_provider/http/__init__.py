"""HTTP jobs: anything that is started by one request and asked about by another.

``HttpJob`` is the value (``job.py``), ``HttpService`` asks for it (``service.py``), the operator starts one and
the sensor waits for what somebody else has started (``operator.py``).
"""

from ork_provider.http.job import CustomHttp, HttpJob
from ork_provider.http.operator import HttpJobOperator, HttpJobSensor, HttpJobTrigger
from ork_provider.http.service import HttpService

__all__ = ["CustomHttp", "HttpJob", "HttpJobOperator", "HttpJobSensor", "HttpJobTrigger", "HttpService"]
