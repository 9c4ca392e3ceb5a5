"""GoogleListing: the lists of Google's APIs that serve many who wait."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable, Mapping
from typing import Any, ClassVar

from ork_provider.google.api import GoogleApi
from ork_provider.service import Listing


class GoogleListing(Listing):
    """One list over one connection, as one identity.

    :param place: what it is a list of: project, and perhaps region and more
    """

    what: ClassVar[str]
    """What is listed, for messages."""

    items: ClassVar[str]
    """Name of the list in an answer."""

    params: ClassVar[tuple[tuple[str, str], ...]]

    def __init__(self, api: GoogleApi, *place: str) -> None:
        self.api = api
        self.place = place

    @property
    def key(self) -> Hashable:
        """See Shared."""
        return type(self).__name__, self.api.identity, self.place

    @property
    @abstractmethod
    def path(self) -> str:
        """Path of the list."""

    @abstractmethod
    def entry(self, item: Mapping[str, Any]) -> tuple[Hashable, Any]:
        """Return the name of a listed job, and what is said of it; raise anything for what cannot be read."""

    def pages(self, waiting: int) -> int:
        """Return how many pages may be asked for, by the number of jobs that are waited for."""
        return 20

    async def look(self, names: Collection[Hashable]) -> dict[Hashable, Any]:
        """See Listing; an entry that cannot be read is the trouble of its own job only."""
        seen: dict[Hashable, Any] = {}
        async for page in self.api.list(self.path, self.params, self.items, pages=self.pages(len(names))):
            for item in page:
                try:
                    name, told = self.entry(item)
                    seen[name] = told
                except (AttributeError, TypeError, LookupError):
                    continue
            if self.is_enough(names, seen):
                break
        return seen

    def is_enough(self, names: Collection[Hashable], seen: Mapping[Hashable, Any]) -> bool:
        """Whether no further page is needed; a list of what runs is read to its end."""
        return False

    def __str__(self) -> str:
        return f"The list of {self.what} of {'/'.join(self.place)}"
