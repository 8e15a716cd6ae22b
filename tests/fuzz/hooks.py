"""Hooks of schemathesis: most paths name things that exist."""

import json
import os
from typing import Any
from zlib import crc32

import schemathesis

WORLD: dict[str, list[str]] = json.loads(os.environ["MOCO_FUZZ_WORLD"])
INVENTED_PER_8 = 2
"""Number of generated values, of eight, that stay unchanged."""


@schemathesis.hook
def map_path_parameters(
    context: schemathesis.HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Replace generated ids by existing ones. The same value has the same id."""
    if not path_parameters or context.operation is None:
        return path_parameters
    kind = context.operation.path.split("/")[2]
    for name, values in (("id", WORLD.get(kind)), ("name", WORLD["names"])):
        chance = crc32(str(path_parameters.get(name)).encode("utf-8", "replace"))
        if name in path_parameters and values and chance % 8 >= INVENTED_PER_8:
            path_parameters[name] = values[chance // 8 % len(values)]
    return path_parameters
