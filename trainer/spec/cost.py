"""Estimate of the work and memory of a job before it runs. Loads no tensors.

The modality counts the encoder, the method how often it runs.
"""

from bisect import bisect_right
from dataclasses import dataclass
from math import lcm

from trainer.methods.cost import MethodCost
from trainer.methods.registry import part_of
from trainer.modalities.cost import RESIDENT_SHARE_GPU, RowCost
from trainer.modalities.registry import part_of as modality_part
from trainer.schema.events import DatasetFacts
from trainer.spec.defaults import batch_norm_of, trained_on
from trainer.spec.resolved import ResolvedSpec
from trainer.spec.resources import shared_unit
from trainer.spec.rules import epoch_rows, steps_per_epoch
from trainer.spec.scaling import StepWork


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated needs of a job."""

    steps: int
    flops_per_row: float
    memory_bytes: int


PASSES_OF_PRETEXT = 3
"""Passes that forward and backward of one pretext are worth."""
PRETEXT_VIEWS_KEPT = 0.75
"""Views that a pretext adds to others that are kept."""
BATCH_UNIT = 8
FITTING_SHARE = 0.9
"""Share of the memory that an estimate may fill: it is not exact, and memory fragments."""
BYTES_PER_VALUE, BYTES_PER_NARROW_VALUE = 4, 2
"""Bytes of a value in fp32, and in bf16."""
VIEW_COPIES = 2
"""Copies of views: as they are made, and as the graph of a step reads them."""
READ_ROWS = 2
"""Rows that are read for one of a batch: itself, and its partner if it has one."""
STORED_COPIES = 2
"""Copies of stored rows: as they come, and as the graph of views reads them."""
ROW_NUMBER_BYTES = 8


def _method_cost(spec: ResolvedSpec, row: RowCost, *, batch_rows: int) -> MethodCost:
    """Return the cost of a job's method and pretexts.

    A pretext is a forward and a backward pass of its own, with its own corrupted view, while the
    activations of the method wait for the gradient.
    """
    of_method = part_of(spec.method.name, "cost")
    cost: MethodCost = of_method.cost(spec.method, batch_rows=batch_rows, views=spec.views.count)
    count = len(spec.auxiliary)
    rows = spec.batch_rows // spec.resources.gpus
    return cost._replace(
        passes=cost.passes + PASSES_OF_PRETEXT * count,
        views_kept=_views_kept(cost.views_kept, count),
        kept_passes=cost.kept_passes + count,
        values=cost.values + count * rows * row.view_values,
    )


def _views_kept(of_method: float, pretexts: int) -> float:
    """Return the views whose activations are kept at once; the last is freed first."""
    if not pretexts or of_method:
        return of_method + PRETEXT_VIEWS_KEPT * pretexts
    return 1 + PRETEXT_VIEWS_KEPT * (pretexts - 1)


def estimate(spec: ResolvedSpec, facts: DatasetFacts) -> Estimate:
    """Return steps, arithmetic per row and peak memory of a resolved `spec` on a dataset.

    The memory is that of each GPU, which holds its share of the batch and the loss of all of it.
    """
    row: RowCost = modality_part(spec.views.modality, "cost").cost(spec, facts)
    cost = _method_cost(spec, row, batch_rows=spec.batch_rows // spec.optim.accumulate_steps)
    return Estimate(
        steps=steps_per_epoch(spec, epoch_rows(spec, trained_on(spec, facts))) * spec.epochs,
        flops_per_row=2.0 * cost.passes * row.macs,
        memory_bytes=int(_memory_bytes(spec, row, cost)),
    )


def _memory_bytes(spec: ResolvedSpec, row: RowCost, cost: MethodCost) -> float:
    """Return the peak of memory on each GPU.

    Steps and views are captured as two graphs, whose memory nothing else may use. `auto` counts as
    bf16, which it is on GPUs that have it.
    """
    rows = spec.batch_rows // spec.resources.gpus
    narrow_bytes = BYTES_PER_VALUE if spec.precision == "fp32" else BYTES_PER_NARROW_VALUE
    optimizer_copies = 3 if spec.optim.name in {"adam", "adamw"} else 2
    weights = BYTES_PER_VALUE * (cost.towers + optimizer_copies)
    if narrow_bytes < BYTES_PER_VALUE:
        weights += narrow_bytes * cost.kept_passes  # of one tower, for its backward pass
    views = BYTES_PER_VALUE * spec.views_per_row * VIEW_COPIES * row.view_values
    work = BYTES_PER_VALUE * row.work_values * min(rows, row.work_rows)
    activations = cost.views_kept * (narrow_bytes * row.activations + row.kept_bytes)
    read_rows = 1 if spec.positives.name == "self" else READ_ROWS
    stored = STORED_COPIES * row.stored_bytes * read_rows
    total = (
        (row.parameters + _head_weights(row, cost)) * weights
        + rows // spec.optim.accumulate_steps * activations
        + rows * (views + stored)
        + work
        + BYTES_PER_VALUE * cost.values
    )
    is_resident = row.resident_bytes <= RESIDENT_SHARE_GPU * (total + row.resident_bytes)
    return total + row.resident_bytes if is_resident else total


def _dim(spec: ResolvedSpec, row: RowCost) -> int:
    """Return the width of a row's embedding: that of the encoder for a method without a head."""
    return getattr(spec.method, "dim", None) or row.feature_dim


def _head_weights(row: RowCost, cost: MethodCost) -> int:
    """Return the weights of a method's heads, beside the usual head that the modality counts."""
    return row.feature_dim * cost.head_hidden + cost.head_weights


def largest_batch(spec: ResolvedSpec, facts: DatasetFacts, *, memory_bytes: int) -> int | None:
    """Return the largest smaller batch that should fit in the memory; None if none does.

    The batch of `spec` is known not to fit, whatever its estimate says.
    """
    limit = FITTING_SHARE * min(memory_bytes, estimate(spec, facts).memory_bytes)
    shared = shared_unit(spec.resources.gpus, batch_norm_of(spec))
    unit = lcm(BATCH_UNIT, shared, spec.optim.accumulate_steps)
    sizes = range(unit, spec.batch_rows, unit)

    def needed(batch_rows: int) -> int:
        return estimate(spec.model_copy(update={"batch_rows": batch_rows}), facts).memory_bytes

    count = bisect_right(sizes, limit, key=needed)
    return sizes[count - 1] if count else None


def step_work(spec: ResolvedSpec, facts: DatasetFacts) -> StepWork:
    """Return the work of one step that GPUs share; the gradients are those of the encoder.

    Every GPU gets one embedding of each view, at most.
    """
    row: RowCost = modality_part(spec.views.modality, "cost").cost(spec, facts)
    cost = _method_cost(spec, row, batch_rows=spec.batch_rows)
    return StepWork(
        batch_rows=spec.batch_rows,
        flops_per_row=2.0 * cost.passes * row.macs,
        gradient_bytes=BYTES_PER_VALUE * (row.parameters + _head_weights(row, cost)),
        row_bytes=spec.views_per_row * (BYTES_PER_VALUE * _dim(spec, row) + ROW_NUMBER_BYTES),
    )
