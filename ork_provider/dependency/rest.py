"""Another Airflow, through its REST API v2 and an Airflow ``http`` connection.

Source: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html and, for tokens,
https://airflow.apache.org/docs/apache-airflow/stable/security/api.html
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any
from urllib.parse import quote

from ork_provider.dependency.source import ENDED, FAR, RunStates, Source
from ork_provider.dependency.status import Instance
from ork_provider.errors import BadRequest, NotFound, TryAgain
from ork_provider.http.service import HttpEndpoint
from ork_provider.session import Request, Session, check, send_as
from ork_provider.session.secrets import scrub

PAGE = 1000
"""Entries asked for at once; an Airflow may be set to give fewer ([api] maximum_page_limit)."""

MAX_BODY = 16 * 1024 * 1024
"""Bytes of one page that are read at most; a task instance takes about 2 kB."""


NO_GROUP = "ork.no-such-group"
"""The id of a group that no DAG has."""


class RestApi(Source):
    """See Source.

    The connection's host is the base URL of the API server, such as ``https://airflow.example.com``. Its login and
    password are exchanged for a token; without a login the password is the token.
    """

    def __init__(self, session: Session, conn_id: str) -> None:
        self._session = session
        self._server = Server(session, conn_id)
        self._knows_groups = False

    # -- questions -----------------------------------------------------------------------------------------------

    async def run_states(self, dag_id: str, run_ids: Collection[str]) -> dict[str, str]:
        """See Source; one list of what is not over, then each run that is not in it."""
        running = await self._unfinished(dag_id) if len(run_ids) > 1 else set()
        states = {}
        for run_id in run_ids:
            if run_id in running:
                states[run_id] = "running"
            elif (run := await self._find(_run_path(dag_id, run_id))) is not None:
                states[run_id] = state_of_run(run)
        return states

    async def _unfinished(self, dag_id: str) -> set[str]:
        path = f"/dags/{quote(dag_id, safe='')}/dagRuns"
        try:
            runs = await self._get_all(path, "dag_runs", ("state", "running"), ("state", "queued"))
        except NotFound:  # the DAG
            return set()
        return {name_of_run(run) for run in runs}

    async def existing(self, dag_id: str, run_ids: Collection[str]) -> set[str]:
        """See Source."""
        return {run_id for run_id in run_ids if await self._find(_run_path(dag_id, run_id)) is not None}

    async def task_states(self, dag_id: str, run_ids: Collection[str], task_ids: Collection[str]) -> RunStates:
        """See Source."""
        which = {"dag_ids": [dag_id], "dag_run_ids": list(run_ids), "task_ids": sorted(task_ids)}
        found: dict[str, dict[Instance, str | None]] = defaultdict(dict)
        offset = 0
        while True:
            body = {**which, "page_limit": PAGE, "page_offset": offset, "order_by": "id"}
            page = await self._call("POST", "/dags/~/dagRuns/~/taskInstances/list", json=body)
            instances, total = read_page(page, "task_instances")
            _add(found, instances)
            offset += len(instances)
            if offset >= total or not instances:
                return found

    async def group_states(self, dag_id: str, run_ids: Collection[str], group_id: str | None) -> RunStates | None:
        """See Source; one request for each run. The API does not say whether there is such a group."""
        found: dict[str, dict[Instance, str | None]] = defaultdict(dict)
        for run_id in run_ids:
            path = f"{_run_path(dag_id, run_id)}/taskInstances"
            try:
                of_group = [("task_group_id", group_id)] if group_id else []
                instances = await self._get_all(path, "task_instances", *of_group)
                if of_group:
                    await self._check_groups(path)
            except NotFound:  # of the run, or of the DAG
                continue
            _add(found, instances)
        return found

    async def _check_groups(self, path: str) -> None:
        """Make sure, once, that there is no list for a group that does not exist: an older Airflow gives all tasks.

        :raises BadRequest: it is such a one
        """
        if self._knows_groups:
            return
        if await self._find(path, ("task_group_id", NO_GROUP), ("limit", "1")) is not None:
            raise BadRequest(
                "That Airflow's API does not tell the tasks of a group from others (3.2 does); name them in task_ids."
            )
        self._knows_groups = True

    async def runs_of_dates(self, dag_id: str, dates: Collection[str]) -> AsyncIterator[tuple[str, str]]:
        """See Source; one request for each."""
        for date in dates:
            exact = (("logical_date_gte", date), ("logical_date_lte", date))
            for run in await self._runs(dag_id, *exact):
                yield date, name_of_run(run)

    async def first_run(self, dag_id: str) -> str | None:
        """See Source."""
        runs = await self._runs(dag_id, ("order_by", "run_after"))
        return name_of_run(runs[0]) if runs else None

    async def latest_run(self, dag_id: str) -> str | None:
        """See Source; of runs without a logical date, which some databases sort before others, the last to start."""
        runs = await self._runs(dag_id, ("logical_date_lte", FAR.isoformat()), ("order_by", "-logical_date"))
        runs = runs or await self._runs(dag_id, ("order_by", "-run_after"))
        return name_of_run(runs[0]) if runs else None

    async def has_dag(self, dag_id: str) -> bool:
        """See Source."""
        return await self._find(f"/dags/{quote(dag_id, safe='')}") is not None

    async def xcom(self, dag_id: str, run_id: str, task_id: str, index: int) -> Any:
        """Return what a task instance has returned; None if nothing."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}/xcomEntries/return_value"
        as_json = (("deserialize", "false"), ("stringify", "false"))
        entry = await self._find(path, ("map_index", str(index)), *as_json)
        return None if entry is None else entry.get("value")

    async def _runs(self, dag_id: str, *params: tuple[str, str]) -> list[dict[str, Any]]:
        try:
            answer = await self._call(
                "GET", f"/dags/{quote(dag_id, safe='')}/dagRuns", params=(*params, ("limit", "1"))
            )
        except NotFound:  # the DAG
            return []
        return read_page(answer, "dag_runs")[0]

    # -- requests ------------------------------------------------------------------------------------------------

    async def _find(self, path: str, *params: tuple[str, str]) -> dict[str, Any] | None:
        try:
            return await self._call("GET", path, params=params)
        except NotFound:
            return None

    async def _get_all(self, path: str, key: str, *params: tuple[str, str]) -> list[dict[str, Any]]:
        """Return the entries of all pages."""
        entries: list[dict[str, Any]] = []
        while True:
            paging = (("limit", str(PAGE)), ("offset", str(len(entries))), ("order_by", "id"))
            page, total = read_page(await self._call("GET", path, params=(*params, *paging)), key)
            entries += page
            if len(entries) >= total or not page:
                return entries

    async def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        url, verify = await self._server.base_url(), await self._server.verify()
        asked = Request(
            method=method, url=f"{url}/api/v2{path}", verify=verify, max_body=MAX_BODY, shared=True, **request
        )
        signed = await self._server.headers()
        answer = await send_as(self._session.door, self._server, asked)
        if answer.status == 403:  # said of a missing permission, and of a token that an older secret has signed
            await self._server.renew(signed)
            answer = await send_as(self._session.door, self._server, asked)
        return read_object(asked, check(asked, answer).body)


