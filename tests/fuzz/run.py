"""One run of everything, and what the API itself counted meanwhile."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.principals import Principal, principals
from tests.fuzz.races import race_calls
from tests.fuzz.raw import raw_calls
from tests.fuzz.schema import Effort, schema_calls
from tests.fuzz.world import READ_KEY, SCRAPE_KEY, busy_worker, populate
from tests.support.service.api import Loose, RunningApi, running_api
from tests.support.service.redis import running_redis


class Plan(NamedTuple):
    """Amount of fuzzing."""

    efforts: dict[str, Effort]
    """Principal -> what is tried as them."""
    raw: int
    race_jobs: int
    seed: int = 1


@contextmanager
def fuzzed_api(folder: Path, **changes: Loose) -> Iterator[RunningApi]:
    """An API on a Redis of its own, with a key of every kind."""
    settings: dict[str, Loose] = {
        "read_key": READ_KEY,
        "scrape_key": SCRAPE_KEY,
        "upload_bytes_max": 2**20,
        "allowed_roots": str(folder / "allowed"),
    }
    (folder / "allowed" / "photos").mkdir(parents=True)
    with (
        running_redis(folder / "redis") as redis,
        running_api(redis.url, folder / "data", **(settings | changes)) as api,
    ):
        yield api


def run(api: RunningApi, plan: Plan, *, folder: Path) -> dict[str, int]:
    """Return what was called, by name. Raises AssertionError with what was found."""
    world, everyone, calls = populate(api), principals(api), dict[str, int]()
    with busy_worker(api):
        for principal in everyone:
            if principal.name in plan.efforts:
                effort = plan.efforts[principal.name]
                calls[principal.name] = schema_calls(api, world, principal, effort, folder=folder)
        calls["raw"] = raw_calls(api, world, _known(everyone), count=plan.raw, seed=plan.seed)
        calls["races"] = race_calls(api, jobs=plan.race_jobs)
    assert statuses(api)["5xx"] == 0, statuses(api)
    return calls


def statuses(api: RunningApi) -> Counter[str]:
    """Count the API's answers by class, from its own metrics."""
    counted: Counter[str] = Counter()
    parts = api.server.config.app.state.services  # type: ignore[union-attr]
    for family in parts.instruments.registry.collect():
        for sample in family.samples:
            if sample.name == "moco_http_requests_total":
                counted[f"{sample.labels['status'][0]}xx"] += int(sample.value)
    return counted


def _known(everyone: list[Principal]) -> list[Principal]:
    return [one for one in everyone if one.name != "wrong"]
