"""# 51.9.2 Non-serializable state

Between `defer()` and `run()` a trigger is a row in Airflow's database: the path of its class and the arguments that
`serialize()` has returned. Another process, maybe on another machine, builds it again from these. So it can carry
what JSON can say, and a few types more (dates, sets, dataclasses); a thing that lives in one process cannot go with
it.

## You will see

1. A connection in a trigger, here that of an HTTP client: the deferral fails. An Airflow `Connection` is worse: it
   can be stored, and its password is stored with it.
2. A lambda in a trigger: the deferral fails. A lambda has no name under which the triggerer could import it.
3. An open file in a trigger: the deferral fails. A file handle is a number in one process.
4. What goes instead: a connection id, the dotted name of a function, a path. The triggerer makes the living things
   itself.

## Watch

The three copies of `wrong` fail at once, red, and never turn purple: the error comes from the worker, at the
deferral, not from the triggerer. `right` defers and succeeds.

## Expect

The run succeeds although `wrong` fails, because its last task runs when all others are done. The same under `airflow
dags test`: this mistake shows everywhere, so one test of `serialize()` finds it (51.8.1).

## Needs

A connection `http_default`; nobody calls what is behind it.

## Next

51.9.3 is about what a trigger leaves behind.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from airflow.sdk import BaseOperator, Connection, dag, get_current_context, task
from lesson_51_09 import KeepsNames, KeepsObject, RunTrigger, stored

log = logging.getLogger(__name__)


class DeferWith(BaseOperator):
    """Defer with a thing that lives in this process."""

    def __init__(self, thing: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thing = thing

    def execute(self, context: Any) -> None:
        """Say what will be wrong with it, then do it all the same."""
        trigger = KeepsObject(self.make())
        try:
            stored(trigger)
        except TypeError as exc:
            points = {
                "client": "(1) an open client: %s",
                "lambda": "(2) a lambda: %s",
                "file": "(3) an open file: %s",
            }
            log.info(points[self.thing], str(exc).partition(". ")[0])
        self.defer(trigger=trigger, method_name="execute_complete")

    def make(self) -> Any:
        """Return the thing."""
        if self.thing == "client":
            return httpx.Client()
        if self.thing == "lambda":
            return lambda text: text.strip() == "ready"
        return tempfile.TemporaryFile()

    def execute_complete(self, context: Any, event: Any) -> None:
        """Fail: nobody should come here."""
        raise ValueError(f"A {self.thing} went through the database: {event}")


@dag(
    dag_id="51_09_02_non_serializable",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "patterns", "intermediate", "anti-pattern"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Give triggers what they cannot carry, then what they can."""

    @task
    def prepare() -> dict[str, str]:
        """Write the file, and return the names of what the trigger needs."""
        folder = tempfile.mkdtemp(prefix="lesson-51-09-02-")
        path = Path(folder, "export.done")
        path.write_text("ready\n")
        return {"conn_id": "http_default", "function": "lesson_51_09.says_ready", "path": str(path)}

    @task(trigger_rule="all_done")
    def report(names: dict[str, str], seen: dict[str, Any]) -> None:
        """Print what the wrong and the right ones have come to."""
        context = get_current_context()
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=["wrong"])[ti.run_id]
        if set(states.values()) != {"failed"}:
            raise ValueError(f"Something went through the database that should not: {states}")
        row = stored(KeepsObject(Connection(conn_id="warehouse", conn_type="postgres", password="not-so-secret")))
        leaked = "not-so-secret" in str(row)
        log.info(
            "(1) an Airflow Connection: stored as %d characters, the password is among them: %s", len(str(row)), leaked
        )
        row = stored(KeepsNames(**names))
        log.info("(4) states of the wrong ones: %s; instead three names are stored: %s", states, row)
        log.info("(4) what the trigger made of them: %s", seen)
        shutil.rmtree(Path(names["path"]).parent)

    names = prepare()
    wrong = DeferWith.partial(task_id="wrong", retries=0).expand(thing=["client", "lambda", "file"])
    right = RunTrigger(task_id="right", trigger=KeepsNames, arguments=names)
    wrong >> report(names, right.output)


lesson()
