"""How a child is stopped: asked, told, then killed; each rung at its time within the grace."""

from dataclasses import dataclass
from enum import Enum


class Rung(Enum):
    """What is done to the child."""

    ASK = "ask"
    """`stop` on the control pipe: it saves a checkpoint at the next step boundary and leaves."""
    TERM = "term"
    """SIGTERM to its group, at half of the grace: it leaves without saving."""
    KILL = "kill"
    """SIGKILL to its group, at the end of the grace."""


@dataclass
class StopLadder:
    """The rungs in order, each climbed once. Times are of one monotonic clock, in seconds."""

    grace_s: float
    _asked_at_s: float | None = None
    _climbed: int = 0

    @property
    def asked(self) -> bool:
        """Whether the child was told to stop."""
        return self._asked_at_s is not None

    def ask(self, now_s: float) -> None:
        """Begin; asking again changes nothing."""
        if self._asked_at_s is None:
            self._asked_at_s = now_s

    def kill_now(self) -> None:
        """Skip what is left of the grace."""
        self.ask(float("-inf"))
        self._asked_at_s = float("-inf")

    def due(self, now_s: float) -> list[Rung]:
        """The rungs whose time has come since the last call."""
        if self._asked_at_s is None:
            return []
        waits_s = {Rung.ASK: 0.0, Rung.TERM: self.grace_s / 2, Rung.KILL: self.grace_s}
        elapsed_s = now_s - self._asked_at_s
        reached = [rung for rung, wait_s in waits_s.items() if elapsed_s >= wait_s]
        due, self._climbed = reached[self._climbed :], max(self._climbed, len(reached))
        return due

    def next_in_s(self, now_s: float) -> float | None:
        """Seconds until the next rung; None if there is none to wait for."""
        waits_s = (0.0, self.grace_s / 2, self.grace_s)
        if self._asked_at_s is None or self._climbed == len(waits_s):
            return None
        return max(0.0, self._asked_at_s + waits_s[self._climbed] - now_s)
