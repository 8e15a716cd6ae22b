"""What the shell offers after TAB: names from the server, at once or not at all.

Completion must never write a word nor wait long: whatever goes wrong, nothing is offered. The
standard library asks, because the client takes half a second to load.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer

PATIENCE_S = 1.0
"""For everything: finding the server, asking it, and reading the answer."""
_PAGE = 100
Offer = tuple[str, str]
"""A word, and what it means."""
STATES = ("queued", "running", "stopping", "paused", "cancelled", "succeeded", "failed")


def jobs(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Ids of the newest jobs, with their names where the shell shows them."""
    return _within_patience(lambda: _matching(_jobs(ctx), incomplete))


def datasets(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Names of datasets, or ids for who begins to type one."""
    return _within_patience(lambda: _matching(_datasets(ctx, incomplete), incomplete))


def workers(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Ids of the workers that are seen."""
    return _within_patience(lambda: _matching(_workers(ctx), incomplete))


def files(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Files of the job that is named on the line, or of the newest."""
    return _within_patience(lambda: _matching(_files(ctx), incomplete))


def states(incomplete: str) -> list[str]:
    """States of a job."""
    return [state for state in STATES if state.startswith(incomplete)]


def encoders(incomplete: str) -> list[str]:
    """Encoders that can be trained."""
    from typing import get_args

    from trainer.encoders.spec import EncoderName

    return [name for name in get_args(EncoderName) if name.startswith(incomplete)]


def presets(incomplete: str) -> list[str]:
    """Return the published recipes that can be named."""
    from typing import get_args

    from trainer.spec import PresetName

    return [name for name in get_args(PresetName) if name.startswith(incomplete)]


def _jobs(ctx: typer.Context) -> Iterator[Offer]:
    for job in _ask(ctx, f"/v1/jobs?limit={_PAGE}")["data"]:
        yield job["id"], f"{job.get('name') or ''} {job['status']}".strip()


def _datasets(ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    for one in _ask(ctx, f"/v1/datasets?limit={_PAGE}")["data"]:
        by_id = incomplete and one["id"].startswith(incomplete)
        yield one["id"] if by_id else one["name"], one["status"]


def _workers(ctx: typer.Context) -> Iterator[Offer]:
    for one in _ask(ctx, "/v1/workers")["data"]:
        yield one["id"], f"{one['state']} {one['device']}".strip()


def _files(ctx: typer.Context) -> Iterator[Offer]:
    job = ctx.params.get("job") or _ask(ctx, "/v1/jobs?limit=1")["data"][0]["id"]
    for one in _ask(ctx, f"/v1/jobs/{job}/artifacts")["data"]:
        yield one["name"], f"{one['size_bytes']} bytes"


def _matching(found: Iterable[Offer], incomplete: str) -> list[Offer]:
    """Those that begin so. What could upset a terminal is not offered."""
    return [
        offer
        for offer in found
        if offer[0].startswith(incomplete) and all(text.isprintable() for text in offer)
    ]


def _ask(ctx: typer.Context, path: str) -> dict[str, Any]:
    """The JSON at `path` of the server that the line, or the settings, name."""
    import urllib.parse
    import urllib.request

    from mocoserve.server_address import find

    given = ctx.params
    address = find(given.get("url") or None, given.get("key") or None, given.get("data_dir"))
    headers = {"Authorization": f"Bearer {address.key}"}
    request = urllib.request.Request(address.url.rstrip("/") + path, headers=headers)
    host = urllib.parse.urlsplit(address.url).hostname
    # A proxy of the environment cannot reach this machine's own loopback.
    own = [urllib.request.ProxyHandler({})] if host in ("127.0.0.1", "localhost", "::1") else []
    with urllib.request.build_opener(*own).open(request, timeout=PATIENCE_S) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _within_patience(work: Callable[[], list[Offer]]) -> list[Offer]:
    """What `work` finds; nothing if it fails, or has not ended in time."""
    found: list[Offer] = []

    def quietly() -> None:
        try:
            found.extend(work())
        except Exception:
            # Said by the command itself, when it is run.
            return

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return list(found)
