"""A batch in parts whose gradients are added up before the weights move."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.methods.base import StepOutput
from trainer.nn.views import Batch, rebuilt, tensors_of


def split(batch: Batch, parts: int) -> list[Batch]:
    """Return runs of neighbouring rows; `parts` divides the rows."""
    if parts == 1:
        return [batch]
    runs = zip(*(tensor.chunk(parts) for tensor in tensors_of(batch)), strict=True)
    return [rebuilt(batch, tensors) for tensors in runs]


def joined(outputs: Sequence[StepOutput]) -> StepOutput:
    """Return the output of a batch from those of its parts: the mean loss, and all rows."""
    if len(outputs) == 1:
        return outputs[0]
    return outputs[0]._replace(
        loss=torch.stack([output.loss for output in outputs]).mean(),
        queries=torch.cat([output.queries for output in outputs]),
        keys=torch.cat([output.keys for output in outputs]),
        identities=torch.cat([output.identities for output in outputs]),
        readings=_means([output.readings for output in outputs]),
    )


def _means(readings: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(values).mean() for values in zip(*readings, strict=True))


def first_part(output: StepOutput, parts: int) -> StepOutput:
    """Return the rows of the first part, with the mean loss: in-batch negatives are a part's."""
    if parts == 1:
        return output
    return output._replace(
        queries=output.queries.chunk(parts)[0],
        keys=output.keys.chunk(parts)[0],
        identities=output.identities.chunk(parts)[0],
    )
