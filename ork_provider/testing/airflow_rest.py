"""The few calls of Airflow's REST API (`/api/v2`) that a test or a demo needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

T = TypeVar("T")
JsonDict = dict[str, Any]

SAME_IN_EVERY_LINE = {"dag_id", "run_id", "task_id", "map_index", "try_number", "ti_id", "filename", "lineno"}
FINISHED_RUN = ("success", "failed")


class LocalAirflowError(RuntimeError):
    """Airflow did not start, refused a request, or was not done in time; the message says which and why."""


class AirflowRest:
    """The few calls of Airflow's REST API that a test needs; every answer is the API's own JSON."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=f"{url}/api/v2", timeout=30, trust_env=False)

    def trigger_dag(
        self, dag_id: str, conf: JsonDict | None = None, run_id: str | None = None, logical_date: str | None = None
    ) -> str:
        """Start a run of a DAG; return its run_id."""
        body = {"logical_date": logical_date, "conf": conf or {}, "dag_run_id": run_id}
        answer = self._call("POST", f"/dags/{dag_id}/dagRuns", json=body)
        return str(answer["dag_run_id"])

    def dag_run(self, dag_id: str, run_id: str) -> JsonDict:
        """Return one run."""
        return self._call("GET", _run(dag_id, run_id))

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Delete a run and its task instances."""
        self._call("DELETE", _run(dag_id, run_id))

    def task_instances(self, dag_id: str, run_id: str) -> list[JsonDict]:
        """Return all task instances of a run, mapped ones included."""
        found: list[JsonDict] = []
        while True:
            page = {"limit": 100, "offset": len(found)}
            answer = self._call("GET", f"{_run(dag_id, run_id)}/taskInstances", params=page)
            found += answer["task_instances"]
            if len(found) >= answer["total_entries"] or not answer["task_instances"]:
                return found

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> JsonDict:
        """Return one task instance."""
        return self._call("GET", f"{_task(dag_id, run_id, task_id)}/{map_index}")

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return the value of an XCom as JSON; None if there is none of that key."""
        path = f"{_task(dag_id, run_id, task_id)}/xcomEntries/{quote(key)}"
        answer = self._send("GET", path, params={"map_index": map_index, "stringify": "false"})
        return None if answer.status_code == 404 else _json(answer)["value"]

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int | None = None) -> None:
        """Mark a task "failed", "success" or "skipped" as a user does; without index, all mapped copies."""
        index = "" if map_index is None else f"/{map_index}"
        self._call("PATCH", f"{_task(dag_id, run_id, task_id)}{index}", json={"new_state": state})

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a whole run "failed", "success" or "queued" as a user does."""
        self._call("PATCH", _run(dag_id, run_id), json={"state": state})

    def clear(self, dag_id: str, run_id: str, task_ids: Iterable[str | tuple[str, int]]) -> None:
        """Clear tasks, whatever their state; `(task_id, map_index)` clears one mapped copy."""
        body = {"dag_run_id": run_id, "task_ids": list(task_ids), "only_failed": False, "dry_run": False}
        self._call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log that the UI shows for a try: worker and triggerer merged, one line per message."""
        path = f"{_task(dag_id, run_id, task_id)}/logs/{try_number}"
        answer = self._call("GET", path, params={"map_index": map_index, "full_content": "true"})
        return "\n".join(map(_log_line, answer["content"]))

    def health(self) -> JsonDict:
        """Return the state and the last heartbeat of every component."""
        return self._call("GET", "/monitor/health")

    def wait(self, dag_id: str, run_id: str, timeout: float = 120) -> str:
        """Wait until a run has ended; return "success" or "failed"."""

        def finished() -> str | None:
            state = str(self.dag_run(dag_id, run_id)["state"])
            return state if state in FINISHED_RUN else None

        return self._until(finished, timeout, lambda: f"{dag_id} {run_id}: {self._states(dag_id, run_id)}")

    def wait_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: str | Iterable[str],
        *,
        map_index: int = -1,
        timeout: float = 60,
    ) -> JsonDict:
        """Wait until a task instance is in one of the states; return it."""
        wanted = {states} if isinstance(states, str) else set(states)

        def reached() -> JsonDict | None:
            instances = self.task_instances(dag_id, run_id)
            ours = (i for i in instances if (i["task_id"], i["map_index"]) == (task_id, map_index))
            return next((i for i in ours if i["state"] in wanted), None)

        def problem() -> str:
            return f"{task_id}[{map_index}] to be {sorted(wanted)}: {self._states(dag_id, run_id)}"

        return self._until(reached, timeout, problem)

    def _until(self, ask: Callable[[], T | None], timeout: float, what: Callable[[], str]) -> T:
        """Ask until there is an answer."""
        deadline = time.monotonic() + timeout
        while (answer := ask()) is None:
            if time.monotonic() > deadline:
                raise LocalAirflowError(f"Waited {timeout:g} s for {what()}")
            time.sleep(0.25)
        return answer

    def _states(self, dag_id: str, run_id: str) -> str:
        instances = self.task_instances(dag_id, run_id)
        return ", ".join(f"{i['task_id']}[{i['map_index']}] is {i['state']}" for i in instances)

    def _call(self, method: str, path: str, **request: Any) -> JsonDict:
        return _json(self._send(method, path, **request))

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._http.request(method, path, headers={"Accept": "application/json"}, **request)


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _task(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run(dag_id, run_id)}/taskInstances/{task_id}"


def _json(answer: httpx.Response) -> JsonDict:
    if answer.is_error:
        request = answer.request
        raise LocalAirflowError(f"{request.method} {request.url.path}: {answer.status_code} {answer.text[:500]}")
    return dict(answer.json()) if answer.content else {}


def _log_line(message: JsonDict | str) -> str:
    """Return a message of Airflow's structured log as text: time, level, event, then what the others do not say."""
    if isinstance(message, str):
        return message
    rest = {name: value for name, value in message.items() if value and name not in SAME_IN_EVERY_LINE}
    first = [str(rest.pop(name, "")) for name in ("timestamp", "level", "event")]
    return " ".join([*filter(None, first), *(f"{name}={value}" for name, value in rest.items())])
