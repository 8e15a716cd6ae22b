"""Several senders at once who want opposite things of the same job or dataset."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx

from service.ids import new_id
from tests.support.service.api import RunningApi, client_of, queued_job

SENDERS = 8
ALLOWED = frozenset({200, 201, 202, 204, 404, 409, 422})
Call = Callable[[httpx.Client], httpx.Response]


def race_calls(api: RunningApi, *, jobs: int) -> int:
    """Run all operations concurrently on `jobs` jobs and as many datasets; return the call count.

    Raises AssertionError for any answer but a success, 404, 409 and 422.
    """
    calls: list[Call] = []
    for _ in range(jobs):
        calls += _with_job(f"/v1/jobs/{queued_job(api.store, pool='nobody')}")
    for number in range(jobs):
        name = f"race-{new_id('ds')[-12:]}"
        made = api.client.post("/v1/datasets", json={"name": name})
        assert made.status_code == 201, made.text
        calls += _with_dataset(made.headers["location"], name, number)
    with ThreadPoolExecutor(SENDERS) as pool, client_of(api.url) as client:
        answers: Iterable[httpx.Response] = pool.map(lambda call: call(client), calls)
        for answer in answers:
            request = answer.request
            assert answer.status_code in ALLOWED, (request.method, request.url, answer.text)
    return len(calls)


def _with_job(path: str) -> list[Call]:
    def post(client: httpx.Client, verb: str) -> httpx.Response:
        return client.post(f"{path}/{verb}")

    controls = [partial(post, verb=verb) for verb in ("cancel", "pause", "resume", "cancel")]
    return [*controls, *_looked_at_and_deleted(path), partial(post, verb="resume")]


def _with_dataset(path: str, name: str, number: int) -> list[Call]:
    def put(client: httpx.Client) -> httpx.Response:
        return client.put(f"{path}/content", content=b"x" * 2000)

    def rename(client: httpx.Client) -> httpx.Response:
        return client.patch(path, json={"name": f"{name}-{number % 2}"})

    def submit(client: httpx.Client) -> httpx.Response:
        return client.post("/v1/jobs", json={"dataset": name, "epochs": 1})

    return [put, rename, submit, *_looked_at_and_deleted(path), rename, put]


def _looked_at_and_deleted(path: str) -> list[Call]:
    def get(client: httpx.Client) -> httpx.Response:
        return client.get(path)

    def delete(client: httpx.Client) -> httpx.Response:
        return client.delete(path)

    return [delete, delete, get]