class Server(HttpEndpoint):
    """Where another Airflow is, and the token with which we are known there."""

    def __init__(self, session: Session, conn_id: str) -> None:
        super().__init__(session, conn_id)
        self._token: str | None = None
        self._fetching = asyncio.Lock()

    async def headers(self) -> dict[str, str]:
        """See Credentials."""
        conn = await self._session.connection(self._conn_id)
        if conn.login:
            async with self._fetching:
                self._token = self._token or await self._fetch_token(conn.login, conn.password or "")
                return {**await self._extra(), "Authorization": f"Bearer {self._token}"}
        if conn.password:
            return {**await self._extra(), "Authorization": f"Bearer {conn.password}"}
        return await super().headers()

    async def _extra(self) -> dict[str, str]:
        """Return the connection's headers but the one in which the token goes."""
        headers = await super().headers()
        return {name: value for name, value in headers.items() if name.lower() != "authorization"}

    async def renew(self, stale: Mapping[str, str] | None = None) -> None:
        """See Credentials; what somebody else has renewed meanwhile stays."""
        conn = await self._session.connection(self._conn_id)
        signed = None if stale is None else stale.get("Authorization")
        if signed is not None and conn.login and signed != f"Bearer {self._token}":
            return
        if stale is not None and not conn.login and stale != await self.headers():
            return
        self._token = None
        await super().renew(stale)

    async def _fetch_token(self, login: str, password: str) -> str:
        asked = Request(
            method="POST",
            url=f"{await self.base_url()}/auth/token",
            json={"username": login, "password": password},
            headers=await self._extra(),
            verify=await self.verify(),
        )
        answer = read_object(asked, check(asked, scrub(asked, await self._session.door.send(asked))).body)
        token = answer.get("access_token")
        if not isinstance(token, str):
            raise TryAgain(f"{asked} answered without a token")
        return token


def read_object(asked: Request, body: bytes) -> dict[str, Any]:
    """Read an answer that must be a JSON object."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise TryAgain(f"{asked} answered something else than JSON") from exc
    if not isinstance(value, dict):
        raise TryAgain(f"{asked} answered JSON that is not an object")
    return value


def read_page(answer: Mapping[str, Any], key: str) -> tuple[list[dict[str, Any]], int]:
    """Read one page of a list: its entries, and how many there are in all."""
    entries, total = answer.get(key), answer.get("total_entries")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TryAgain(f"the answer is not a list of {key}")
    return entries, total if isinstance(total, int) else len(entries)


def name_of_run(run: Mapping[str, Any]) -> str:
    """Read the id of a run."""
    run_id = run.get("dag_run_id")
    if not isinstance(run_id, str):
        raise TryAgain("the answer is not a DAG run")
    return run_id


def state_of_run(run: Mapping[str, Any]) -> str:
    """Read the state of a run; ``running`` stands for all that are not over."""
    state = run.get("state")
    if not isinstance(state, str):
        raise TryAgain("the answer is not a DAG run")
    return state if state in ENDED else "running"


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"


def _add(found: dict[str, dict[Instance, str | None]], instances: list[dict[str, Any]]) -> None:
    for one in instances:
        task_id, index, state = one.get("task_id"), one.get("map_index"), one.get("state")
        if not isinstance(task_id, str) or not isinstance(index, int) or not isinstance(state, str | None):
            raise TryAgain("the answer is not a task instance")
        found[name_of_run(one)][task_id, index] = state
