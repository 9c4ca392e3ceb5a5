"""# 51.3.4 Trigger serialization

Between the worker and the triggerer a trigger is a row in the database: the path of its class, and its arguments as
JSON. A triggerer builds it from that row, more than once if triggerers come and go. What is not in the row is lost.

## You will see

1. `serialize()` returns a path and a dict; the dict has exactly the arguments of `__init__`.
2. What can be stored: `datetime`, `timedelta`, `set`, nested dicts. A client or a function cannot: the deferral fails,
   in the worker, with a `TypeError`.
3. The trigger is built again from its row and is equal to the first one, with one exception: keys of dicts become
   text.
4. An object of one's own: it can be stored, but it is not loaded again. So hand over `to_dict()`, and call
   `from_dict()` in `run()`.

## Watch

The log of `defer_with_state`: what the worker stores, and, in the triggerer's part, what has arrived. `by_hand` makes
the same trip without a deferral.

## Expect

The run succeeds, in both worlds with the same types. Two mistakes end the triggerer itself in Airflow 3.3, and then
every one that takes the row: an error in `__init__`, and a dataclass in the state, which the worker stores without
complaint. So `__init__` only assigns.

`serialize()` is an API: rows that wait are read by the code that is installed later. Give new arguments a default, and
do not rename the class or its module while tasks wait.

## Next

51.3.5 is about `run()`: what an async method may do and what it must not.
"""

from __future__ import annotations

import inspect
import logging
from datetime import datetime, timedelta
from typing import Any

import httpx
from airflow.sdk import BaseOperator, dag, task, timezone
from airflow.sdk.module_loading import import_string
from airflow.sdk.serde import deserialize, serialize
from lesson_51_03 import Order, OrderTrigger

log = logging.getLogger(__name__)
ORDER = Order(number=7, customer="north")


def new_trigger() -> OrderTrigger:
    """Build a trigger whose state has many types."""
    return OrderTrigger(
        due=timezone.utcnow() + timedelta(seconds=3),
        grace=timedelta(minutes=5),
        regions={"north", "south"},
        counts={1: 10, 2: 20},
        order=ORDER.to_dict(),
    )


class DeferWithState(BaseOperator):
    """Send a trigger on its way through the database."""

    def execute(self, context: Any) -> None:
        """Note what is sent, and defer."""
        trigger = new_trigger()
        path, state = trigger.serialize()
        log.info("(1) path %s, state %s", path, state)
        same = {"due": trigger.due.timestamp(), "grace": trigger.grace.total_seconds()}
        context["ti"].xcom_push("sent", {"types": {k: type(v).__name__ for k, v in state.items()}, "same": same})
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> None:
        """Compare what was sent with what has arrived."""
        sent = context["ti"].xcom_pull(task_ids=self.task_id, key="sent")
        log.info("(3) sent %s; arrived %s", sent, event)
        moved = {**sent["types"], "due": event["types"]["due"]}  # a subclass of datetime may have been sent
        if event["types"] != moved or event["same"] != sent["same"]:
            raise RuntimeError(f"Sent {sent}, arrived {event}")
        log.info("(3) keys of the dict `counts`: sent int, arrived %s", event["keys"])
        if Order.from_dict(event["order"]) != ORDER:
            raise RuntimeError(f"Sent {ORDER}, arrived {event['order']}")
        log.info("(4) %r came through as to_dict() and from_dict()", Order.from_dict(event["order"]))


@dag(
    dag_id="51_03_04_trigger_serialization",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["reference", "core", "intermediate", "success"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=2)},
    doc_md=__doc__,
)
def lesson() -> None:
    """Store triggers and load them."""

    @task
    def by_hand() -> None:
        """Do what Airflow does: store the state, load it, build the trigger."""
        trigger = new_trigger()
        path, state = trigger.serialize()
        arguments = list(inspect.signature(OrderTrigger).parameters)
        log.info("(1) arguments of __init__: %s; keys of the state: %s", arguments, list(state))
        if set(arguments) != set(state):
            raise RuntimeError("serialize() and __init__ disagree")

        stored = serialize(state)
        log.info("(2) in the row: %s", stored)
        for name, bad in {"a client": httpx.Client(), "a function": new_trigger}.items():
            log.info("(2) %s cannot be stored: %s", name, error_of(serialize, bad))

        again = import_string(path)(**deserialize(stored))
        equal = {name: getattr(again, name) == value for name, value in state.items()}
        log.info("(3) a new %s; equal to the first: %s", type(again).__name__, equal)
        if [name for name, same in equal.items() if not same] != ["counts"]:
            raise RuntimeError(f"Only the keys of counts should have changed: {again!r}")
        log.info(
            "(4) %r is stored as %s; loading it: %s", ORDER, serialize(ORDER), error_of(deserialize, serialize(ORDER))
        )

    by_hand()
    DeferWithState(task_id="defer_with_state")


def error_of(do: Any, value: Any) -> str:
    """Return the error that a call raises; it must raise one."""
    try:
        result = do(value)
    except (TypeError, ImportError) as exc:
        return f"{type(exc).__name__}: {exc}"
    raise RuntimeError(f"No error for {value!r}, but {result!r}")


lesson()
