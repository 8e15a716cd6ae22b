"""Connection to Redis: every call has a time limit, and raises errors of the store only."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.store.keys import LIBRARY, identity_key, lua_table
from service.store.store_errors import StoreLost, StoreUnavailable
from trainer.util.failpoints import failpoint

T = TypeVar("T")

# Pauses before each retry after a refused or broken connection: long enough for a restart; a
# server that is down raises within half a second.
_PAUSES_S: Final = (0.02, 0.08, 0.3)
_PARTS: Final = (
    "common",
    "gangs",
    "jobs",
    "queue",
    "datasets",
    "workers",
    "retention",
    "restore",
    "register",
)


def library() -> str:
    """Return the function library as it is loaded: header, table of keys, functions."""
    folder = Path(__file__).with_name("lua")
    parts = [(folder / f"{part}.lua").read_text("utf-8") for part in _PARTS]
    return "\n".join([f"#!lua name={LIBRARY}", lua_table(), *parts])


def connect(url: str, *, timeout_s: float, is_single: bool = False) -> redis.Redis:
    """Return a client whose sockets time out after `timeout_s` and that never retries by itself.

    `is_single`: it keeps one connection, for one thread, and saves what a pool costs per call.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        single_connection_client=is_single,
    )


class RedisClient:
    """Calls functions of the library, retrying where that is safe, within `timeout_s` in all."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Connect at the first call. Half of `timeout_s` is kept for one more try."""
        self.url = url
        self.timeout_s = timeout_s
        # Threads that take turns at a pool's lock and look whether each connection still lives
        # cost a third of a call; so each thread keeps its own.
        self._own = threading.local()
        self._clients = weakref.WeakSet[redis.Redis]()
        self.rest_s = 0.0
        """After a call that got no answer in time, others fail at once for so long: of many that
        wait for a thread or for each other, none waits longer than one."""
        self._silent_until_s = 0.0
        self.expected: str | None = None
        """The identity that the server must have; None asks for none."""

    def fcall(self, name: str, *args: str | float) -> list[Any]:
        """Call function `name`; the first value of the reply is the verdict.

        Raises:
            StoreUnavailable: no answer in time, or the server cannot write.
            StoreLost: the server has not the expected identity any more.
        """
        keys = self._keys()
        given = (*keys, *map(str, args))
        reply: list[Any] = self.run(lambda client: client.fcall(f"moco_{name}", len(keys), *given))
        if reply[0] == "LOST":
            raise _lost()
        return reply

    def fcalls(self, name: str, each: Sequence[Sequence[str]]) -> list[list[Any]]:
        """Call a function once per list of arguments, with one wait for all replies."""
        keys = self._keys()

        def ask(client: redis.Redis) -> object:
            pipe = client.pipeline(transaction=False)
            for args in each:
                pipe.fcall(f"moco_{name}", len(keys), *keys, *args)
            return pipe.execute()

        replies: list[list[Any]] = self.run(ask)
        if any(reply[0] == "LOST" for reply in replies):
            raise _lost()
        return replies

    def _keys(self) -> list[str]:
        return [] if self.expected is None else [identity_key(self.expected)]

    def run(  # each command has a type of answer of its own
        self, do: Callable[[redis.Redis], object], *, client: redis.Redis | None = None
    ) -> Any:  # noqa: ANN401
        """Return the result of `do`, tried again while the connection breaks and time is left.

        `do` may run twice, so it must be safe to repeat.
        """
        if client is None and time.monotonic() < self._silent_until_s:
            raise StoreUnavailable("Redis did not respond a moment ago.")
        deadline_s = time.monotonic() + self.timeout_s
        pauses_s = iter(_PAUSES_S)
        while True:
            try:
                failpoint("store.called")
                answer = self._once(do, client or self._client())
                failpoint("store.replied")
                return answer
            except redis.AuthenticationError as error:
                raise StoreUnavailable(f"Redis refuses the password: {error}") from error
            except redis.TimeoutError as error:
                if time.monotonic() + self.timeout_s / 4 > deadline_s:
                    self._silent_until_s = time.monotonic() + self.rest_s
                    raise StoreUnavailable("Redis timed out.") from error
            except (redis.ConnectionError, OSError) as error:
                pause_s = next(pauses_s, None)
                if pause_s is None or time.monotonic() + pause_s > deadline_s:
                    raise StoreUnavailable(f"Redis cannot be reached: {error}") from error
                time.sleep(pause_s)
            except redis.RedisError as error:
                raise StoreUnavailable(f"Redis refuses: {error}") from error

    def load(self) -> None:
        """Load the function library into the server, replacing an older one."""
        self.run(_load)

    def blocking(self, *, block_s: float) -> redis.Redis:
        """Return a separate client for commands that block up to `block_s`."""
        return connect(self.url, timeout_s=block_s + self.timeout_s)

    def close(self) -> None:
        """Close the connections, including those of ended threads."""
        for client in list(self._clients):
            client.close()

    def _client(self) -> redis.Redis:
        """Return the client of the calling thread."""
        mine: tuple[int, redis.Redis] | None = getattr(self._own, "client", None)
        if mine is None or mine[0] != os.getpid():  # a fork must not write into our connection
            mine = (os.getpid(), connect(self.url, timeout_s=self.timeout_s / 2, is_single=True))
            self._own.client = mine
            self._clients.add(mine[1])
        return mine[1]

    @staticmethod
    def _once(do: Callable[[redis.Redis], T], client: redis.Redis) -> T:
        """Run `do`, loading the library first into a server without it, such as a new one."""
        try:
            return do(client)
        except redis.ResponseError as error:
            if "Function not found" not in str(error):
                raise
        _load(client)
        return do(client)


def _lost() -> StoreLost:
    return StoreLost("Redis has lost its data; it is being rebuilt from the disk.")


def _load(client: redis.Redis) -> None:
    client.function_load(library(), replace=True)
