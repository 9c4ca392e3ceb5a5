"""From a connection to a token, with google-auth itself; everything here may block, and is slow to import."""

from __future__ import annotations

import math
import re
import warnings
from datetime import timezone
from typing import TYPE_CHECKING, Any

import google.auth
from google.auth import impersonated_credentials
from google.auth.credentials import with_scopes_if_required
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.oauth2 import service_account

from ork_provider.errors import TryAgain
from ork_provider.google import Fetched
from ork_provider.google.transport import TokenRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ork_provider.errors import OrkError
    from ork_provider.google.connection import GoogleConnection

    Found = tuple[Any, str | None]  # google-auth's credentials, and their project

RARE = ("key_secret_name", "idp_issuer_url", "delegate_to")
"""Fields that Google's own reader understands better; importing it costs 0.5 CPU-seconds."""

_SUFFIX = ".iam.gserviceaccount.com"


def fetch(connection: GoogleConnection, held: Fetched | None) -> Fetched:
    """Fetch a token, with the credentials that we hold or with new ones.

    :raises TryAgain: when the token server is out of reach or in trouble
    :raises BadRequest: when it refuses us, or the connection is unusable
    """
    request = TokenRequest()
    try:
        if held and held.credentials:
            credentials, project = held.credentials, held.project
        else:
            credentials, project = _build(connection, request)
        # Not before_request(): it starts a thread that looks up Google's regional access boundaries.
        credentials.refresh(request)
    except DefaultCredentialsError as exc:
        remedy = "Set key_path, keyfile_dict or credential_config_file, or the machine's own credentials."
        raise connection.refuse(connection.source, _first_line(exc), remedy) from None
    except GoogleAuthError as exc:  # `from None`, here as above: google-auth quotes answers, tokens included
        raise _sorted(connection, exc, request) from None
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise _misread(connection, exc, request) from None
    finally:
        request.close()
    return _fetched(connection, credentials, project or None)


def _fetched(connection: GoogleConnection, credentials: Any, project: str | None) -> Fetched:
    headers = {"Authorization": f"Bearer {credentials.token}"}
    if quota := connection.text("quota_project_id") or getattr(credentials, "quota_project_id", None):
        headers["x-goog-user-project"] = quota
    expiry = credentials.expiry  # naive UTC, as google-auth has it
    expires = expiry.replace(tzinfo=timezone.utc).timestamp() if expiry else math.inf
    return Fetched(headers, expires, credentials, project)


def _sorted(connection: GoogleConnection, exc: GoogleAuthError, request: TokenRequest) -> OrkError:
    """Turn google-auth's error into ours, by how the last request went."""
    if request.trouble or exc.retryable:
        return _try_again(connection, request.trouble or request.refusal, request.retry_after)
    field, remedy = connection.source, "Check that key and account still exist, and this machine's clock."
    if connection.chain and ":generateAccessToken" in request.url:
        accounts = " and ".join(connection.chain)
        field, remedy = "impersonation_chain", f"Grant roles/iam.serviceAccountTokenCreator on {accounts}."
    return connection.refuse(field, f"no token, {request.refusal or _first_line(exc)}", remedy)


def _misread(connection: GoogleConnection, exc: Exception, request: TokenRequest) -> OrkError:
    """Sort what google-auth stumbled over: it uses fields and answers as if they were always right."""
    if request.url:
        return _try_again(connection, f"{request.origin} sent no token ({type(exc).__name__})")
    return connection.refuse(connection.source, f"is unusable ({type(exc).__name__})", "Check all of its parts.")


def _try_again(connection: GoogleConnection, problem: str, retry_after: float | None = None) -> TryAgain:
    message = f"Google connection {connection.conn_id!r}: no token for now, {problem}"
    return TryAgain(message, retry_after=retry_after, processed=False)


def _build(connection: GoogleConnection, request: TokenRequest) -> Found:
    quota = connection.text("quota_project_id")
    if quota and not re.fullmatch(r"[a-z0-9.:-]{1,100}", quota):
        raise connection.refuse("quota_project_id", "is not a project id", "Write it like my-project-123.")
    if any(name in connection.fields for name in RARE):
        return _from_provider(connection)
    read = _READERS.get(connection.source, _from_machine)
    credentials, project = read(connection, request)
    if universe := connection.text("universe_domain"):
        credentials = credentials.with_universe_domain(universe)
    if not connection.chain:
        return credentials, project
    *delegates, target = connection.chain
    impersonated = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        credentials, target, connection.scopes, delegates=delegates
    )
    return impersonated, _project_of(target) or project


