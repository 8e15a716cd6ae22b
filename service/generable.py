"""The schemas in a form from which generators make clients that work.

Three things of JSON Schema stop them or mislead them: a default that is an object, a union whose
members nothing tells apart, and an object without a name of its own.
"""

from typing import Any

from mocoserve.plain_text import PATTERN

FREE = "JsonObject"
"""Component for an object whose fields depend on other things."""
REF = "#/components/schemas/"


def make_generable(schemas: dict[str, Any]) -> None:
    """Change the components in place; what they allow stays the same."""
    for schema in list(schemas.values()):
        properties = schema.get("properties", {})
        for name, value in properties.items():
            properties[name] = _named(_without_default(value))
            if "oneOf" in value:
                value["discriminator"] = _discriminator(value["oneOf"], schemas)
    for name in ("JobSpec", "DatasetRequest", "IngestOptions"):
        _require_plain_texts(schemas[name])
    schemas[FREE] = {
        "title": FREE,
        "type": "object",
        "additionalProperties": True,
        "description": "A JSON object whose fields depend on what it belongs to.",
    }


def _require_plain_texts(node: Any) -> None:  # noqa: ANN401  # any part of a schema
    """Write down what `service.body` asks of every text that has no pattern of its own."""
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


def _without_default(value: dict[str, Any]) -> dict[str, Any]:
    """Say a default that is an object in words: it is what its fields have as theirs."""
    if isinstance(value.get("default"), dict):
        name = value.pop("default").get("name")
        of_whom = f"`{name}` with its defaults" if name else "its defaults"
        value["description"] = f"{value.get('description', '')} Left out: {of_whom}.".strip()
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
