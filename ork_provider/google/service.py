"""GoogleService: what the services of all Google APIs share."""

from __future__ import annotations

from typing import Any, ClassVar

from ork_provider.google.api import GOOGLE_CONNECTION, ApiName, GoogleApi
from ork_provider.service import Service
from ork_provider.session import Session


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
