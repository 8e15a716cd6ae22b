"""Contract of a pretext, and all pretexts of a job together."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from trainer.nn.views import Batch, View
from trainer.pretexts.registry import part_of
from trainer.rng.seeds import derived_seed, scoped_seed
from trainer.spec.resolved import ResolvedSpec

Embed = Callable[[View], Tensor]
"""Features [B, D] of a view by the encoder that learns, with their graph."""


class Prediction(NamedTuple):
    """Outputs of a pretext's head, and what they should have been."""

    outputs: Tensor
    """[B, ...], with their graph."""
    targets: Tensor
    """[B, ...]."""


class PretextOutput(NamedTuple):
    """Result of all pretexts."""

    loss: Tensor
    """[], the weighted sum of means over this rank's rows."""
    readings: tuple[Tensor, ...]
    """[] each and without a graph, in the order of their SIGNALS."""


class Pretext(nn.Module):
    """Loss of a corrupted view, by a pass of its own through the encoder that learns.

    It knows no method, and changes no state but by its gradient.
    """

    @abstractmethod
    def random_inputs(self, rows: Tensor, *, seed: int, step: int) -> Tensor:
        """Return what is drawn for dataset rows, int64 [B], at a step: int64 [B], on the CPU."""

    @abstractmethod
    def predict(self, embed: Embed, view: View, drawn: Tensor) -> Prediction:
        """Return the predictions of a view. Waits for no device."""

    @abstractmethod
    def loss(self, prediction: Prediction) -> Tensor:
        """Return the mean loss [] of predictions. Waits for no device."""

    @abstractmethod
    def scores(self, prediction: Prediction) -> tuple[Tensor, ...]:
        """Return figures of each row, [B] each, in the order of its TEST_SIGNALS.

        A bool is one of a share. Waits for no device.
        """


class Pretexts(nn.Module):
    """The pretexts of a job. Running statistics of batch norm are left to the method's passes.

    A corrupted view has other statistics than those that a download is used with; while training,
    batch norm takes those of the batch at hand in either pass.
    """

    def __init__(self, spec: ResolvedSpec, feature_dim: int) -> None:
        """Weights are drawn from the spec's seed."""
        super().__init__()
        self.specs = spec.auxiliary
        self.seeds: dict[str, int] = {
            each.name: derived_seed(spec.seed, each.name) for each in self.specs
        }
        with scoped_seed(derived_seed(spec.seed, "pretexts")):
            self.parts = nn.ModuleDict(
                {
                    each.name: part_of(each.name, "pretext").build(each, feature_dim)
                    for each in self.specs
                }
            )

    @property
    def named(self) -> dict[str, Pretext]:
        """The pretexts by name, in the order of the spec."""
        return {name: cast(Pretext, part) for name, part in self.parts.items()}

    def random_inputs(self, rows: Tensor, *, step: int) -> tuple[Tensor, ...]:
        """Return what each pretext draws for dataset rows, int64 [B], at a step, on the CPU."""
        return tuple(
            part.random_inputs(rows, seed=self.seeds[name], step=step)
            for name, part in self.named.items()
        )

    def predict(self, embed: Embed, view: View, drawn: Sequence[Tensor]) -> list[Prediction]:
        """Return the predictions of each pretext."""
        parts = zip(self.named.values(), drawn, strict=True)
        return [part.predict(embed, view, own) for part, own in parts]

    def forward(self, embed: Embed, encoder: nn.Module, batch: Batch) -> PretextOutput:
        """Return the weighted sum of all losses, of the first view, and all readings."""
        with statistics_kept(encoder):
            predictions = self.predict(embed, batch.views[0], batch.drawn)
        total, readings = torch.zeros((), device=batch.rows.device), []
        for spec, part, prediction in zip(
            self.specs, self.named.values(), predictions, strict=True
        ):
            loss = part.loss(prediction)
            total = total + spec.weight * loss
            with torch.no_grad():
                scores = [score.to(loss.dtype).mean() for score in part.scores(prediction)]
            readings += [loss.detach(), *scores]
        return PretextOutput(total, tuple(readings))

    def signals(self, readings: tuple[Tensor, ...]) -> dict[str, float]:
        """Return all readings by name. Syncs with the device."""
        names = [name for spec in self.specs for name in part_of(spec.name, "spec").SIGNALS]
        return {name: float(value) for name, value in zip(names, readings, strict=True)}

    def chance(self) -> float | None:
        """Return the weighted loss of guessing; None if a pretext has none."""
        chances: list[tuple[float, float | None]] = [
            (spec.weight, part_of(spec.name, "spec").CHANCE) for spec in self.specs
        ]
        known = [weight * chance for weight, chance in chances if chance is not None]
        return sum(known) if len(known) == len(chances) else None


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms as they are, whatever passes through."""
    norms = [
        each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)
    ]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
