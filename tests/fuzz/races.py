"""Several senders at once who want opposite things of the same job or dataset."""

import itertools
from concurrent.futures import ThreadPoolExecutor

from tests.support.api import RunningApi, client_of, queued_job

SENDERS = 8
ALLOWED = frozenset({200, 202, 204, 404, 409})


def race_calls(api: RunningApi, *, jobs: int) -> int:
    """Control and delete `jobs` jobs from many threads; return the number of calls.

    Raises AssertionError for any answer but a success, 404 and 409.
    """
    verbs = ("cancel", "pause", "resume", "cancel", "delete", "delete", "resume", "get")
    with ThreadPoolExecutor(SENDERS) as pool, client_of(api.url) as client:

        def call(job: str, verb: str) -> tuple[str, int, str]:
            path = f"/v1/jobs/{job}"
            if verb in ("get", "delete"):
                answer = client.request(verb.upper(), path)
            else:
                answer = client.post(f"{path}/{verb}")
            return verb, answer.status_code, answer.text

        made = [queued_job(api.store, pool="nobody") for _ in range(jobs)]
        pairs = list(itertools.product(made, verbs))
        for verb, status, text in pool.map(lambda pair: call(*pair), pairs):
            assert status in ALLOWED, (verb, status, text)
    return len(pairs)
