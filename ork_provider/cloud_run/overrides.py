"""What a task overrides for one execution: handy keys or the API's own form, and the marker that finds it again.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/run#Overrides
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from ork_provider.errors import InvalidJob
from ork_provider.google.arguments import to_duration
from ork_provider.job import describe
from ork_provider.templates import holds_template, is_template

MARKER = "ORK_ATTEMPT"
"""Environment variable by which the execution of a request is found again whose answer was lost."""

TASKS = 10_000
"""Tasks that an execution may have."""


def to_overrides(given: Any, where: str) -> dict[str, Any]:
    """Return overrides in the API's form.

    :param given: ``args``, ``env``, ``container``, ``task_count``, ``timeout`` (seconds, a timedelta, ``"600s"`` or
        ``{"seconds": 600}``); or the API's keys in either spelling (``taskCount``, ``task_count``, ...)
    :param where: how an error names the argument
    :raises InvalidJob: naming the field
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidJob(f"{where}: expected a dict, got {describe(given)}.")
    named = _spelled(given, where)
    if unknown := sorted(set(named) - set(_READERS)):
        known = ", ".join(sorted(_READERS))
        raise InvalidJob(f"{where}: unknown key(s) {', '.join(unknown)}; known: {known}.")
    if "containerOverrides" in named and (both := sorted({"args", "env", "container"} & set(named))):
        raise InvalidJob(f"{where}: give either containerOverrides or {', '.join(both)}; got both.")
    return _assembled({key: _READERS[key](value, f"{where}[{key!r}]") for key, value in named.items()})


def check_overrides(given: Any, where: str) -> None:
    """Raise InvalidJob for overrides that make no sense; what is known only when the task runs is left for then."""
    if not isinstance(given, Mapping):
        if not is_template(given):
            to_overrides(given, where)
        return
    to_overrides({key: value for key, value in given.items() if not holds_template(value)}, where)


def _spelled(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the keys as the API spells them."""
    named = {_SPELLINGS.get(str(key), str(key)): value for key, value in given.items()}
    if len(named) < len(given):
        twice = sorted(key for key, name in _SPELLINGS.items() if key in given and name in given)
        raise InvalidJob(f"{where}: {', '.join(twice)} is given twice, in two spellings.")
    return named


def _assembled(read: dict[str, Any]) -> dict[str, Any]:
    """Put the handy keys of one container into the API's form."""
    handy = {"name": "container", "args": "args", "env": "env"}
    container: dict[str, Any] = {name: read.pop(key) for name, key in handy.items() if key in read}
    if container.get("args") == []:  # the API takes an empty list for none given
        container["clearArgs"] = True
    return {**read, "containerOverrides": [container]} if container else read


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidJob(f"{where}: expected a text, got {describe(value)}.")
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidJob(f"{where}: expected True or False, got {describe(value)}.")
    return value


def _args(value: Any, where: str) -> list[str]:
    good = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if not good:
        raise InvalidJob(f"{where}: expected a list of texts, got {describe(value)}.")
    return list(value)


def _env(value: Any, where: str) -> list[dict[str, Any]]:
    """Read ``{"NAME": "value"}``, or the API's list of ``{"name": ..., "value": ...}``."""
    if isinstance(value, Mapping):
        value = [{"name": name, "value": item} for name, item in value.items()]
    if not isinstance(value, list | tuple):
        raise InvalidJob(f"{where}: expected a dict of texts, got {describe(value)}.")
    return [_variable(item, where) for item in value]


def _variable(item: Any, where: str) -> dict[str, Any]:
    name = item.get("name") if isinstance(item, Mapping) else None
    if not isinstance(name, str) or not name:
        raise InvalidJob(f"{where}: expected a dict with the variable's name, got {describe(item)}.")
    if name == MARKER:
        raise InvalidJob(f"{where}: {MARKER} is set by the operator, to find the execution again.")
    if not isinstance(item.get("value", ""), str):
        raise InvalidJob(f"{where}[{name!r}]: expected a text, got {describe(item['value'])}.")
    return dict(item)


def _task_count(value: Any, where: str) -> int:
    number = int(value) if isinstance(value, str) and re.fullmatch(r"\s*\d{1,6}\s*", value) else value
    if type(number) is not int or not 1 <= number <= TASKS:
        raise InvalidJob(f"{where}: expected a number of tasks from 1 to {TASKS}, got {describe(value)}.")
    return number


def _timeout(value: Any, where: str) -> str:
    duration = None if holds_template(value) else to_duration(value)
    if duration is None or float(duration[:-1]) < 1:
        raise InvalidJob(
            f"{where}: expected seconds (1 or more), a timedelta or a text such as '600s', got {describe(value)}."
        )
    return str(duration)


def _containers(value: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list | tuple):
        raise InvalidJob(f"{where}: expected a list of dicts, got {describe(value)}.")
    return [_container(item, f"{where}[{number}]") for number, item in enumerate(value)]


def _container(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise InvalidJob(f"{where}: expected a dict, got {describe(item)}.")
    named = _spelled(item, where)
    if unknown := sorted(set(named) - set(_PARTS)):
        raise InvalidJob(f"{where}: unknown key(s) {', '.join(unknown)}; known: {', '.join(sorted(_PARTS))}.")
    return {key: _PARTS[key](value, f"{where}[{key!r}]") for key, value in named.items()}


_SPELLINGS = {
    "container_overrides": "containerOverrides",
    "task_count": "taskCount",
    "delay_execution": "delayExecution",
    "clear_args": "clearArgs",
}
_PARTS = {"name": _text, "args": _args, "env": _env, "clearArgs": _flag}
_READERS = {
    "args": _args,
    "env": _env,
    "container": _text,
    "containerOverrides": _containers,
    "taskCount": _task_count,
    "timeout": _timeout,
    "delayExecution": _flag,
}


def with_marker(overrides: Mapping[str, Any], marker: str) -> dict[str, Any]:
    """Return overrides with our variable in the environment of the first container that they name."""
    marked = copy.deepcopy(dict(overrides))
    containers = marked.setdefault("containerOverrides", [])
    if not containers:
        containers.append({})
    containers[0]["env"] = [*containers[0].get("env", []), {"name": MARKER, "value": marker}]
    return marked


def needs_name(overrides: Mapping[str, Any]) -> bool:
    """Whether a part of the overrides is for a container that it does not name."""
    return any(not container.get("name") for container in overrides.get("containerOverrides") or [])


def name_container(overrides: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return overrides in which what names no container is for this one."""
    named = [{"name": name, **container} for container in overrides["containerOverrides"]]
    return {**overrides, "containerOverrides": named}


def holds_marker(execution: Mapping[str, Any], marker: str) -> bool:
    """Whether an execution was started with this marker."""
    containers = (execution.get("template") or {}).get("containers") or []
    variables = [variable for container in containers for variable in container.get("env") or []]
    return any((v.get("name"), v.get("value")) == (MARKER, marker) for v in variables)
