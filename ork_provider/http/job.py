"""HttpJob: where to ask, and which answers mean success, failure and still running."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

from ork_provider.errors import InvalidJob
from ork_provider.http.json_path import check_path
from ork_provider.job import Job, JobState, check_type, describe
from ork_provider.session import MAX_BODY, is_secret, seal, secrets_of, secrets_of_url, show_url, unseal
from ork_provider.templates import is_template

USUAL_FAILURES = ("failed", "failure", "error", "cancelled", "canceled", "aborted")
"""Values that mean failure when ``failure_value`` names none; an empty list means that none does."""

CANCELLED_WORDS = ("cancelled", "canceled", "aborted", "killed")

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")

_URLS = ("url", "endpoint", "status_url", "result_url", "cancel_url")
"""Fields that hold a URL, of a job or of an operator."""


@dataclass(frozen=True, kw_only=True)
class HttpJob(Job):
    """A job behind an HTTP API.

    Ork's ``CustomHttp``, and its spellings ``status_field`` and ``success_value``, are the same thing.
    A *value* below is any JSON value, or a list of values any of which counts.

    :param url: URL that tells the status; relative to the connection's base URL, or absolute
    :param method: of the request that asks
    :param headers: of the request that asks; secrets belong in the connection
    :param body: JSON body of the request that asks
    :param success_status_codes: answers whose body is read (or that mean success when ``completion_field`` is None)
    :param running_status_codes: answers that mean still running
    :param failure_status_codes: answers that mean failed
    :param completion_field: name or path (``$.job.status``) of the status in the JSON body; None: status codes only
    :param completion_value: value that means success
    :param failure_value: value that means failure; None: the usual words (``USUAL_FAILURES``)
    :param running_value: value that means still running; None: any other value does
    :param message_field: path of the text that says why a job failed
    :param cancel_url: URL that cancels the job; None: it cannot be cancelled
    :param cancel_method: of the request that cancels
    :param result_url: URL of the result, fetched after success
    :param max_body_bytes: an answer may be so large at most
    :param follow_redirects: go where an answer to GET or HEAD redirects to on the same server, five times at most
    :param withheld_headers: names of the secret headers that this copy of the job had to do without
    """

    kind: ClassVar[str] = "custom_http"
    service: ClassVar[str] = "ork_provider.http.service:HttpService"

    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict, hash=False, repr=False)
    body: Any = field(default=None, hash=False)
    success_status_codes: list[int] = field(default_factory=lambda: [200], hash=False)
    running_status_codes: list[int] = field(default_factory=lambda: [202], hash=False)
    failure_status_codes: list[int] = field(default_factory=list, hash=False)
    completion_field: str | None = "status"
    completion_value: Any = field(default="completed", hash=False)
    failure_value: Any = field(default=None, hash=False)
    running_value: Any = field(default=None, hash=False)
    message_field: str | None = None
    cancel_url: str | None = None
    cancel_method: str = "DELETE"
    result_url: str | None = None
    max_body_bytes: int = MAX_BODY
    follow_redirects: bool = False
    withheld_headers: list[str] = field(default_factory=list, hash=False)

    @property
    def remote_id(self) -> str:
        """The URL."""
        return self.url

    @property
    def link(self) -> str | None:
        """The URL, if it is a whole one; without the values of secret query parameters."""
        return show_url(self.url, len(self.url)) if self.url.startswith(("http://", "https://")) else None

    @property
    def secrets(self) -> Set[str]:
        """The values of secret headers, and of secret query parameters."""
        urls = (self.url, self.cancel_url or "", self.result_url or "")
        return secrets_of(self.headers).union(*map(secrets_of_url, urls))

    def public_dict(self) -> dict[str, Any]:
        """See Job; headers that look secret are left out, and named in ``withheld_headers``."""
        shown = {name: value for name, value in self.headers.items() if not is_secret(name)}
        hidden = sorted(set(self.headers) - set(shown))
        if hidden:
            _warn_secret(tuple(hidden))
        withheld = sorted({*self.withheld_headers, *hidden})
        return {**self.to_dict(), "headers": shown, "withheld_headers": withheld}

    def sealed_dict(self) -> dict[str, Any]:
        """See Job; secret headers are in ``sealed_headers``."""
        public = self.public_dict()
        hidden = {name: self.headers[name] for name in public["withheld_headers"] if name in self.headers}
        sealed = seal(hidden) if hidden else None
        if sealed is None:
            return public
        return {**public, "withheld_headers": self.withheld_headers, "sealed_headers": sealed}

    def with_headers(self, headers: Mapping[str, str]) -> HttpJob:
        """Return the job with the headers that were withheld from it, and with no others."""
        given = {name: headers[name] for name in self.withheld_headers if name in headers}
        return replace(self, headers={**self.headers, **given}, withheld_headers=[])

    @classmethod
    def read_aliases(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read Ork's wire names too, and headers that were sealed."""
        read = {_ALIASES.get(name, name): value for name, value in data.items()}
        if sealed := read.pop("sealed_headers", None):
            check_type(sealed, str, "HttpJob.sealed_headers")
            check_type(read.get("headers") or {}, dict[str, str], "HttpJob.headers")
            read["headers"] = {**(read.get("headers") or {}), **unseal(sealed)}
        return read

    def __post_init__(self) -> None:
        check_http_fields(self, "HttpJob")

    def verdict(self, value: Any) -> JobState | None:
        """Return what a status value means; None if it is none of the declared ones."""
        if among(value, self.completion_value):
            return JobState.SUCCEEDED
        failures = list(USUAL_FAILURES) if self.failure_value is None else self.failure_value
        folded = value.lower() if isinstance(value, str) and self.failure_value is None else value
        if among(folded, failures):
            cancelled = isinstance(value, str) and value.lower() in CANCELLED_WORDS
            return JobState.CANCELLED if cancelled else JobState.FAILED
        if self.running_value is None or among(value, self.running_value):
            return JobState.RUNNING
        return None

    def __str__(self) -> str:
        return f"HTTP job {show_url(self.url)}"


