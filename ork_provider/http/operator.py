"""HttpJobOperator starts a job with one request and waits for it; HttpJobSensor waits for somebody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ork_provider.attempt import Attempt
from ork_provider.errors import BadRequest, InvalidJob, TryAgain, UnknownOutcome
from ork_provider.http.job import HttpJob, check_http_fields
from ork_provider.http.json_path import MISSING, check_path, find
from ork_provider.http.service import HTTP_CONNECTION, HttpService, fill, status_url_of, without_secrets
from ork_provider.job import Job, JobStatus, describe
from ork_provider.operator import JobOperator, WaitOperator
from ork_provider.session import hide_headers, same_origin, show_url
from ork_provider.trigger import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ork_provider.session import Response
    from ork_provider.worker import Worker

STATUS_FIELDS = (
    "success_status_codes",
    "running_status_codes",
    "failure_status_codes",
    "completion_field",
    "completion_value",
    "failure_value",
    "running_value",
    "message_field",
    "cancel_method",
    "max_body_bytes",
    "follow_redirects",
)
"""Fields of HttpJob that an operator takes under the same names, with the same defaults and meanings."""

_DEFAULTS = HttpJob(url="/")


class HttpJobTrigger(JobTrigger):
    """Waits for HTTP jobs."""

    classpath: ClassVar[str] = "ork_provider.http.HttpJobTrigger"
    connection_defaults: ClassVar[Mapping[str, Any]] = HTTP_CONNECTION


class _HttpOperator(WaitOperator):
    """What the operator and the sensor share: how a status is read, and the connection."""

    trigger_class = HttpJobTrigger
    job_type = HttpJob
    method: str

    def __init__(
        self,
        *,
        http_conn_id: str = HTTP_CONNECTION["http_conn_id"],
        success_status_codes: Sequence[int] = (200,),
        running_status_codes: Sequence[int] = (202,),
        failure_status_codes: Sequence[int] = (),
        completion_field: str | None = _DEFAULTS.completion_field,
        completion_value: Any = _DEFAULTS.completion_value,
        failure_value: Any = None,
        running_value: Any = None,
        message_field: str | None = None,
        cancel_method: str = _DEFAULTS.cancel_method,
        result_field: str | None = None,
        max_body_bytes: int = _DEFAULTS.max_body_bytes,
        follow_redirects: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.http_conn_id = http_conn_id
        self.success_status_codes = as_list(success_status_codes)
        self.running_status_codes = as_list(running_status_codes)
        self.failure_status_codes = as_list(failure_status_codes)
        self.completion_field = completion_field
        self.completion_value = completion_value
        self.failure_value = failure_value
        self.running_value = running_value
        self.message_field = message_field
        self.cancel_method = cancel_method
        self.result_field = result_field
        self.max_body_bytes = max_body_bytes
        self.follow_redirects = follow_redirects

    @property
    def headers(self) -> Any:
        """The headers; secret ones are rendered, but not shown."""
        return self._headers

    @headers.setter
    def headers(self, value: Any) -> None:
        self._headers = hide_headers(value)

    def _check_status_fields(self) -> None:
        check_http_fields(self, str(self))
        check_path(self.result_field, f"{self}.result_field")

    def _new_job(self, url: str, **more: Any) -> HttpJob:
        status = {name: getattr(self, name) for name in STATUS_FIELDS}
        return HttpJob(url=url, **{**status, **more})

    def revive(self, job: Job, status: JobStatus) -> tuple[Job, JobStatus]:
        """Give a stored job its secret headers back."""
        assert isinstance(job, HttpJob)
        return job.with_headers(self.headers or {}), status

    async def finish(self, job: Job, status: JobStatus, worker: Worker) -> dict[str, Any]:
        """Fetch the result: of ``result_url`` if there is one, else out of the status answer."""
        assert isinstance(job, HttpJob)
        if self.result_field is None and job.result_url is None:
            return {}
        service = await http_service(worker)
        document = await service.fetch(job, self.max_body_bytes)
        if self.result_field is None:
            return {"result": document}
        found = find(document, self.result_field)
        if found is MISSING:
            raise BadRequest(f"The result has no {self.result_field!r}: {describe(document)}. Correct result_field.")
        return {"result": found}


class HttpJobOperator(_HttpOperator, JobOperator):
    """Starts a job with one HTTP request and waits for it without holding a worker.

    Returns the job's dict with ``state``, ``message``, ``link`` and, when ``result_field`` or ``result_url``
    asks for it, ``result``. Where to ask for the status is taken, in this order, from ``status_url``, from
    ``status_url_path`` in the answer, or from the answer's ``Location`` header. How a status is read:
    see HttpJob.

    :param endpoint: URL that starts a job, relative to the connection's base URL or absolute
    :param method: of the request that starts it
    :param data: its JSON body
    :param headers: of all requests; secrets belong in the connection
    :param job_id_path: path of the job's id in the answer, for ``{job_id}`` in the URLs below
    :param status_url: URL that tells the status, such as ``/jobs/{job_id}``
    :param status_url_path: path of that URL in the answer
    :param result_field: path of the result in the answer that says "completed", or in that of ``result_url``
    :param result_url: URL of the result, such as ``/jobs/{job_id}/result``
    :param cancel_url: URL that cancels the job; without it a kill or a timeout leaves the job running
    :param idempotency_header: header under which the service recognises a repeated request, such as
        ``Idempotency-Key``. Name it if the service has one: then a lost answer is asked for again. Without it
        a request whose answer was lost is never sent again, and the task fails and says so
    :param resubmit_unknown: send such a request again all the same: rather two jobs than none
    :param http_conn_id: Airflow connection of type ``http``
    """

    template_fields: Sequence[str] = (
        "endpoint",
        "data",
        "headers",
        "job_id_path",
        "status_url",
        "status_url_path",
        "result_field",
        "result_url",
        "cancel_url",
        "completion_field",
        "completion_value",
        "failure_value",
        "running_value",
        "http_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"data": "json", "headers": "json"}
    ui_color = "#e6f4ea"
    lost_answer = (
        f"{JobOperator.lost_answer} If the service honours an idempotency key, name its header (idempotency_header)."
    )

    def __init__(
        self,
        *,
        endpoint: str,
        method: str = "POST",
        data: Any = None,
        headers: dict[str, str] | None = None,
        job_id_path: str | None = "$.id",
        status_url: str | None = None,
        status_url_path: str | None = None,
        result_url: str | None = None,
        cancel_url: str | None = None,
        idempotency_header: str | None = None,
        resubmit_unknown: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.method = method
        self.data = data
        self.headers = headers
        self.job_id_path = job_id_path
        self.status_url = status_url
        self.status_url_path = status_url_path
        self.result_url = result_url
        self.cancel_url = cancel_url
        self.idempotency_header = idempotency_header
        self.resubmit_unknown = resubmit_unknown
        self._check_status_fields()
        self._check_sources()

    def _check_sources(self) -> None:
        if self.status_url is not None and self.status_url_path is not None:
            raise InvalidJob(f"{self}: give either status_url or status_url_path; got both.")
        for name in ("job_id_path", "status_url_path"):
            check_path(getattr(self, name), f"{self}.{name}")
        if self._needs_id and self.job_id_path is None:
            raise InvalidJob(f"{self}: a URL has {{job_id}}, but job_id_path is None.")

    @property
    def _needs_id(self) -> bool:
        return any("{job_id}" in url for url in self._urls)

    @property
    def _urls(self) -> list[str]:
        urls = (self.status_url, self.result_url, self.cancel_url)
        return [url for url in urls if isinstance(url, str)]

    @property
    def can_resubmit(self) -> bool:  # type: ignore[override]
        """Whether a request whose answer was lost may be sent again."""
        return self.idempotency_header is not None or self.resubmit_unknown

    def build_request(self, context: Context) -> dict[str, Any]:
        """See JobOperator; what was a template when the DAG was parsed is checked now, before anything is sent."""
        self._check_status_fields()
        self._check_sources()
        return {"method": self.method, "endpoint": self.endpoint, "data": self.data}

    async def name_job(self, context: Context, nonce: str, worker: Worker) -> None:
        """Return None: an HTTP service names its jobs itself."""

    async def submit(self, attempt: Attempt, request: Mapping[str, Any], context: Context, worker: Worker) -> HttpJob:
        """See JobOperator."""
        service = await http_service(worker)
        await service.check_urls(*(fill(url, "0") for url in self._urls))
        key = {self.idempotency_header: attempt.nonce} if self.idempotency_header else {}
        headers = {**(self.headers or {}), **key}
        response = await service.start(request, headers, can_resend=self.can_resubmit)
        try:
            return await self._read_answer(response, service)
        except TryAgain as exc:
            if self.can_resubmit:
                raise
            raise UnknownOutcome(f"A job was started, but its answer cannot be read: {exc}") from exc
        except BadRequest as exc:  # not "nothing was started"
            if isinstance(exc, UnknownOutcome):
                raise
            raise UnknownOutcome(f"A job was started, but it cannot be asked for. {exc}") from exc

    async def _read_answer(self, response: Response, service: HttpService) -> HttpJob:
        """Return the job that the answer names."""
        needs_body = self._needs_id or self.status_url_path is not None
        answer = response.json() if needs_body else None
        job_id = self._pick(answer, self.job_id_path) if self._needs_id else None
        url = await self._status_url(response, answer, job_id, service)
        await service.check_urls(url)
        return self._new_job(
            url,
            headers=await self._headers_for(url, service),
            cancel_url=fill(self.cancel_url, job_id) if self.cancel_url else None,
            result_url=fill(self.result_url, job_id) if self.result_url else None,
        )

    @property
    def _call(self) -> str:
        return f"{self.method} {show_url(self.endpoint)}"

    async def _headers_for(self, url: str, service: HttpService) -> dict[str, str]:
        """Return the headers; without the secret ones if the answer has sent us to another server."""
        headers = dict(self.headers or {})
        if same_origin(await service.full_url(self.endpoint), await service.full_url(url)):
            return headers
        return without_secrets(headers)

    async def _status_url(self, response: Response, answer: Any, job_id: str | None, service: HttpService) -> str:
        if self.status_url is not None:
            return fill(self.status_url, job_id)
        started = await service.full_url(self.endpoint)
        if self.status_url_path is not None:
            return status_url_of(started, self._pick(answer, self.status_url_path))
        location = response.headers.get("location")
        if not location:
            raise UnknownOutcome(
                f"A job was started, but the answer of {self._call} has no Location header, and "
                "neither status_url nor status_url_path says where its status is. Set one of them."
            )
        return status_url_of(started, location)

    def _pick(self, answer: Any, path: str | None) -> str:
        value = find(answer, str(path))
        if value is MISSING or value is None or isinstance(value, dict | list):
            raise UnknownOutcome(
                f"A job was started, but the answer of {self._call} has no {path!r}: "
                f"{describe(answer)}. Correct job_id_path or status_url_path."
            )
        return str(value)


class HttpJobSensor(_HttpOperator):
    """Waits for a job behind an HTTP API that somebody else has started.

    Returns as HttpJobOperator does. How a status is read: see HttpJob. A kill or a timeout leaves the job alone
    unless ``cancel_on_kill`` or ``cancel_on_timeout`` says otherwise and ``cancel_url`` says how.

    :param endpoint: URL that tells the status, relative to the connection's base URL or absolute
    :param method: of the request that asks
    :param data: JSON body of the request that asks
    :param headers: of the request that asks; secrets belong in the connection
    :param cancel_url: URL that cancels the job
    :param http_conn_id: Airflow connection of type ``http``
    """

    template_fields: Sequence[str] = (
        "endpoint",
        "data",
        "headers",
        "cancel_url",
        "result_url",
        "result_field",
        "completion_field",
        "completion_value",
        "failure_value",
        "running_value",
        "http_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"data": "json", "headers": "json"}
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        endpoint: str,
        method: str = "GET",
        data: Any = None,
        headers: dict[str, str] | None = None,
        cancel_url: str | None = None,
        result_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.method = method
        self.data = data
        self.headers = headers
        self.cancel_url = cancel_url
        self.result_url = result_url
        self._check_status_fields()

    def wanted_jobs(self, context: Context) -> Sequence[Job]:
        """See WaitOperator."""
        self._check_status_fields()
        return [
            self._new_job(
                self.endpoint,
                method=self.method,
                body=self.data,
                headers=dict(self.headers or {}),
                cancel_url=self.cancel_url,
                result_url=self.result_url,
            )
        ]


def as_list(value: Any) -> Any:
    """Return a sequence as a list; anything else as it is, to be refused by name."""
    return list(value) if isinstance(value, list | tuple | set | frozenset | range) else value


async def http_service(worker: Worker) -> HttpService:
    """Return the HTTP service of the operator's connection."""
    service = await worker.services.open(HttpService)
    assert isinstance(service, HttpService)
    return service
