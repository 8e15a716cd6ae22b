"""The Redis server that `moco up` starts, and starts again if it dies."""

import time
from pathlib import Path

from service.cli.exit_codes import CommandError
from service.cli.local.stack import Tell
from service.store.embedded.server import RunningRedis, start_redis
from service.store.errors import StoreError

_PAUSE_S = 1.0


class OwnRedis:
    """A server on the data folder. What it was told before is there again after a restart."""

    def __init__(self, data_dir: Path, tell: Tell) -> None:
        """Starts it. Raises CommandError if it cannot."""
        self._data_dir, self._tell = data_dir, tell
        self._running = _started(data_dir)
        self._tell_of_damage()
        self._again_s = 0.0
        self.url = self._running.url

    def look(self) -> None:
        """Start it again if it is gone."""
        if self._running.alive() or time.monotonic() < self._again_s:
            return
        self._again_s = time.monotonic() + _PAUSE_S
        log = str(self._data_dir / "redis" / "server.log")
        facts = {"name": "redis", "code": None, "log": log, "again_in_s": 0.0}
        self._tell("crashed", facts)
        self._running.stop()
        self._running = _started(self._data_dir)
        if self._running.url != self.url:
            raise CommandError(
                "Redis restarted at another address",
                detail="Another program took its port.",
                hint="Start `moco up` again; nothing is lost.",
            )
        self._tell("restarted", {"name": "redis", "pid": self._running.pid})
        self._tell_of_damage()

    def _tell_of_damage(self) -> None:
        if self._running.set_aside:
            facts = {"name": "redis", "kept_in": str(self._running.set_aside)}
            self._tell("set_aside", facts)

    def stop(self) -> None:
        """Stop it in order."""
        self._running.stop()


def _started(data_dir: Path) -> RunningRedis:
    try:
        return start_redis(data_dir)
    except StoreError as error:
        raise CommandError(
            "The Redis server of the data folder does not start",
            detail=str(error),
            hint="`moco doctor` looks for a Redis server; --redis URL uses your own.",
        ) from error