CustomHttp = HttpJob
"""Ork's name for it."""

_ALIASES = {"status_field": "completion_field", "success_value": "completion_value"}


def check_http_fields(holder: Any, where: str) -> None:
    """Raise InvalidJob for a method, URL, path or status code without sense; operators have the same fields."""
    _check_urls(holder, where)
    for name in ("method", "cancel_method"):
        method = getattr(holder, name)
        if not isinstance(method, str) or method.upper() not in METHODS:
            raise InvalidJob(f"{where}.{name}: expected one of {', '.join(METHODS)}, got {describe(method)}.")
    for name in ("completion_field", "message_field"):
        check_path(getattr(holder, name), f"{where}.{name}")
    for name in ("success_status_codes", "running_status_codes", "failure_status_codes"):
        codes = getattr(holder, name)
        if not isinstance(codes, list) or not all(type(code) is int and 100 <= code <= 599 for code in codes):
            raise InvalidJob(f"{where}.{name}: expected a list of HTTP status codes, got {describe(codes)}.")
    if type(holder.max_body_bytes) is not int or holder.max_body_bytes < 1:
        raise InvalidJob(f"{where}.max_body_bytes: expected a number of bytes, got {describe(holder.max_body_bytes)}.")
    if not isinstance(holder.follow_redirects, bool):
        raise InvalidJob(f"{where}.follow_redirects: expected True or False, got {describe(holder.follow_redirects)}.")


def _check_urls(holder: Any, where: str) -> None:
    """Raise InvalidJob for a URL with a login in it, which would be stored and shown wherever the URL is."""
    for name in _URLS:
        url = getattr(holder, name, None)
        if isinstance(url, str) and not is_template(url) and _LOGIN.match(url):
            raise InvalidJob(
                f"{where}.{name}: a URL may not hold a login (user:password@host); put it into the Airflow connection."
            )


_LOGIN = re.compile(r"\s*[^/?#]*//[^/?#]*@")


def among(value: Any, wanted: Any) -> bool:
    """Whether a JSON value is the wanted one, or one of a list of wanted ones; true is not 1."""
    if isinstance(wanted, list | tuple | set | frozenset):
        return any(_same(value, one) for one in wanted)
    return _same(value, wanted)


def _same(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


@cache  # once per process and set of names
def _warn_secret(names: tuple[str, ...]) -> None:
    logging.getLogger(__name__).warning(
        "An HTTP job carries the header(s) %s: they travel encrypted with Airflow's Fernet key and are left out of "
        "XCom and logs, but belong in the extra of an Airflow http connection",
        ", ".join(names),
    )
