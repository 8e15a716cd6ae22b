"""Sequence that stops a child: a polite request, SIGTERM, SIGKILL, spread over the grace."""

from dataclasses import dataclass
from enum import Enum


class StopStage(Enum):
    """One stage of stopping a child."""

    ASK = "ask"
    """`stop` on the control pipe: it saves a checkpoint at the next step boundary and leaves."""
    TERM = "term"
    """SIGTERM to its group, at half of the grace: it leaves without saving."""
    KILL = "kill"
    """SIGKILL to its group, at the end of the grace."""


SHARES = {StopStage.ASK: 0.0, StopStage.TERM: 0.5, StopStage.KILL: 1.0}
"""Share of the grace after which each stage is due."""


@dataclass
class StopSequence:
    """Stages in order, each due once. Times are seconds of one monotonic clock."""

    grace_s: float
    _requested_at_s: float | None = None
    _done: int = 0

    @property
    def requested(self) -> bool:
        """True if the child was asked to stop."""
        return self._requested_at_s is not None

    def ask(self, now_s: float) -> None:
        """Begin; asking again changes nothing."""
        if self._requested_at_s is None:
            self._requested_at_s = now_s

    def kill_now(self) -> None:
        """Skip the rest of the grace."""
        self._requested_at_s = float("-inf")

    def due(self, now_s: float) -> list[StopStage]:
        """Return the stages that became due since the last call."""
        if self._requested_at_s is None:
            return []
        elapsed_s = now_s - self._requested_at_s
        reached = [stage for stage, share in SHARES.items() if elapsed_s >= share * self.grace_s]
        due, self._done = reached[self._done :], max(self._done, len(reached))
        return due

    def next_in_s(self, now_s: float) -> float | None:
        """Return the seconds until the next stage; None if there is none to wait for."""
        if self._requested_at_s is None or self._done == len(SHARES):
            return None
        wait_s = list(SHARES.values())[self._done] * self.grace_s
        return max(0.0, self._requested_at_s + wait_s - now_s)