def _from_machine(connection: GoogleConnection, request: TokenRequest) -> Found:
    shaped: Any = request
    return google.auth.default(scopes=connection.scopes, request=shaped)


def _from_key_path(connection: GoogleConnection, _: TokenRequest) -> Found:
    field = "key_path"
    return _service_account(connection, field, _read(connection, field, connection.fields[field]))


def _from_keyfile_dict(connection: GoogleConnection, _: TokenRequest) -> Found:
    field = "keyfile_dict"
    return _service_account(connection, field, connection.parsed(field, connection.fields[field]))


def _from_config(connection: GoogleConnection, request: TokenRequest) -> Found:
    field = "credential_config_file"
    config = connection.fields[field]
    is_path = isinstance(config, str) and not _looks_like_json(config)
    info = _read(connection, field, config) if is_path else connection.parsed(field, config)
    if info.get("type") == "service_account":
        return _service_account(connection, field, info)
    with warnings.catch_warnings():  # it warns of files from strangers; this one is the administrator's
        warnings.simplefilter("ignore", DeprecationWarning)
        loaded = google.auth.load_credentials_from_dict(info, request=request)  # type: ignore[no-untyped-call]
    credentials = with_scopes_if_required(loaded[0], connection.scopes)  # type: ignore[no-untyped-call]
    if loaded[1] or connection.text("project") or not hasattr(credentials, "get_project_id"):
        return credentials, loaded[1]
    return credentials, credentials.get_project_id(request)


_READERS: dict[str, Callable[[GoogleConnection, TokenRequest], Found]] = {
    "key_path": _from_key_path,
    "keyfile_dict": _from_keyfile_dict,
    "credential_config_file": _from_config,
}


def _from_provider(connection: GoogleConnection) -> Found:
    from airflow.exceptions import AirflowException  # type: ignore[attr-defined]
    from airflow.providers.google.cloud.utils import credentials_provider  # noqa: TID251 - RARE

    fields, chain = connection.fields, connection.chain
    objects = {
        name: connection.parsed(name, fields[name]) for name in ("keyfile_dict", "idp_extra_params") if name in fields
    }
    plain = ("key_path", "credential_config_file", "key_secret_project_id", "client_id", "client_secret")
    try:
        credentials, project = credentials_provider.get_credentials_and_project_id(
            keyfile_dict=objects.get("keyfile_dict"),
            idp_extra_params_dict=objects.get("idp_extra_params"),
            scopes=connection.scopes,
            target_principal=chain[-1] if chain else None,
            delegates=list(chain[:-1]) or None,
            **{name: fields.get(name) for name in (*plain, *RARE)},
        )
    except (AirflowException, OSError) as exc:
        named = " and ".join(name for name in RARE if name in fields)
        raise connection.refuse(named, _first_line(exc), "Correct the connection.") from None
    return credentials, project


def _service_account(connection: GoogleConnection, field: str, info: dict[str, Any]) -> Found:
    if info.get("type", "service_account") != "service_account":
        raise connection.refuse(field, "is not the key of a service account", "Use credential_config_file.")
    key = str(info.get("private_key", "")).replace("\\n", "\n")  # escaped twice on its way here
    try:
        credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            {**info, "private_key": key}, scopes=connection.scopes
        )
    except (TypeError, ValueError) as exc:
        problem = f"is not a usable service account key ({_first_line(exc)})"
        raise connection.refuse(field, problem, "Create a new JSON key and store it.") from None
    return credentials, credentials.project_id


def _read(connection: GoogleConnection, field: str, path: Any) -> dict[str, Any]:
    if not isinstance(path, str) or _looks_like_json(path):
        raise connection.refuse(field, "holds JSON, not the path of a file", "Put it into keyfile_dict.")
    if path.endswith(".p12"):
        raise connection.refuse(field, "names a P12 file", "Create a JSON key and store it.")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError) as exc:
        problem = f"file {path!r} cannot be read ({type(exc).__name__})"
        raise connection.refuse(field, problem, "Put it on every worker and triggerer.") from exc
    return connection.parsed(field, text)


def _looks_like_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def _project_of(account: str) -> str | None:
    """Return the project that a service account lives in, if its address tells."""
    host = account.partition("@")[2]
    if not host.endswith(_SUFFIX):
        return None
    name, _, organisation = host[: -len(_SUFFIX)].partition(".")
    return f"{organisation}:{name}" if organisation else name


def _first_line(exc: Exception) -> str:
    said = str(exc.args[0] if exc.args and not isinstance(exc, OSError) else exc)
    return next(iter(said.splitlines()), type(exc).__name__)[:300]
