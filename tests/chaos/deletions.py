"""A user who deletes jobs and datasets in the storm, and does not always wait for an answer."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mocoserve.errors import ClientError, Conflict, NotFound

IMPATIENT = 0.3
"""Share of requests without a response that the user does not send again."""


@dataclass
class Deletions:
    """Deletions of jobs or of datasets, by id, sorted by the answer that the user got."""

    rng: random.Random
    gone: set[str] = field(default_factory=set)
    """Confirmed: they must never be seen again."""
    unanswered: set[str] = field(default_factory=set)
    """Given up: they may be gone, or be there whole."""
    refused: int = 0
    lost: list[str] = field(default_factory=list)
    """Not there although nobody had deleted them."""

    def ask(self, id: str, delete: Callable[[str], None]) -> None:
        """Delete it, or learn that it is in use. `delete` asks once."""
        was_asked, is_patient = id in self.unanswered, self.rng.random() >= IMPATIENT
        while True:
            try:
                delete(id)
            except NotFound:
                if not was_asked:
                    self.lost.append(id)
            except Conflict:
                self.refused += 1
                return
            except ClientError:
                was_asked = True
                if is_patient:
                    time.sleep(0.2)
                    continue
                self.unanswered.add(id)
                return
            self.unanswered.discard(id)
            self.gone.add(id)
            return

    def open_to(self, ids: list[str]) -> list[str]:
        """Return those that may still be there, newest last."""
        return [id for id in ids if id not in self.gone]

    def pick(self, ids: list[str]) -> str | None:
        """Return one that may still be there; every other time one of the newest, at work maybe."""
        there = self.open_to(ids)
        recent = there[-10:] if self.rng.random() < 0.5 else there
        return self.rng.choice(recent) if recent else None
