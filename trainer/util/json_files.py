"""JSON as files hold it."""

import json
from collections.abc import Mapping
from typing import Any


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return an object as indented JSON with a line end."""
    return (json.dumps(value, indent=2) + "\n").encode()
