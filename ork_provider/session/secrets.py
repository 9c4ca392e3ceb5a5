"""What in a request must not be seen: secret headers and query parameters, wherever a person may read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from ork_provider.errors import InvalidJob
from ork_provider.templates import is_reference
from ork_provider.text import one_line

if TYPE_CHECKING:
    from ork_provider.session.door import Request, Response

HIDDEN = "***"

_SECRET_WORDS = ("auth", "cookie", "token", "secret", "passw", "apikey", "credential", "signature")
_SECRET_ENDS = ("-key", "-pwd", "-sig")
_NO_SECRETS = ("idempotency-key", "x-idempotency-key")

_SECRET_PARAMETERS = ("sig", "code", "pwd")
"""Query parameters whose names do not tell: a signature of Azure Storage, a key of Azure Functions, a password."""

_PARAMETER = re.compile(r"(?<=[?&;])([^=&;#]+)=([^&;#]*)")
_USER_INFO = re.compile(r"(?<=:)//[^/?#]*@")

_SHORTEST = 6
"""Characters of a value that is looked for in texts; a shorter one would be found everywhere."""

_SHORTEST_IN_URL = 12
"""The same of a query parameter: ``code=completed`` is no secret, and a log without that word makes no sense."""


def is_secret(header: str) -> bool:
    """Whether a header's value must not be seen."""
    name = header.lower().replace("_", "-")
    secret = any(word in name for word in _SECRET_WORDS) or name.endswith(_SECRET_ENDS) or name == "key"
    return secret and name not in _NO_SECRETS


class Headers(Mapping[str, Any]):
    """Headers as an operator keeps them: Airflow renders them, but never gets to show a secret one.

    A template field's value is stored in the metadata database twice: with the DAG, and rendered. Airflow asks an
    object with ``template_fields`` for what to render and one with ``serialize`` for what to store.
    """

    template_fields = ("content",)

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = dict(content)

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)

    def serialize(self) -> dict[str, Any]:
        """Return what may be seen."""
        return {name: HIDDEN if is_secret(str(name)) else value for name, value in self.content.items()}

    def __repr__(self) -> str:
        return repr(self.serialize())


def seal(headers: Mapping[str, str]) -> str | None:
    """Return headers encrypted with Airflow's Fernet key (``[core] fernet_key``); None where there is none.

    Airflow 3.3 stores the arguments of a task's trigger as they are (``ti_patch_payload.trigger_kwargs`` in its
    execution API), so that a secret among them must be encrypted before.
    """
    fernet = _fernet()
    if fernet is None:
        return None
    sealed: bytes = fernet.encrypt(json.dumps(dict(headers)).encode())
    return sealed.decode()


def unseal(sealed: str) -> dict[str, str]:
    """Return the headers that ``seal`` has encrypted, perhaps in another process.

    :raises InvalidJob: this process has another key, or none
    """
    from cryptography.fernet import InvalidToken

    fernet = _fernet()
    try:
        if fernet is None:
            raise InvalidToken
        headers: dict[str, str] = json.loads(fernet.decrypt(sealed.encode()))
    except (InvalidToken, ValueError) as exc:
        raise InvalidJob(
            "sealed_headers: a job's secret headers cannot be decrypted. Give the worker and the triggerer the same "
            "Fernet key ([core] fernet_key), or put the headers into the Airflow connection."
        ) from exc
    return headers


def _fernet() -> Any:
    """Return what encrypts with Airflow's key; None where there is no usable one."""
    from airflow.sdk.crypto import get_fernet
    from airflow.sdk.exceptions import AirflowException

    try:
        fernet = get_fernet()
    except AirflowException:  # without an airflow.cfg the SDK reads the template of one: "{FERNET_KEY}"
        return None
    return fernet if fernet.is_encrypted else None


def hide_headers(value: Any) -> Any:
    """Return a dict of headers as Headers; anything else, and a dict that Airflow has yet to resolve, as it is."""
    return Headers(value) if isinstance(value, dict) and not _has_references(value) else value


def _has_references(value: Mapping[str, Any]) -> bool:
    """Whether a dict holds outputs of other tasks: Airflow finds them in plain dicts only."""
    return any(map(is_reference, value.values()))


def scrub(request: Request, response: Response) -> Response:
    """Return a refusal without the secrets that the request had: services like to quote what they refuse."""
    if response.status < 300:
        return response
    body = response.body
    for secret in sorted(secrets_of(request.headers), key=len, reverse=True):
        for spelt in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
            body = body.replace(spelt.encode(), HIDDEN.encode())
    return response if body == response.body else replace(response, body=body)


def secrets_of(headers: Mapping[str, str]) -> set[str]:
    """Return the secret values among headers, whole and without their scheme (``Bearer``)."""
    values = {value for name, value in headers.items() if is_secret(name) and isinstance(value, str)}
    parts = {value.partition(" ")[2] for value in values}
    return {secret for secret in values | parts if len(secret) >= _SHORTEST}


def hide_secrets(value: Any) -> Any:
    """Return a JSON value as messages quote it: ``***`` for what stands under a name that looks secret."""
    if isinstance(value, dict):
        return {name: HIDDEN if is_secret(str(name)) else hide_secrets(item) for name, item in value.items()}
    return [hide_secrets(item) for item in value] if type(value) is list else value


def show_url(url: str, limit: int = 300) -> str:
    """Return a URL as messages show it: one line, no login, ``***`` for secret query parameters, no fragment."""
    url = _USER_INFO.sub("//", url.partition("#")[0])
    return one_line(_PARAMETER.sub(_hide, url), limit)


def _hide(parameter: re.Match[str]) -> str:
    return f"{parameter[1]}={HIDDEN}" if _is_secret_parameter(parameter[1]) else parameter[0]


def _is_secret_parameter(name: str) -> bool:
    return is_secret(name) or name.lower() in _SECRET_PARAMETERS


def secrets_of_url(url: str) -> set[str]:
    """Return the values of a URL's secret query parameters, as they stand there and as they read."""
    query = url.partition("#")[0].partition("?")[2]
    spelt = {value for name, value in _PARAMETER.findall(f"?{query}") if _is_secret_parameter(name)}
    read = {value for name, value in parse_qsl(query) if _is_secret_parameter(name)}
    return {secret for secret in spelt | read if len(secret) >= _SHORTEST_IN_URL}
