"""The interface of every arm of the speed benchmark, and its settings. Loads no tensors."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

PEERS = ("lightly", "lightly-bf16", "paper", "practice")
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings shared by all arms of a run."""

    images: str
    """Folder with one folder for each class."""
    pack: str
    """The same images, as a pack."""
    encoder: str
    batch_rows: int
    queue_rows: int
    """K."""
    side_px: int
    workers: int
    """Processes of a DataLoader."""
    lr: float = 0.06


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive steps."""

    seconds: float
    loss: float
    """The last one."""


class Arm(Protocol):
    """Training loop, ready for its next steps."""

    def run_steps(self, count: int) -> Block:
        """Run `count` optimizer steps."""


class ArmModule(Protocol):
    """The contents of a module in this folder, named after its arm."""

    def open_arm(self, setup: Setup) -> AbstractContextManager[Arm]:
        """The arm; its processes and threads end with the block."""


def arm_module(name: str) -> ArmModule:
    """Import the module of an arm, which controls what is loaded before torch."""
    module = import_module(f"benchmarks.arms.{name.replace('-', '_')}")
    return cast(ArmModule, module)
