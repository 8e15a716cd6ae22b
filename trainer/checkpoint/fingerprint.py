"""All that the bits of a result depend on besides the state: if it differs, so may they."""

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from trainer.accel.device import DeviceContext
from trainer.distributed.world import ALONE, World
from trainer.modalities.base import load_modality
from trainer.schema.events import DatasetFacts
from trainer.spec.added_fields import at_old_meaning
from trainer.spec.job import JobSpec

# Fields of a spec that say how a run is watched and kept, not what it computes.
OPERATIONAL = frozenset(
    {
        "name",
        "preset",
        "dataset",
        "test_dataset",
        "init_from",  # the hash of its bytes is a cause of its own
        "checkpoint_every_s",
        "checkpoint_every_steps",
        "keep_checkpoints",
        "exports",
        "best_by",
        "profile",
        "pool",
        "resources",
        "retry",
        "metadata",
    }
)

MEANING_OF_MISSING = {
    "tf32": "conv tf32, matmul ieee",
    "cublas_workspace": ":4096:8",
    "graphs": "on",
    "world": "1",
}
"""Values that were the only usual ones before fingerprints named them."""
PART_OF_TORCH = frozenset({"cudnn"})
"""Causes that come with a version of torch, which every fingerprint names."""


def fingerprint(
    spec: JobSpec,
    *,
    context: DeviceContext,
    facts: DatasetFacts,
    test_facts: DatasetFacts | None,
    graphs: bool = False,
    world: World = ALONE,
) -> dict[str, str]:
    """Name of a cause -> its value. `spec` is resolved. Equal fingerprints: equal bits.

    `graphs` says whether a GPU's steps are captured.
    """
    causes = {
        "code": code_sha256(),
        "spec": spec_sha256(spec),
        "dataset": facts.sha256,
        "test_dataset": test_facts.sha256 if test_facts else "",
        "device": context.name,
        "threads": str(torch.get_num_threads()) if context.device.type == "cpu" else "",
        "precision": context.precision,
        "torch": torch.__version__,
        "torchvision": version("torchvision"),  # to import it would take as long as torch
        "numpy": np.__version__,
        "python": platform.python_version(),
        "decoder": _decoder(spec, facts, test_facts),
        **world.causes(),
    }
    if context.device.type == "cuda":
        causes |= context.backend_settings() | {"graphs": "on" if graphs else "off"}
    return causes


def _decoder(spec: JobSpec, *datasets: DatasetFacts | None) -> str:
    """Return what decodes the rows of a job's datasets when they are read."""
    modality = load_modality(spec.views.modality)
    return modality.decoder(*(facts for facts in datasets if facts is not None))


def differing(before: dict[str, str], now: dict[str, str]) -> tuple[str, ...]:
    """Return the names of the causes that changed, sorted. `before` may lack newer names."""
    names = before.keys() | now.keys() - (PART_OF_TORCH - before.keys())
    meant = {name: before.get(name, MEANING_OF_MISSING.get(name)) for name in names}
    return tuple(sorted(name for name in names if meant[name] != now.get(name)))


def spec_sha256(spec: JobSpec) -> str:
    """Return the hash of what a resolved spec computes; a version that adds fields keeps it."""
    left_out = {**at_old_meaning(spec), **dict.fromkeys(OPERATIONAL, True)}
    return hashlib.sha256(spec.model_dump_json(exclude=left_out).encode()).hexdigest()


@cache
def code_sha256() -> str:
    """Return the sha256 of the trainer's source files, by name and content."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
