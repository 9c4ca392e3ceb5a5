"""GoogleService: what the services of all Google APIs share."""

from __future__ import annotations

from typing import Any, ClassVar

from ork_provider.errors import BadRequest, TryAgain
from ork_provider.google.api import GOOGLE_CONNECTION, ApiName, GoogleApi, read_error, read_object
from ork_provider.job import Job
from ork_provider.service import Service
from ork_provider.session import Session

STOPPING = frozenset({"CANCEL_PENDING", "CANCEL_STARTED", "CANCELLING"})
"""States of a job that is being cancelled; another cancel is refused, and not needed."""


class GoogleService(Service):
    """One Google API over one Airflow Google connection.

    :param api: its calls
    """

    connection_defaults: ClassVar[dict[str, Any]] = GOOGLE_CONNECTION
    api_name: ClassVar[ApiName]
    endpoint: ClassVar[str]
    """Base URL, unless the connection's ``api_endpoints`` names another."""

    def __init__(self, api: GoogleApi) -> None:
        self.api = api

    @classmethod
    async def open(cls, session: Session, **connection: Any) -> GoogleService:
        """See Service."""
        await session.renew_connection(connection["gcp_conn_id"], if_old=True)
        return cls(GoogleApi(session, cls.api_name, cls.endpoint, **connection))

    async def stop(self, job: Job, path: str) -> None:
        """Send the request that cancels a job.

        It is refused (400) when the job has ended or is being stopped, which is fine, and in states that pass, such as
        Dataproc's SETUP_DONE: https://github.com/googleapis/google-cloud-java/issues/3754
        """
        asked, response = await self.api.send("POST", path, json={})
        try:
            read_object(asked, response)
        except BadRequest as exc:
            if response.status not in (400, 409):
                raise
            status = await self.check(job)
            if status.state.final or status.remote_state in STOPPING:
                return
            if read_error(response).get("status") == "FAILED_PRECONDITION":
                raise TryAgain(str(exc), processed=False) from exc
            raise
