"""Everyone who may ask: with each key, with a session of each, with no key at all."""

from typing import NamedTuple

from tests.fuzz.world import READ_KEY, SCRAPE_KEY
from tests.support.service.api import KEY, RunningApi, client_of


class Principal(NamedTuple):
    """Kind of caller, with its request headers."""

    name: str
    headers: dict[str, str]


def principals(api: RunningApi) -> list[Principal]:
    """Everyone. The sessions are made by signing in."""
    here = {"Sec-Fetch-Site": "same-origin"}
    return [
        Principal("none", {}),
        Principal("wrong", _bearer("moco_wrong_key_0123456789")),
        Principal("scrape", _bearer(SCRAPE_KEY)),
        Principal("read", _bearer(READ_KEY)),
        Principal("full", _bearer(KEY)),
        Principal("session-read", _session(api, READ_KEY) | here),
        Principal("session-full", _session(api, KEY) | here),
        Principal("cross-site", _session(api, KEY) | {"Sec-Fetch-Site": "cross-site"}),
    ]


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _session(api: RunningApi, key: str) -> dict[str, str]:
    with client_of(api.url, key=None) as browser:
        there = {"Sec-Fetch-Site": "same-origin"}
        answer = browser.post("/sign-in", data={"key": key}, headers=there)
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
