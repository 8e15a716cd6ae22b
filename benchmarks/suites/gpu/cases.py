"""The cases measured on a GPU: encoders, sides and batches."""

from dataclasses import dataclass
from typing import Literal

from benchmarks.arms.plain_encoders import DIM
from benchmarks.arms.practice_step import LR, MOMENTUM, TEMPERATURE
from trainer.spec.job import JobSpec

EPOCHS = 1000
"""More epochs than any benchmark runs."""
NEVER_STEPS, NEVER_S = 100_000, 86_400.0


@dataclass(frozen=True, slots=True)
class Case:
    """Sizes of a timed step, the same for every arm."""

    name: str
    encoder: str
    side_px: int
    row_px: int
    """Side of the rows in the pack."""
    rows: int
    """Rows of the pack."""
    batch_rows: int
    queue_rows: int
    """K."""
    rounds: int
    untimed: int
    """Steps before the timed ones of a block."""
    timed: int


RESNET18 = Case("resnet18@32 B 512", "resnet18", 32, 32, 50_000, 512, 4096, 5, 10, 60)
SMALL_BATCH = Case("resnet18@32 B 128", "resnet18", 32, 32, 50_000, 128, 4096, 5, 20, 100)
# At B 1024 a step takes a third of a second: three steps are a good look.
RESNET50 = Case("resnet50@224 B 1024", "resnet50", 224, 256, 2048, 1024, 65_536, 4, 1, 3)
TINY = (
    Case("small@16 B 8", "small", 16, 16, 32, 8, 32, 1, 1, 1),
    Case("small@16 B 4", "small", 16, 16, 32, 4, 32, 1, 1, 1),
    Case("small@24 B 8", "small", 24, 32, 32, 8, 64, 1, 0, 1),
)
"""Tiny substitutes for the cases, to check that the script works."""


def spec_of(
    case: Case, *, bn: Literal["split", "plain"] = "split", profile: bool = False
) -> JobSpec:
    """The recipe of MoCo v2 with the case's sizes."""
    return JobSpec.model_validate(
        {
            "dataset": "benchmark",
            "encoder": {"name": case.encoder},
            "epochs": EPOCHS,
            "batch_rows": case.batch_rows,
            "precision": "bf16",
            "views": {"side_px": case.side_px, "crop_scale": (0.2, 1.0), "blur_p": 0.5},
            "method": {
                "queue_rows": case.queue_rows,
                "momentum": MOMENTUM,
                "temperature": TEMPERATURE,
                "dim": DIM,
                "head": "mlp",
                "bn": bn,
            },
            "optim": {"lr": LR},
            "evaluation": None,
            "signals_every_steps": NEVER_STEPS,
            "checkpoint_every_s": NEVER_S,
            "profile": profile,
        }
    )
