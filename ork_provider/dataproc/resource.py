"""Job and batch dicts as users write them, read into the API's spelling.

Both spellings are taken: the API's (``pysparkJob``) and the one of Google's Python library (``pyspark_job``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ork_provider.errors import InvalidJob
from ork_provider.google.arguments import read_project, to_duration
from ork_provider.job import describe
from ork_provider.templates import is_template

JOB_TYPES = (
    *("sparkJob", "pysparkJob", "hiveJob", "pigJob", "hadoopJob", "sparkSqlJob", "sparkRJob"),
    *("prestoJob", "trinoJob", "flinkJob"),
)
BATCH_TYPES = ("pysparkBatch", "sparkBatch", "sparkRBatch", "sparkSqlBatch", "pysparkNotebookBatch")

MAPS = frozenset(
    {"properties", "labels", "clusterLabels", "scriptVariables", "queryVariables", "driverLogLevels", "params"}
    | {"resourceManagerTags"}
)
"""Fields that hold the user's own keys, which are not translated."""

DURATIONS = frozenset({"ttl", "idleTtl"})


def read_resource(value: Any, where: str, types: Sequence[str]) -> dict[str, Any]:
    """Return a job or batch in the API's spelling; raise InvalidJob unless it is of one of the types."""
    if not isinstance(value, Mapping):
        raise InvalidJob(f"{where} must be a dict, got {describe(value)}.")
    resource = to_api(value, where)
    check_labels(resource.get("labels"), f"{where}.labels")
    found = [name for name in types if resource.get(name) is not None]
    if len(found) != 1:
        given = " and ".join(found) or f"none (keys: {', '.join(resource) or 'none'})"
        raise InvalidJob(f"{where} must have one type of {', '.join(types)}; it has {given}.")
    return resource


def to_api(value: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Translate the keys of a message, and of the messages in it, to the API's spelling."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), str(key))
        if name in found:
            raise InvalidJob(f"{where} has {name!r} twice, in two spellings.")
        found[name] = _value_to_api(name, item, f"{where}.{name}")
    return found


def _value_to_api(name: str, value: Any, where: str) -> Any:
    if name in MAPS:
        return value
    if name in DURATIONS and value is not None:
        return _duration(value, where)
    if isinstance(value, Mapping):
        return to_api(value, where)
    if isinstance(value, list | tuple):
        return [_value_to_api("", item, f"{where}[{i}]") for i, item in enumerate(value)]
    return value


def _duration(value: Any, where: str) -> Any:
    duration = to_duration(value)
    if duration is None:
        expected = "seconds, a timedelta, a text such as '7200s' or {'seconds': 7200}"
        raise InvalidJob(f"{where}: expected {expected}, got {describe(value)}.")
    return duration


def check_labels(labels: Any, where: str) -> None:
    """Raise InvalidJob unless labels are a dict of texts, or are not known yet."""
    if labels is None or is_template(labels):
        return
    if not isinstance(labels, Mapping):
        raise InvalidJob(f"{where} must be a dict of texts, got {describe(labels)}.")
    for key, value in labels.items():
        if not isinstance(key, str) or not (isinstance(value, str) or is_template(value)):
            raise InvalidJob(f"{where}[{key!r}] must be a text, got {describe(value)}.")


def place_on_cluster(job: Mapping[str, Any], cluster_name: str | None, where: str) -> dict[str, Any]:
    """Return a job that says where it runs: on ``cluster_name``, or as its own ``placement`` has it."""
    placement = job.get("placement") or {}
    if is_template(placement):
        return dict(job)
    if not isinstance(placement, Mapping):
        raise InvalidJob(f"{where}.placement must be a dict, got {describe(placement)}.")
    own = placement.get("clusterName")
    if own is not None and not is_template(own) and not isinstance(own, str):
        raise InvalidJob(f"{where}.placement.clusterName must be a text, got {describe(own)}.")
    if contradict(cluster_name, own):
        raise InvalidJob(f"{where}.placement names the cluster {own!r}, cluster_name says {cluster_name!r}.")
    if not (cluster_name or own or placement.get("clusterLabels")):
        raise InvalidJob(f"{where} names no cluster: set cluster_name, or placement.clusterName in the job.")
    return {**job, "placement": {**placement, **({"clusterName": cluster_name} if cluster_name else {})}}


def take_project(job: dict[str, Any], project_id: str | None, where: str) -> str | None:
    """Remove a job's reference and return the project that it names; the id in it is not the user's to choose."""
    reference = job.pop("reference", None) or {}
    if is_template(reference):
        return None
    if not isinstance(reference, Mapping):
        raise InvalidJob(f"{where}.reference must be a dict, got {describe(reference)}.")
    if reference.get("jobId"):
        raise InvalidJob(f"{where}.reference.jobId must be left out: the operator chooses the id of each attempt.")
    named = read_project(reference.get("projectId"), f"{where}.reference.projectId")
    if contradict(project_id, named):
        raise InvalidJob(f"{where}.reference is of project {named!r}, project_id says {project_id!r}.")
    return named


def contradict(one: Any, other: Any) -> bool:
    """Whether two values that should be the same are not; what is not rendered yet may still become it."""
    return bool(one and other and one != other and not is_template(one) and not is_template(other))
