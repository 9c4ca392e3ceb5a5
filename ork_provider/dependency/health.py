"""Whether a triggerer is alive, as the API server says; for tasks that can do without one."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

HEALTH_TIMEOUT = 5.0


def has_triggerer(log: Any) -> bool:
    """Ask the API server's ``/api/v2/monitor/health``; True as well where it does not say."""
    import httpx

    url = "The API server"
    try:
        url = f"{api_server()}/api/v2/monitor/health"
        answer = httpx.get(url, timeout=HEALTH_TIMEOUT)
        triggerer = answer.raise_for_status().json()["triggerer"]
        status = triggerer["status"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as exc:
        log.warning("%s did not say whether a triggerer is alive (%s: %s); assuming one", url, type(exc).__name__, exc)
        return True
    if status == "healthy":
        return True
    log.warning("No triggerer is alive: %s says %s", url, triggerer)
    return False


def api_server() -> str:
    """Return where the API server is, without a slash at its end, as this worker's configuration has it."""
    from airflow.sdk.configuration import conf

    execution = str(conf.get("core", "execution_api_server_url", fallback="") or "")
    if execution:
        parts = urlsplit(execution)
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/execution')}"
    return str(conf.get("api", "base_url", fallback="") or "http://localhost:8080").rstrip("/")
