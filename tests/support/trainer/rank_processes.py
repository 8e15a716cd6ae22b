"""Ranks of one job as processes on this machine, over gloo on the loopback device."""

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from trainer.distributed.rank_store import listening_store, variables_of_ranks

Body = Callable[..., int]
"""Work of one rank; it returns the exit code."""
END_S = 240.0
PRELOADED = [
    "tests.support.trainer.rank_checks",
    "tests.support.trainer.rank_bodies",
    # Loaded late by each rank: three seconds each.
    "torch.distributed",
    "torch._dynamo",
    "sklearn.manifold",
]


def run_ranks(
    body: Body, *arguments: object, size: int, environment: Mapping[int, dict[str, str]] = {}
) -> list[int]:
    """Run `body(*arguments)` on each rank and return the exit codes; -9 after SIGKILL.

    `environment`: rank -> variables of its own. Raises TimeoutError, with all of them ended, if one
    outlives the wait.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    store = listening_store("127.0.0.1", 0, timeout=timedelta(seconds=END_S))
    variables = variables_of_ranks(store, ranks=size)
    ranks = [
        context.Process(target=_main, args=(body, arguments, own | environment.get(rank, {})))
        for rank, own in enumerate(variables)
    ]
    until_s = time.monotonic() + END_S
    for rank in ranks:
        rank.start()
    try:
        for rank in ranks:
            rank.join(max(0.0, until_s - time.monotonic()))
        if any(rank.is_alive() for rank in ranks):
            raise TimeoutError("a rank does not end")
        return [rank.exitcode or 0 for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.join()


def _main(body: Body, arguments: tuple[Any, ...], variables: dict[str, str]) -> None:
    os.environ.update(variables)
    raise SystemExit(body(*arguments))
