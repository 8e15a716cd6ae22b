"""Reading a JSON body: bounded in bytes, in time and in depth, and nothing but JSON."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from mocoserve.plain_text import UNSAFE, escaped
from service.errors import FieldError
from service.server.preconditions import require_match
from service.server.problems import Problem
from service.server.query_parameters import Parameters

JSON_BYTES_MAX = 64 * 1024
JSON_DEPTH_MAX = 32
UNSAFE_WORDS = "Control characters and bidirectional formatting characters are not allowed."


class StrictRoute(APIRoute):
    """A route whose query, conditions and JSON body are checked before the framework parses."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the framework's handler behind our check."""
        handle = super().get_route_handler()
        parameters = Parameters(self.dependant)

        async def strict(request: Request) -> Response:
            if request.scope["query_string"]:
                parameters.check(request.query_params)
            if not parameters.takes_if_match:  # what it names has no ETag
                require_match(request.headers.get("if-match"), None)
            if self.body_field is None:
                return await handle(request)
            body = await read_json_body(request)
            check(body)
            return await handle(Request(request.scope, _replay(body)))

        return strict


def check(body: bytes) -> object:
    """Parse `body`. Raises Problem `bad_json` if it is no JSON or nested too deeply.

    NaN, Infinity and keys that come twice are refused: readers disagree on what they mean. So are
    texts with control characters (Problem `invalid`): names reach terminals and pages.
    """
    if not body:
        raise Problem("bad_json", "The body is empty.")
    try:
        value: object = json.loads(
            body.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_without_twins
        )
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise Problem("bad_json", f"Byte {error.start} is not UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem("bad_json", f"Not JSON at {where}: {error.msg}.") from None
    except ValueError:
        raise Problem("bad_json", "A number has too many digits.") from None
    _check_depth(value)
    if b"\\" in body or not body.isascii() or b"\x7f" in body:
        _check_texts(value)
    return value


async def read_json_body(request: Request) -> bytes:
    """Read a JSON body, bounded in bytes and in time. Raises Problem."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem("unsupported_media_type", f"The Content-Type is {kind[:64] or 'missing'}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "The body is compressed.")
    wait_s: float = request.app.state.services.settings.body_wait_s
    chunks, size = [], 0
    try:
        async with asyncio.timeout(wait_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > JSON_BYTES_MAX:
                    raise Problem(
                        "too_large", f"A JSON body may have at most {JSON_BYTES_MAX} bytes."
                    )
                chunks.append(chunk)
    except TimeoutError:
        request.app.state.services.on_slow("body")
        detail = f"The body did not arrive within {wait_s:g} s."
        raise Problem("request_timeout", detail, headers={"Connection": "close"}) from None
    return b"".join(chunks)


def _replay(body: bytes) -> Callable[[], Coroutine[Any, Any, Message]]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _refuse(constant: str) -> NoReturn:
    raise Problem("bad_json", f"{constant} is not valid JSON.")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise Problem("bad_json", "An object has a duplicate key.")
    return value


def _check_texts(value: object) -> None:
    """Raise Problem `invalid` for every text that a terminal or a page would obey."""
    errors = [FieldError(pointer, UNSAFE_WORDS) for pointer in _unsafe(value, "#")]
    if errors:
        raise Problem("invalid", f"{errors[0].pointer}: {UNSAFE_WORDS}", errors=errors)


def _unsafe(value: object, pointer: str) -> Iterator[str]:
    """Yield where a text or a name is unsafe. `value` is not nested deeply."""
    if isinstance(value, str):
        if UNSAFE.search(value):
            yield pointer
    elif isinstance(value, dict):
        for name, inner in value.items():
            part = escaped(name[:64]).replace("~", "~0").replace("/", "~1")
            if UNSAFE.search(name):
                yield f"{pointer}/{part}"
            else:
                yield from _unsafe(inner, f"{pointer}/{part}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unsafe(inner, f"{pointer}/{index}")


def _too_deep() -> Problem:
    return Problem("bad_json", f"The body is nested deeper than {JSON_DEPTH_MAX}.")


def _check_depth(value: object) -> None:
    """Raise Problem for a value nested too deeply, level by level so that the stack is safe."""
    level = [value]
    for _ in range(JSON_DEPTH_MAX + 1):
        inner: list[object] = []
        for node in level:
            if isinstance(node, dict):
                inner.extend(node.values())
            elif isinstance(node, list):
                inner.extend(node)
        if not inner:
            return
        level = inner
    raise _too_deep()
