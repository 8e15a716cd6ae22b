"""Routes for the description of the API: as OpenAPI, and as a page without scripts."""

import base64
import hashlib
import json
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, Response

from service.server.strict_json import StrictRoute

router = APIRouter(include_in_schema=False, route_class=StrictRoute)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API reference as a page."""
    return await run_in_threadpool(_page, request.app.openapi())


def _page(document: dict[str, Any]) -> Response:
    templates = Environment(
        loader=PackageLoader("service.web", "templates"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = templates.get_template("docs.css").render()
    page = templates.get_template("docs.html").render(
        document=document,
        style=style,
        operations=operations(document),
        type_of=type_of,
        pretty=lambda value: json.dumps(value, indent=2),
    )
    mark = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{mark}'; base-uri 'none'; form-action 'none'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def operations(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Tag -> its operations, each with its method and path."""
    by_tag: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for tag in operation["tags"]:
                by_tag[tag].append({**operation, "method": method.upper(), "path": path})
    return by_tag


def type_of(schema: dict[str, Any]) -> str:
    """A schema in a few words, such as `integer >= 1 or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_of(part) for part in schema[key]))
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if schema.get("type") == "array":
        inner = schema.get("items") or {"anyOf": schema.get("prefixItems", [{}])}
        return f"list of {type_of(inner)}"
    limits = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    parts = [str(schema.get("type", "anything"))]
    parts += [f"{sign} {schema[key]}" for key, sign in limits.items() if key in schema]
    return " ".join(parts)
