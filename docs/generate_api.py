"""`docs/api.md`: every request, its parameters and its answers, from the OpenAPI document."""

from typing import Any

from fastapi.routing import APIRoute

from service.api.routes.api_docs import operations, type_of
from service.app import OPEN, ROUTERS, Api


def document() -> dict[str, Any]:
    """The OpenAPI document, without a store or a data folder behind it."""
    # The version is that of the installed package, which a page in the repository need not follow.
    app = Api(title="mocoserve", version="0", openapi_url=None, docs_url=None, redoc_url=None)
    for router in (*ROUTERS, OPEN):
        app.router.routes.extend(router.routes)
    assert any(isinstance(route, APIRoute) for route in app.routes)
    return app.openapi()


def api_page() -> str:
    """The whole page."""
    known = document()
    about = {tag["name"]: tag["description"] for tag in known["tags"]}
    lines = [
        "# API\n",
        "Written by `make docs` from the service's OpenAPI document, which it serves at",
        "`/openapi.json` and, to be read, at `/docs`.\n",
        known["info"]["description"].strip() + "\n",
    ]
    for tag, found in operations(known).items():
        lines += [f"## {tag.capitalize()}\n", f"{about[tag]}\n"]
        for operation in found:
            lines += _operation(operation)
    lines += ["## What is sent and answered\n"]
    for name, schema in sorted(known["components"]["schemas"].items()):
        lines += _schema(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def _operation(one: dict[str, Any]) -> list[str]:
    lines = [f"### `{one['method']} {one['path']}`\n"]
    about = " ".join(one.get("description", "").split())
    lines += [f"{one['summary']}. {about}".strip() + "\n"]
    rows = [
        f"| `{part['name']}` | {part['in']} | {_type(part['schema'])} "
        f"| {_cell(part.get('description', ''))}{' Required.' if part.get('required') else ''} |"
        for part in one.get("parameters", [])
    ]
    if rows:
        lines += ["| parameter | in | type | meaning |", "|---|---|---|---|", *rows, ""]
    body = one.get("requestBody", {}).get("content", {})
    if body:
        shown = ", ".join(f"{_type(form['schema'])} as `{kind}`" for kind, form in body.items())
        lines += [f"Body: {shown}.\n"]
    lines += [f"- **{status}** {_answer(answer)}" for status, answer in one["responses"].items()]
    return [*lines, ""]


def _answer(answer: dict[str, Any]) -> str:
    text = " ".join(answer.get("description", "").split())
    for form in answer.get("content", {}).values():
        name = form.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if name and name != "ProblemBody":
            text += f" ([{name}](#{name.lower()}))"
    return text


def _schema(name: str, schema: dict[str, Any]) -> list[str]:
    lines = [f"### {name}\n"]
    if about := " ".join(schema.get("description", "").split()):
        lines += [f"{about}\n"]
    if "properties" not in schema:
        return [*lines, f"{_type(schema)}\n"]
    needed = schema.get("required", ())
    lines += ["| field | type | meaning |", "|---|---|---|"]
    for field, part in schema["properties"].items():
        about = _cell(" ".join(part.get("description", "").split()))
        lines.append(f"| `{field}`{' *' if field in needed else ''} | {_type(part)} | {about} |")
    return [*lines, ""]


def _type(schema: dict[str, Any]) -> str:
    return _cell(type_of(schema))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
