"""Checkpoints of a run: the state is copied at a step and written in the background."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from trainer.checkpoint import checkpoint_files as checkpoints
from trainer.checkpoint.background_writer import BackgroundWriter
from trainer.checkpoint.snapshot import Snapshot
from trainer.checkpoint.state import check_finite, digest
from trainer.distributed.world import ALONE, World
from trainer.schema.errors import DivergedError, DivergedRanks
from trainer.schema.events import Checkpointed, Event

Emit = Callable[[Event], None]
OVERHEAD_MAX = 0.02
"""Largest share of the time that checkpoints may take from training."""
LOST_S_MAX = 60.0
"""Work that a kill may cost, in seconds, where the overhead allows it."""


def checkpoint_interval_s(*, every_s: float, cost_s: float, write_s: float) -> float:
    """Return the seconds from one checkpoint's copy to the next one's.

    `every_s` is what the job asks for; `cost_s` is what the last checkpoint took from training;
    `write_s` is the time from its copy until it was on the disk.

    A kill loses the work since the copy of the newest checkpoint on the disk: at worst one
    interval and one write. An interval of up to a minute is therefore shortened by the write, so
    that both fit into LOST_S_MAX; a longer one stays as the job asks. The cost has precedence:
    where a checkpoint costs more than OVERHEAD_MAX of the interval, the interval grows. A kill is
    rare and costs minutes once, while the overhead is paid as long as the run lasts.
    """
    if every_s <= LOST_S_MAX:
        every_s = max(0.0, min(every_s, LOST_S_MAX - write_s))
    return max(every_s, cost_s / OVERHEAD_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """Policy: which checkpoints are kept, where, and how often they are written."""

    out: Path
    """Folder of the run; checkpoints are in `<out>/checkpoints`."""
    earlier: tuple[Path, ...] = ()
    """Checkpoints of earlier attempts."""
    fingerprint: dict[str, str]
    differs: tuple[str, ...]
    every_s: float
    every_steps: int | None
    keep: int


class CheckpointManager:
    """The checkpoints of one attempt. Never are two written at once.

    All ranks copy their state and compare its hash; rank 0 writes.

    A checkpoint by steps is a promise: it waits for the one that is being written. One by time is
    put off until that is done. In a `with`, as BackgroundWriter.
    """

    def __init__(
        self,
        policy: CheckpointPolicy,
        *,
        device: torch.device,
        began_step: int,
        is_own: bool,
        sync_history: Callable[[], None],
        world: World = ALONE,
    ) -> None:
        """`began_step`: the step that the run resumed from; its checkpoint may be outside `out`."""
        self.policy, self._sync_history, self._world = policy, sync_history, world
        self._shares_cores = device.type == "cpu"
        self._snapshot = Snapshot(device)
        self._behind = BackgroundWriter("checkpoint")
        self._began_step = began_step
        self.newest_step = began_step if is_own else -1
        """Step of the newest checkpoint in `out`, on disk or being written; -1 if there is none."""
        self._copied_at_s = time.monotonic()
        self._blocked_s = self._cost_s = self._write_s = 0.0

    def __enter__(self) -> "CheckpointManager":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._behind.__exit__(kind, error, trace)

    @property
    def places(self) -> tuple[Path, ...]:
        """Folder of this attempt's checkpoints, and the checkpoints of earlier ones."""
        return self.policy.out / "checkpoints", *self.policy.earlier

    def is_due(self, step: int, *, by_time: Callable[[], bool], is_best: bool = False) -> bool:
        """Return whether a checkpoint is due after `step` steps: the best, by steps, or by time.

        `by_time` is `is_due_by_time` of rank 0, whose clock counts.
        """
        if step in {self._began_step, self.newest_step}:
            return False
        every_steps = self.policy.every_steps
        by_steps = every_steps is not None and step % every_steps == 0
        return is_best or by_steps or by_time()

    def is_due_by_time(self) -> bool:
        """Return whether the time for a checkpoint has come and none is being written."""
        due_s = checkpoint_interval_s(
            every_s=self.policy.every_s, cost_s=self._cost_s, write_s=self._write_s
        )
        return not self._behind.is_busy and time.monotonic() - self._copied_at_s >= due_s

    def start(
        self,
        state: Mapping[str, Tensor],
        *,
        step: int,
        emit: Emit,
        best_step: int | None = None,
    ) -> None:
        """Copy the state and write it in the background; then `emit` gets a Checkpointed.

        The checkpoint of `best_step` is kept however old it is.

        Raises the error of the previous checkpoint.
        """
        began_s = time.monotonic()
        self._behind.wait()
        self._snapshot.take(state)
        self.newest_step, self._copied_at_s = step, time.monotonic()
        self._blocked_s = self._copied_at_s - began_s
        self._behind.start(lambda: self._write(step, emit, best_step))

    def check(self) -> None:
        """Raise the error of the background write: DivergedError or StorageError."""
        self._behind.check()

    def wait(self) -> None:
        """Wait until the newest checkpoint is on disk. Raises the same errors as `check`."""
        self._behind.wait()

    def _write(self, step: int, emit: Emit, best_step: int | None) -> None:
        """Write a checkpoint, in the background thread."""
        began_s = time.thread_time()
        state, policy = self._snapshot.tensors(), self.policy
        if not self._world.is_first:
            with suppress(DivergedError, DivergedRanks):  # rank 0 raises it, and ends all
                self._verify(state, step)
            return
        self._verify(state, step)
        self._sync_history()
        meta = checkpoints.Meta(step=step, fingerprint=policy.fingerprint, differs=policy.differs)
        folder = policy.out / "checkpoints"
        saved = checkpoints.save(folder, state, meta, keep=policy.keep, best_step=best_step)
        self._write_s = time.monotonic() - self._copied_at_s
        # On a CPU the writing takes its seconds from the cores that train.
        self._cost_s = self._blocked_s + self._shares_cores * (time.thread_time() - began_s)
        emit(
            Checkpointed(
                step=step,
                path=saved.path.relative_to(policy.out).as_posix(),
                manifest_sha256=saved.manifest_sha256,
                size_bytes=saved.size_bytes,
            )
        )

    def _verify(self, state: Mapping[str, Tensor], step: int) -> None:
        """Raise DivergedError or DivergedRanks if a copied state must not be kept."""
        check_finite(state, step=step)
        self._world.check_alike(lambda: digest(state), what=f"The state after step {step}")
