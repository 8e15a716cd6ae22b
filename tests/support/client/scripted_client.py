"""A client whose server is a function: for what a real server does rarely."""

from collections.abc import Callable, Iterator

import httpx

from mocoserve.client import Client
from tests.support.service.api import KEY

Handler = Callable[[httpx.Request], httpx.Response]


def scripted(handler: Handler) -> Client:
    """Return a client whose requests `handler` answers, and whose retries do not wait."""
    client = Client("http://server", KEY, transport=httpx.MockTransport(handler))
    client._http.pause = lambda _s: None
    return client


def job_json(**changes: object) -> dict[str, object]:
    """Return a queued job as the API sends it."""
    return {"id": "job_1", "object": "job", "status": "queued", **changes}


class Broken(httpx.SyncByteStream):
    """Body of a response whose connection is cut after `content`."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        raise httpx.ReadError("cut")
