"""Estimate of the work and memory of a job before it runs. Loads no tensors.

The numbers per encoder are counted from the layers: multiply-adds and stored activations of one
forward pass of one image, both proportional to the area of the image.
"""

from dataclasses import dataclass

from trainer.methods.cost import MethodCost
from trainer.methods.registry import part_of
from trainer.schema.events import DatasetFacts
from trainer.spec.defaults import trained_on
from trainer.spec.job import JobSpec
from trainer.spec.rules import SMALL_SIDE_PX, steps_per_epoch


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """Cost of one encoder."""

    parameters: int
    macs_per_px: float
    """Multiply-adds of a forward pass, for each pixel of the image."""
    activations_per_px: float
    """Values kept for the backward pass, for each pixel of the image."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated needs of a job."""

    steps: int
    flops_per_row: float
    memory_bytes: int


# (encoder, stem) -> size. ResNets: 1.81, 3.66 and 4.09 GMAC at 224 px; 0.555 at 32 px for the
# CIFAR stem of ResNet-18, whose strides reduce the area 16 times less.
SIZES: dict[tuple[str, str], EncoderSize] = {
    ("small", "auto"): EncoderSize(537_000, 23_900.0, 150.0),
    ("resnet18", "imagenet"): EncoderSize(11_200_000, 36_200.0, 100.0),
    ("resnet18", "cifar"): EncoderSize(11_200_000, 542_000.0, 1250.0),
    ("resnet34", "imagenet"): EncoderSize(21_300_000, 73_200.0, 150.0),
    ("resnet34", "cifar"): EncoderSize(21_300_000, 1_130_000.0, 1900.0),
    ("resnet50", "imagenet"): EncoderSize(23_500_000, 81_500.0, 440.0),
    ("resnet50", "cifar"): EncoderSize(23_500_000, 1_270_000.0, 6000.0),
}
BYTES_PER_VALUE = 4


def estimate(spec: JobSpec, facts: DatasetFacts) -> Estimate:
    """Return steps, arithmetic per row and peak memory of a resolved `spec` on a dataset."""
    side_px, batch_rows = spec.views.side_px or 0, spec.batch_rows or 0
    size = encoder_size(spec)
    cost: MethodCost = part_of(spec.method.name, "cost").cost(spec.method, batch_rows=batch_rows)
    area_px = side_px * side_px
    optimizer_copies = 3 if spec.optim.name == "adamw" else 2
    weights = size.parameters * (cost.towers + optimizer_copies)
    activations = cost.views_kept * size.activations_per_px * area_px * batch_rows
    views = 6 * facts.channels * area_px * batch_rows
    return Estimate(
        steps=steps_per_epoch(spec, trained_on(spec, facts).rows) * (spec.epochs or 0),
        flops_per_row=2.0 * cost.passes * size.macs_per_px * area_px,
        memory_bytes=int(BYTES_PER_VALUE * (weights + activations + views + cost.values)),
    )


def encoder_size(spec: JobSpec) -> EncoderSize:
    """The size of the encoder that a resolved spec names."""
    name, stem = spec.encoder.name, spec.encoder.stem
    if name == "small":
        return SIZES["small", "auto"]
    if stem == "auto":
        stem = "cifar" if (spec.views.side_px or 0) <= SMALL_SIDE_PX else "imagenet"
    return SIZES[name, stem]
