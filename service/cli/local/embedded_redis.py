"""Redis server that `moco up` starts, and restarts if it dies."""

import time
from pathlib import Path

from service.cli.exit_codes import CommandError
from service.cli.local.stack import Notify
from service.store.embedded.server import RunningRedis, start_redis
from service.store.store_errors import StoreError

_PAUSE_S = 1.0


class EmbeddedRedis:
    """Redis server in the data folder; its data survives a restart."""

    def __init__(self, data_dir: Path, notify: Notify) -> None:
        """Start the server. Raises CommandError if it cannot be started."""
        self._data_dir, self._notify = data_dir, notify
        self._running = _started(data_dir)
        self._report_damage()
        self._again_s = 0.0
        self.url = self._running.url

    def look(self) -> None:
        """Restart the server if it has died."""
        if self._running.alive() or time.monotonic() < self._again_s:
            return
        self._again_s = time.monotonic() + _PAUSE_S
        log = str(self._data_dir / "redis" / "server.log")
        facts = {"name": "redis", "code": None, "log": log, "again_in_s": 0.0}
        self._notify("crashed", facts)
        self._running.stop()
        self._running = _started(self._data_dir)
        if self._running.url != self.url:
            raise CommandError(
                "Redis restarted at another address",
                detail="Another program took its port.",
                hint="Start `moco up` again; nothing is lost.",
            )
        self._notify("restarted", {"name": "redis", "pid": self._running.pid})
        self._report_damage()

    def _report_damage(self) -> None:
        if self._running.set_aside:
            facts = {"name": "redis", "kept_in": str(self._running.set_aside)}
            self._notify("set_aside", facts)

    def stop(self) -> None:
        """Stop the server cleanly."""
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
