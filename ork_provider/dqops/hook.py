"""DqopsHook: the connection type ``dqops``, and the button that tests a connection.

The form's fields are in the provider's metadata (``provider_info.py``), where Airflow reads them without importing
this module.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseHook

from ork_provider.dqops import requests
from ork_provider.dqops.connection import DQOPS_CONNECTION
from ork_provider.dqops.service import DqopsService
from ork_provider.errors import OrkError, TryAgain
from ork_provider.worker import Worker


class DqopsHook(BaseHook):
    """An Airflow connection to a DQOps server.

    Host: base URL, with the path that a proxy may put before it. Password: API key. Extra: ``data_domain``, and
    ``verify`` (False skips TLS verification, a path names a CA bundle).
    """

    conn_name_attr = "dqops_conn_id"
    default_conn_name = DQOPS_CONNECTION["dqops_conn_id"]
    conn_type = "dqops"
    hook_name = "DQOps"

    def __init__(self, dqops_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dqops_conn_id = dqops_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Ask for the job queue, once; return whether that works, and what is wrong if it does not."""
        try:
            with Worker({"dqops_conn_id": self.dqops_conn_id}) as worker:
                return worker.run(self._ask(worker))
        except OrkError as exc:
            return False, str(exc)

    async def _ask(self, worker: Worker) -> tuple[bool, str]:
        service = await worker.services.open(DqopsService)
        assert isinstance(service, DqopsService)
        try:
            answer = await service.call(requests.get_all_jobs(), None)
        except TryAgain as exc:
            return False, f"{exc}. Is the host the base URL of a DQOps server?"
        if "lastSequenceNumber" not in answer:
            return False, "What answers there is not DQOps: the host must be its base URL."
        return True, "DQOps answers, and accepts us."
