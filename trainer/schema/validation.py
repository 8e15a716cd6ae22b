"""Errors of pydantic as a place in the input and a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any


def message_of(error: Mapping[str, Any]) -> str:
    """Return what is wrong, as a sentence."""
    if error["type"] == "extra_forbidden":
        return "Unknown field."
    return str(error["msg"]).removeprefix("Value error, ")


def path_in(data: object, error: Mapping[str, Any], location: Sequence[int | str]) -> list[str]:
    """Return the keys and indexes of the wrong value, without pydantic's names of union members.

    `location` is `error["loc"]`, or its part inside `data`.
    """
    node, path = data, list[str]()
    for depth, part in enumerate(location):
        is_last = depth == len(location) - 1
        if isinstance(node, dict):
            if part not in node and not (is_last and error["type"] == "missing"):
                continue
            node = node.get(part)
        elif isinstance(node, list):
            if not isinstance(part, int):
                continue
            node = node[part] if part < len(node) else None
        else:
            break
        path.append(str(part))
    return path
