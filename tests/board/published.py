"""Of which published shape is a document? A validator of the few keywords that the schema uses, for the tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tpdyn.board.schema import schema

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "null": (type(None),), "array": (list,),
    "object": (dict,),
}  # fmt: skip
KEYWORDS = {
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "const",
    "anyOf",
    "$ref",
    "pattern",
    "additionalProperties",
    "description",
}


def is_of(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def problems(value: Any, rule: dict[str, Any], where: str = "") -> Iterator[str]:
    """Where a value is not of a shape, and which of its fields the shape does not know."""
    if "$ref" in rule:
        rule = schema()["$defs"][rule["$ref"].rpartition("/")[2]]
    assert rule.keys() <= KEYWORDS, rule
    if "anyOf" in rule:
        tried = [list(problems(value, each, where)) for each in rule["anyOf"]]
        if all(tried):
            yield from min(tried, key=len)
        return
    kinds = [rule["type"]] if isinstance(rule.get("type"), str) else rule.get("type", [])
    if kinds and not any(is_of(value, kind) for kind in kinds):
        yield f"{where}: {value!r} is no {kinds}"
        return
    if value not in rule.get("enum", [value]) or value != rule.get("const", value):
        yield f"{where}: {value!r} is not expected"
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        yield f"{where}: {value!r} is no {rule['pattern']}"
    for k, each in enumerate(value if isinstance(value, list) else ()):
        yield from problems(each, rule.get("items", {}), f"{where}[{k}]")
    if isinstance(value, dict):
        yield from (f"{where}: no {key}" for key in rule.get("required", ()) if key not in value)
        for key, each in value.items():
            inner = rule.get("properties", {}).get(key, rule.get("additionalProperties"))
            if inner is not None:
                yield from problems(each, inner, f"{where}.{key}")
            elif "properties" in rule and not where:
                yield f"{key} is not published"


def of_document(document: dict[str, Any]) -> list[str]:
    """Say what is wrong with a document of ours, or not published."""
    document = json.loads(json.dumps(document, allow_nan=False))
    return list(problems(document, {"$ref": f"#/$defs/{document['kind']}"}))
