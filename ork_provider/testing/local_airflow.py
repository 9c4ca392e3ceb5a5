"""A real Airflow on this machine, for as long as a `with` block lasts: for end-to-end tests and for the demo.

    with LocalAirflow(Path("dags"), env=bigquery.connections()) as airflow:
        run_id = airflow.trigger_dag("nightly")
        assert airflow.wait("nightly", run_id, timeout=120) == "success"

Scheduler (LocalExecutor), triggerer, dag-processor and API server are separate processes with an AIRFLOW_HOME
of their own; everything that they started is gone when the block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal as signals
import socket
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pathspec
import psutil

from ork_provider.testing.airflow_rest import AirflowRest, LocalAirflowError

__all__ = ["COMPONENTS", "LocalAirflow", "LocalAirflowError"]

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
MARK = "ORK_LOCAL_AIRFLOW"  # in the environment of every process that we, or they, started
DEFINES_A_DAG = re.compile(r"^\s*(@dag\b|with DAG\(|\w+ *= *DAG\()", re.MULTILINE)


class LocalAirflow(AirflowRest):
    """Start Airflow with the DAGs of a folder; see the module.

    `home`: AIRFLOW_HOME; by default a temporary folder that is removed at the end. Logs of tasks are in its
    folder `logs`, what a component prints itself is in `<component>.log`.
    `env`: more environment variables, such as AIRFLOW_CONN_* and AIRFLOW__SECTION__KEY; they win over ours.
    `parallelism`: the number of worker slots.
    `database`: "sqlite" or a SQLAlchemy URL.
    `triggerers`: how many; the second one is the component "triggerer-2".
    `port`: of the API server; by default a free one.
    Entering takes about 20 s on two cores; it raises LocalAirflowError if a component dies or a DAG file does
    not import.
    """

    def __init__(
        self,
        dags: Path,
        *,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
        parallelism: int = 4,
        quiet: bool = True,
        database: str = "sqlite",
        triggerers: int = 1,
        port: int | None = None,
    ) -> None:
        port = _check_free(port) if port else _free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        self.dags = dags.resolve()
        self.home = (home or Path(tempfile.mkdtemp(prefix="ork-airflow-"))).resolve()
        self.components = (*COMPONENTS, *(f"triggerer-{n}" for n in range(2, triggerers + 1)))
        self._remove_home = home is None
        self._quiet = quiet
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._sessions: set[int] = set()
        self._mark = secrets.token_hex(16)
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "_AIRFLOW"))},
            **_settings(port, self.home, self.dags, parallelism, database),
            **(env or {}),
            MARK: self._mark,
        }
        self._sigterm: Any = None

    def __enter__(self) -> LocalAirflow:
        """Start everything and wait until it works."""
        with contextlib.suppress(ValueError):  # only the main thread may; then a SIGTERM ends the block, too
            self._sigterm = signals.signal(signals.SIGTERM, signals.default_int_handler)
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self.stop()

    def pid(self, component: str) -> int:
        """Return the process id of "api-server", "scheduler", "dag-processor" or "triggerer"."""
        return self._processes[component].pid

    def runs(self, component: str) -> bool:
        """Say if a component's process is there."""
        return component in self._processes and self._processes[component].poll() is None

    def component_log(self, component: str) -> str:
        """Return what a component itself has printed."""
        return Path(self.home, f"{component}.log").read_text(errors="replace")

    def start(self, component: str, *arguments: str) -> None:
        """Start a component, with more arguments of its command if need be, and wait until it is healthy."""
        began = time.time()
        self.launch(component, *arguments)
        self._wait_healthy([component], began)

    def launch(self, component: str, *arguments: str) -> None:
        """Start a component, and do not wait for it."""
        command, _, number = component.partition("-") if component.startswith("triggerer") else (component, "", "")
        more = ("--skip-serve-logs",) if number else ()  # one port serves them all, from one folder
        self._processes[component] = self._popen(component, command, *more, *arguments)

    def command(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `airflow ...` in this Airflow's environment; return its exit code and what it printed."""
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            cwd=self.home,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def kill(self, component: str, signal: int = signals.SIGKILL, timeout: float = 15) -> None:
        """Send a signal to a component, wait for its end and end what is left of its process group."""
        process = self._processes.pop(component)
        process.send_signal(signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
        _signal_group(process.pid, signals.SIGKILL)
        process.wait()

    def restart(self, component: str, signal: int = signals.SIGTERM) -> None:
        """Kill a component and start it again."""
        self.kill(component, signal)
        self.start(component)

    def stop(self, grace: float = 3) -> None:
        """Stop every process that was started here, directly or not; a second call does nothing."""
        try:
            for process in self._processes.values():
                _signal_group(process.pid, signals.SIGTERM)
            deadline = time.monotonic() + grace
            for process in self._processes.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0, deadline - time.monotonic()))
        finally:
            self._kill_all()
            self._http.close()
            if self._remove_home:
                shutil.rmtree(self.home, ignore_errors=True)
            if self._sigterm is not None:
                signals.signal(signals.SIGTERM, self._sigterm)
                self._sigterm = None

    def _start_all(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._say("preparing the database")
        self._migrate()
        self._say("starting Airflow")
        began = time.time()
        for component in self.components:
            self.launch(component)
        self._wait_healthy(self.components, began)
        self._say("reading the DAGs")
        # The API for workers builds itself at its first request: seconds in which the first tasks would hold slots.
        self._http.get(f"{self.url}/execution/health", timeout=60)
        self._wait_parsed()

    def _migrate(self) -> None:
        if self._popen("migrate", "db", "migrate").wait():
            raise LocalAirflowError(f"`airflow db migrate` failed:\n{_tail(self.component_log('migrate'))}")

    def _popen(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `airflow ...` in a session of its own, so that a terminal's Ctrl-C is ours alone."""
        with Path(self.home, f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                cwd=self.home,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.add(process.pid)
        return process

    def _wait_healthy(self, components: Iterable[str], since: float, timeout: float = 120) -> None:
        """Wait until the components have a heartbeat that is younger than `since`."""
        waiting = list(components)

        def healthy() -> bool | None:
            self._check_alive()
            with contextlib.suppress(httpx.TransportError):
                health = self.health()
                waiting[:] = [name for name in waiting if not _beats(health, name, since)]
            return not waiting or None

        self._until(healthy, timeout, lambda: f"{', '.join(waiting)} to be healthy")

    def _check_alive(self) -> None:
        for component, process in self._processes.items():
            if process.poll() is not None:
                log = _tail(self.component_log(component))
                raise LocalAirflowError(f"The {component} ended with exit code {process.returncode}:\n{log}")

    def _wait_parsed(self, timeout: float = 60) -> None:
        """Wait until every file that defines a DAG has given one; a file that does not import is an error."""
        ignored = _ignored(self.dags)
        found = [Path(folder, name) for folder, _, names in os.walk(self.dags, followlinks=True) for name in names]
        files = {str(file.relative_to(self.dags)): file for file in found if file.suffix == ".py"}
        files = {name: file for name, file in files.items() if not ignored.match_file(name)}
        missing = {name for name, file in files.items() if DEFINES_A_DAG.search(file.read_text())}

        def parsed() -> bool | None:
            for error in self._call("GET", "/importErrors")["import_errors"]:
                raise LocalAirflowError(f"{error['filename']} does not import:\n{error['stack_trace']}")
            dags = self._call("GET", "/dags", params={"limit": 100})["dags"]
            missing.difference_update(dag["relative_fileloc"] for dag in dags)
            return not missing or None

        self._until(parsed, timeout, lambda: f"a DAG from {', '.join(sorted(missing))}")

    def _kill_all(self) -> None:
        """Kill what is left: tasks and log servers outlive a component that was killed."""
        while ours := [process for process in psutil.process_iter() if self._is_ours(process)]:
            for process in ours:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(ours, timeout=1)
        for child in self._processes.values():
            child.wait()
        self._processes.clear()

    def _is_ours(self, process: psutil.Process) -> bool:
        """Say if a process is of a session that we began, or (a task may begin its own) carries our mark.

        Airflow's processes rename themselves, which overwrites their environment: the mark alone is not enough.
        """
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return os.getsid(process.pid) in self._sessions or process.environ().get(MARK) == self._mark
        except (psutil.Error, OSError):
            return False

    def _say(self, what: str) -> None:
        if not self._quiet:
            print(f"{what} ...", file=sys.stderr, flush=True)


def _settings(port: int, home: Path, dags: Path, parallelism: int, database: str) -> dict[str, str]:
    """Return Airflow's settings as environment variables."""
    url = f"http://127.0.0.1:{port}"
    connection = f"sqlite:///{home}/airflow.db" if database == "sqlite" else database
    sections: dict[str, dict[str, object]] = {
        "API": {"HOST": "127.0.0.1", "PORT": port, "BASE_URL": url, "WORKERS": 1},
        "API_AUTH": {"JWT_SECRET": secrets.token_urlsafe(64)},
        "CORE": {
            "DAGS_ARE_PAUSED_AT_CREATION": False,
            "DAGS_FOLDER": dags,
            "EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "EXECUTOR": "LocalExecutor",
            "FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "LOAD_EXAMPLES": False,
            "PARALLELISM": parallelism,
            "SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
        },
        "DAG_PROCESSOR": {"REFRESH_INTERVAL": 5, "MIN_FILE_PROCESS_INTERVAL": 10},
        "DATABASE": {"SQL_ALCHEMY_CONN": connection},
        "LOGGING": {"WORKER_LOG_SERVER_PORT": _free_port(), "TRIGGER_LOG_SERVER_PORT": _free_port()},
        "USAGE_DATA_COLLECTION": {"ENABLED": False},
    }
    settings = {f"AIRFLOW__{s}__{key}": str(value) for s, keys in sections.items() for key, value in keys.items()}
    return {"AIRFLOW_HOME": str(home), **settings}


def _ignored(dags: Path) -> pathspec.PathSpec[pathspec.Pattern]:
    """Return the patterns of the folder's `.airflowignore`, which are those of a .gitignore."""
    file = dags / ".airflowignore"
    return pathspec.PathSpec.from_lines("gitignore", file.read_text().splitlines() if file.exists() else [])


def _beats(health: dict[str, Any], component: str, since: float) -> bool:
    """Say if a component has reported itself healthy after `since`; the API server does so by answering.

    Of several triggerers the health page knows only the one that was heard of last.
    """
    if component == "api-server":
        return True
    name = "triggerer" if component.startswith("triggerer") else component.replace("-", "_")
    if health[name]["status"] != "healthy":
        return False
    heartbeat = health[name][f"latest_{name}_heartbeat"].replace("Z", "+00:00")  # Python 3.10 cannot read a Z
    return datetime.fromisoformat(heartbeat).timestamp() > since


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise LocalAirflowError(f"Port {port} of 127.0.0.1 cannot be used: {exc.strerror}") from exc
    return port


def _signal_group(pid: int, signal: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal)


def _tail(text: str, lines: int = 30) -> str:
    return "\n".join(text.splitlines()[-lines:])
