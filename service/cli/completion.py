"""Shell completion: names from the server, within a second or not at all.

Completion must never write a word nor wait long: whatever goes wrong, nothing is offered. The
standard library asks, because the client takes half a second to load.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer

TIMEOUT_S = 1.0
"""Time limit for finding the server, the request, and reading the response."""
_PAGE = 100
Offer = tuple[str, str]
"""A completion and its help text."""
STATES = ("queued", "running", "stopping", "paused", "cancelled", "succeeded", "failed")


def jobs(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return ids of the newest jobs, with their names as help texts."""
    return _with_timeout(lambda: _matching(_jobs(ctx), incomplete))


def datasets(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return names of datasets, or an id where the user begins to type one."""
    return _with_timeout(lambda: _matching(_datasets(ctx, incomplete), incomplete))


def workers(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return ids of the live workers."""
    return _with_timeout(lambda: _matching(_workers(ctx), incomplete))


def files(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return the files of the job on the command line, or of the newest."""
    return _with_timeout(lambda: _matching(_files(ctx), incomplete))


def states(incomplete: str) -> list[str]:
    """Return the states of a job."""
    return [state for state in STATES if state.startswith(incomplete)]


def positives(incomplete: str) -> list[str]:
    """Return the sources of second views that can be chosen."""
    from trainer.positives.registry import positives_names

    return [name for name in positives_names() if name.startswith(incomplete)]


def encoders(incomplete: str) -> list[str]:
    """Return the encoders that can be trained."""
    from trainer.modalities.registry import MODALITIES, part_of

    names = [name for each in MODALITIES for name in part_of(each, "spec").ENCODER_NAMES]
    return [name for name in names if name.startswith(incomplete)]


def methods(incomplete: str) -> list[str]:
    """Return the methods that can be chosen."""
    from trainer.methods.registry import method_names

    return [name for name in method_names() if name.startswith(incomplete)]


def pretexts(incomplete: str) -> list[str]:
    """Return the pretexts that a job can learn from."""
    from trainer.pretexts.registry import pretext_names

    return [name for name in pretext_names() if name.startswith(incomplete)]


def exports(incomplete: str) -> list[str]:
    """Return the exports that a job can ask for."""
    from typing import get_args

    from trainer.exports.spec import ExportName

    return [name for name in get_args(ExportName) if name.startswith(incomplete)]


def presets(incomplete: str) -> list[str]:
    """Return the names of the presets."""
    from typing import get_args

    from trainer.spec.job import PresetName

    return [name for name in get_args(PresetName) if name.startswith(incomplete)]


def _jobs(ctx: typer.Context) -> Iterator[Offer]:
    for job in _ask(ctx, f"/v1/jobs?limit={_PAGE}")["data"]:
        yield job["id"], f"{job.get('name') or ''} {job['status']}".strip()


def _datasets(ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    for dataset in _ask(ctx, f"/v1/datasets?limit={_PAGE}")["data"]:
        by_id = incomplete and dataset["id"].startswith(incomplete)
        yield dataset["id"] if by_id else dataset["name"], dataset["status"]


def _workers(ctx: typer.Context) -> Iterator[Offer]:
    for worker in _ask(ctx, "/v1/workers")["data"]:
        yield worker["id"], f"{worker['state']} {worker['device']}".strip()


def _files(ctx: typer.Context) -> Iterator[Offer]:
    job = ctx.params.get("job") or _ask(ctx, "/v1/jobs?limit=1")["data"][0]["id"]
    for file in _ask(ctx, f"/v1/jobs/{job}/artifacts")["data"]:
        yield file["name"], f"{file['size_bytes']} bytes"


def _matching(offers: Iterable[Offer], incomplete: str) -> list[Offer]:
    """Return the completions that match; texts with control characters are left out."""
    return [
        offer
        for offer in offers
        if offer[0].startswith(incomplete) and all(text.isprintable() for text in offer)
    ]


def _ask(ctx: typer.Context, path: str) -> dict[str, Any]:
    """Return the JSON at `path` of the server that the command line or the settings name."""
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
    with urllib.request.build_opener(*own).open(request, timeout=TIMEOUT_S) as response:
        body: dict[str, Any] = json.load(response)
    return body


def _with_timeout(work: Callable[[], list[Offer]]) -> list[Offer]:
    """Return the result of `work`, empty if it fails or exceeds the time limit."""
    offers: list[Offer] = []

    def quietly() -> None:
        try:
            offers.extend(work())
        except Exception:
            # Said by the command itself, when it is run.
            return

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    return list(offers)
