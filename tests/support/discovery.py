"""Google's discovery documents as an oracle for requests and answers.

The documents come with google-api-python-client; nothing is fetched. A wrong name or type raises
AssertionError that says where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ork_provider.testing import RecordedRequest
from ork_provider.testing.fields import parse_mask

Json = Any
_INTEGER = re.compile(r"-?\d+")
_FORMATS = {
    "int64": _INTEGER,
    "uint64": re.compile(r"\d+"),
    "date-time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    "google-datetime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    "google-duration": re.compile(r"-?\d+(\.\d+)?s"),
}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
}


class Discovery:
    """One API's document, e.g. `Discovery("bigquery", "v2")`."""

    def __init__(self, api: str, version: str) -> None:
        spec = find_spec("googleapiclient")
        assert spec is not None, "google-api-python-client is not installed"
        assert spec.origin is not None
        name = f"discovery_cache/documents/{api}.{version}.json"
        self.document = json.loads((Path(spec.origin).parent / name).read_text())
        self.schemas = self.document["schemas"]
        self._service_path = "/" + self.document["servicePath"]
        self._methods = [(m, self._pattern(m)) for m in _methods(self.document)]
        self._by_id = {m["id"]: m for m, _ in self._methods}

    def check_request(self, method: str, path: str, query: Mapping[str, Any] | str = "", body: Json = None) -> str:
        """Return the id of the method that a request calls, after a look at its parameters and body.

        `query` is a query string, or a mapping to a value or to a list of values.
        """
        found = self._method(method, path)
        for name, value in _pairs(query):
            self._check_parameter(found, name, value)
        if "request" in found:
            self._check({"$ref": found["request"]["$ref"]}, body, f"{found['id']} request", strict=False)
        else:
            assert body in (None, "", {}), f"{found['id']} takes no body, got {body!r}"
        return str(found["id"])

    def check_response(self, method_id: str, answer: Json) -> None:
        """Check the body of a successful answer."""
        found = self._by_id[method_id]
        if "response" not in found:
            assert answer in (None, "", {}), f"{method_id} answers nothing, got {answer!r}"
            return
        self._check({"$ref": found["response"]["$ref"]}, answer, f"{method_id} answer", strict=True)

    def check_log(self, requests: Iterable[RecordedRequest], *, ignore: Collection[str] = ()) -> dict[str, int]:
        """Check every request of a fake's log, and every 2xx answer that was kept; count them by method id.

        `ignore` names query parameters that a foreign client sends although the document has them not.
        Token requests are left out: they are not part of the API.
        """
        seen: dict[str, int] = {}
        for request in requests:
            if request.path == "/token":
                continue
            query = {name: v for name, v in parse_qs(request.query_string).items() if name not in ignore}
            method_id = self.check_request(request.method, request.path, query, request.json)
            if request.answer and request.status is not None and request.status < 300:
                self.check_response(method_id, json.loads(request.answer))
            seen[method_id] = seen.get(method_id, 0) + 1
        return seen

    # -- methods and parameters ----------------------------------------------------------------------------

    def _pattern(self, method: Mapping[str, Any]) -> re.Pattern[str]:
        def of_name(match: re.Match[str]) -> str:
            declared = str(method["parameters"][match.group(1)].get("pattern", "[^/]+"))
            return declared.removeprefix("^").removesuffix("$")

        parts = re.split(r"(\{\+?\w+\})", method["path"])
        return re.compile("".join(re.sub(r"\{\+?(\w+)\}", of_name, part) for part in parts))

    def _method(self, method: str, path: str) -> Mapping[str, Any]:
        relative = path.removeprefix(self._service_path).removeprefix("/")
        for found, pattern in self._methods:
            if found["httpMethod"] == method and pattern.fullmatch(relative):
                return found
        raise AssertionError(f"{self.document['id']} has no {method} {path}")

    def _check_parameter(self, method: Mapping[str, Any], name: str, value: Any) -> None:
        declared = method.get("parameters", {}).get(name) or self.document["parameters"].get(name)
        assert declared is not None, f"{method['id']} has no parameter {name!r}"
        where = f"{method['id']}?{name}={value}"
        kind, text = declared["type"], str(value)
        if kind == "boolean":
            assert text.lower() in ("true", "false"), f"{where} is not a boolean"
        if kind == "integer" or declared.get("format") in ("int64", "uint64"):
            assert _INTEGER.fullmatch(text), f"{where} is not an integer"
        if "enum" in declared:
            assert text in declared["enum"], f"{where} is not one of {declared['enum']}"
        if name == "fields":
            self._check_mask({"$ref": method["response"]["$ref"]}, parse_mask(text), where)

    def _check_mask(self, schema: Mapping[str, Any], mask: Mapping[str, Any], where: str) -> None:
        schema = self._resolved(schema)
        if schema.get("type") == "array":
            self._check_mask(schema["items"], mask, where)
            return
        properties = schema.get("properties", {})
        for name, below in mask.items():
            if name != "*" and "additionalProperties" not in schema:
                assert name in properties, f"{where}: no field {name!r}"
                self._check_mask(properties[name], below, where)

    # -- bodies --------------------------------------------------------------------------------------------

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        return schema

    def _check(self, schema: Mapping[str, Any], value: Json, where: str, *, strict: bool) -> None:
        """Check one value; a request (not strict) may hold nulls, and numbers where the API has strings."""
        schema = self._resolved(schema)
        kind = schema.get("type", "object")
        if kind == "any" or (value is None and not strict):
            return
        if not strict and schema.get("format") in ("int64", "uint64") and isinstance(value, int):
            value = str(value)
        correct = isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        assert correct, f"{where} is not of type {kind}: {value!r}"
        if kind == "object":
            self._check_object(schema, value, where, strict=strict)
        elif kind == "array":
            for number, item in enumerate(value):
                self._check(schema["items"], item, f"{where}[{number}]", strict=strict)
        elif kind == "string":
            _check_string(schema, value, where)

    def _check_object(self, schema: Mapping[str, Any], value: Mapping[str, Json], where: str, *, strict: bool) -> None:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            declared = properties.get(name, others)
            assert declared is not None, f"{where} has no field {name!r}"
            self._check(declared, item, f"{where}.{name}", strict=strict)


def _check_string(schema: Mapping[str, Any], value: str, where: str) -> None:
    if pattern := _FORMATS.get(schema.get("format", "")):
        assert pattern.fullmatch(value), f"{where} is not of format {schema['format']}: {value!r}"
    if "enum" in schema:
        assert value in schema["enum"], f"{where} is not one of {schema['enum']}: {value!r}"


def _methods(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from node.get("methods", {}).values()
    for child in node.get("resources", {}).values():
        yield from _methods(child)


def _pairs(query: Mapping[str, Any] | str) -> list[tuple[str, Any]]:
    values = parse_qs(query, keep_blank_values=True) if isinstance(query, str) else query
    return [(n, v) for n, vs in values.items() for v in (vs if isinstance(vs, list) else [vs])]
