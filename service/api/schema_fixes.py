"""Changes to the schemas for client generators.

Three things of JSON Schema stop them or mislead them: a default that is an object, a union whose
members nothing tells apart, and an object without a name of its own.
"""

from collections.abc import Iterator
from typing import Any

from mocoserve.plain_text import PATTERN

FREE = "JsonObject"
"""Component for an object whose fields depend on other things."""
REF = "#/components/schemas/"


def make_generable(document: dict[str, Any]) -> None:
    """Change the components in place; what they allow stays the same."""
    schemas = document["components"]["schemas"]
    for schema in list(schemas.values()):
        properties = schema.get("properties", {})
        for name, value in properties.items():
            properties[name] = _named(_without_default(value))
            if "oneOf" in value:
                value["discriminator"] = _discriminator(value["oneOf"], schemas)
    for name in _request_components(document["paths"], schemas):
        _require_plain_texts(schemas[name])
    schemas[FREE] = {
        "title": FREE,
        "type": "object",
        "additionalProperties": True,
        "description": "A JSON object; its fields depend on the context.",
    }


def _request_components(paths: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    """Return the components that a body of a request is made of."""
    bodies = [
        operation["requestBody"]
        for path in paths.values()
        for operation in path.values()
        if "requestBody" in operation
    ]
    reached, left = set[str](), list(_references(bodies))
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left += _references(schemas[name])
    return reached


def _references(node: Any) -> Iterator[str]:  # noqa: ANN401  # any part of a document
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(REF)
        for inner in node.values():
            yield from _references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _references(inner)


def _require_plain_texts(node: Any) -> None:  # noqa: ANN401  # any part of a schema
    """Require of every text without a pattern of its own what `strict_json` requires."""
    if isinstance(node, dict):
        if node.get("type") == "string" and not node.keys() & {"pattern", "enum", "const"}:
            node["pattern"] = PATTERN
        if isinstance(node.get("propertyNames"), dict):
            node["propertyNames"].setdefault("pattern", PATTERN)
        for inner in node.values():
            _require_plain_texts(inner)
    elif isinstance(node, list):
        for inner in node:
            _require_plain_texts(inner)


def never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter without null: what is left out is not sent at all."""
    members: list[dict[str, Any]] = [
        member for member in schema.get("anyOf", ()) if member.get("type") != "null"
    ]
    if len(members) != 1:
        return schema
    only: dict[str, Any] = members[0]
    return only | {name: value for name, value in schema.items() if name != "anyOf"}


def _without_default(value: dict[str, Any]) -> dict[str, Any]:
    """Say a default that is an object in words: it is what its fields have as theirs."""
    if isinstance(value.get("default"), dict):
        name = value.pop("default").get("name")
        default = f"`{name}` with default settings" if name else "default settings"
        value["description"] = f"{value.get('description', '')} Default: {default}.".strip()
    return value


def _named(value: dict[str, Any]) -> dict[str, Any]:
    """Refer to one component wherever any JSON object may stand."""
    if value.get("additionalProperties") is True:
        return {"$ref": REF + FREE, "description": value["description"]}
    return value


def _discriminator(members: list[dict[str, Any]], schemas: dict[str, Any]) -> dict[str, Any]:
    """Tell the members of a union apart by the constant that each has as its `name`."""
    references = [str(member["$ref"]) for member in members]
    names = [
        schemas[reference.removeprefix(REF)]["properties"]["name"]["const"]
        for reference in references
    ]
    return {"propertyName": "name", "mapping": dict(zip(names, references, strict=True))}
