"""The API against its own OpenAPI document, by schemathesis in a process of its own."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.principals import Principal
from tests.fuzz.world import World
from tests.support.service.api import RunningApi

CHECKS: tuple[str, ...] = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance", "unsupported_method"),
    *("allow_header_conformance", "negative_data_rejection", "missing_required_header"),
)
REPO = Path(__file__).parents[2]
DOCUMENT = "openapi.json"
CONFIG = "schemathesis.toml"
REFUSED = (
    "400",
    "401",
    "403",
    "404",
    "405",
    "406",
    "409",
    "413",
    "415",
    "422",
    "428",
    "429",
    "503",
)
"""Answers to what the document forbids; a list of too many items may exceed 64 KiB as well."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Amount of fuzzing of one principal."""

    examples: int
    """Examples of each operation, valid and invalid."""
    phases: str = "examples,coverage,fuzzing"
    """Coverage tries the borders of every parameter."""
    operation: str | None = None
    """The `operationId` of the only one that is tried."""
    seed: int = 1
    limit_s: float = 900.0


def schema_calls(
    api: RunningApi, world: World, principal: Principal, effort: Effort, *, folder: Path
) -> int:
    """Return how many calls were made; a document in `folder` takes the place of the API's own.

    Raises AssertionError with what was found.
    """
    if not (folder / DOCUMENT).exists():
        (folder / DOCUMENT).write_text(api.client.get("/openapi.json").text)
    expected = f"negative_data_rejection.expected-statuses = {list(REFUSED)}"
    (folder / CONFIG).write_text(f"[checks]\n{expected}\n")
    headers = [
        argument
        for name, value in principal.headers.items()
        for argument in ("--header", f"{name}: {value}")
    ]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", DOCUMENT, "--url", api.url),
            *headers,
            *("--phases", effort.phases, "--max-examples", str(effort.examples)),
            *("--seed", str(effort.seed), "--checks", ",".join(_checks(principal))),
            *("--continue-on-failure", "--no-color", "--workers", "1"),
            *(("--include-operation-id", effort.operation) if effort.operation else ()),
        ],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": str(REPO),
            "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
            "MOCO_FUZZ_WORLD": world.as_json(),
        },
        capture_output=True,
        text=True,
        timeout=effort.limit_s,
        check=False,
    )
    generated = re.search(r"([\d,]+) generated", done.stdout)
    assert done.returncode == 0, f"{principal.name}:\n{done.stdout}\n{done.stderr}"
    assert generated is not None, done.stdout
    return int(generated[1].replace(",", ""))


def _checks(principal: Principal) -> list[str]:
    """Return the checks: a request without Authorization is still valid with a session."""
    by_cookie = "Cookie" in principal.headers
    of_keys = ("negative_data_rejection", "missing_required_header") if by_cookie else ()
    return [name for name in CHECKS if name not in of_keys]
