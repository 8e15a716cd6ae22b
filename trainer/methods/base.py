"""Contract of a method, and its lookup by name."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import NamedTuple, cast

from torch import Tensor, nn

from trainer.distributed.world import ALONE, World
from trainer.nn.split_batchnorm import SplitBatchNorm2d
from trainer.nn.towers import Feature, feature_dim
from trainer.nn.views import Batch, View
from trainer.pretexts.base import Pretexts
from trainer.rng.seeds import derived_seed, scoped_seed
from trainer.spec.resolved import ResolvedSpec
from trainer.timing.phase_timer import NullTimer

__all__ = ["Embeddings", "Feature", "Method", "StepOutput", "load_method", "step_signals"]


class Embeddings(NamedTuple):
    """Vectors of one batch, one tensor [B, D] for each direction of contrast.

    Unit vectors, unless the loss of the method reads lengths.
    """

    queries: tuple[Tensor, ...]
    """Query embeddings, with their graph."""
    keys: tuple[Tensor, ...]
    """keys[h][i] is the positive of queries[h][i]. With graph where the method trains both. More
    keys than queries: all are positives of the one query."""


class StepOutput(NamedTuple):
    """Result of one step. `after_step` and the signals read it."""

    loss: Tensor
    """[] nats, with the graph of the gradient."""
    queries: Tensor
    """[Q, D], as in Embeddings."""
    keys: Tensor
    """[Q, D]; keys[i] is the positive of queries[i]."""
    identities: Tensor
    """int64 [Q], of each query's row."""
    loss_terms: int
    """Terms that `loss` adds up: 2 for a symmetric loss that is a sum."""
    readings: tuple[Tensor, ...] = ()
    """Loss of the method alone, then the readings of the pretexts, [] each; empty without them."""


class Method(nn.Module):
    """Method of self-supervised learning from views. It receives an encoder and never builds one.

    `embed_views` and `loss` are pure; `after_step` mutates. All state between steps is in the state
    dict. Phases are marked on its timer, which is a NullTimer unless the run is profiled.
    """

    timer = NullTimer()
    world: World = ALONE
    gathers: tuple[str, ...] = ()
    """Fields of Embeddings that the loss needs of all ranks; their rows then are the whole batch's.

    Where the loss needs none, it is the mean over this rank's rows, and what `after_step` and the
    signals read of other ranks is gathered after it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pretexts: Pretexts | None = None
        """Pretexts beside the method, if the job has any."""

    def join(self, world: World) -> None:
        """Take the place of one rank: batches are then this rank's part."""
        self.world = world
        for module in self.modules():
            if isinstance(module, SplitBatchNorm2d):
                module.world = world

    @property
    def is_shared_inside(self) -> bool:
        """True if forward or backward read other ranks: such a step is not captured."""
        norms = (each for each in self.modules() if isinstance(each, SplitBatchNorm2d))
        return self.world.size > 1 and (bool(self.gathers) or any(each.is_synced for each in norms))

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The network that learns by gradient and that is downloaded, without a head."""

    @property
    def classifier(self) -> nn.Module | None:
        """The head that is downloaded with the encoder; None where it is there to train with."""
        return None

    def state_beside_encoder(self) -> dict[str, Tensor]:
        """Return the state dict without the encoder's part: heads, key encoder, queue."""
        own = next(name for name, module in self.named_modules() if module is self.encoder)
        return {
            name: value
            for name, value in self.state_dict().items()
            if not name.startswith(f"{own}.")
        }

    def random_inputs(self, rows: int, *, step: int) -> Tensor:
        """Return the random inputs of the loss for this rank's `rows` rows at a step, on the CPU.

        A captured step draws no random numbers: it reads them from a tensor filled before. Empty
        unless a method overrides it.
        """
        del rows, step
        return Tensor()

    @abstractmethod
    def embed_views(self, batch: Batch, random_inputs: Tensor) -> Embeddings:
        """Return the embeddings of a batch.

        Waits for no device and changes tensors in place only, as do `loss` and `after_step`.
        """

    @abstractmethod
    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return the loss of embeddings whose rows have these identities, int64 [B]. Pure."""

    def forward_step(self, batch: Batch, random_inputs: Tensor) -> StepOutput:
        """Return the loss of a batch, all on one device."""
        embeddings, identities = self._gathered(
            self.embed_views(batch, random_inputs), batch.identities
        )
        output = self.loss(embeddings, identities)
        return (
            output if self.pretexts is None else self._with_pretexts(self.pretexts, output, batch)
        )

    def _with_pretexts(self, pretexts: Pretexts, output: StepOutput, batch: Batch) -> StepOutput:
        """Return the output with the losses of the pretexts added."""
        with self.timer.phase("query"):
            added = pretexts(partial(self.embed, feature="backbone"), self.encoder, batch)
        readings = (output.loss.detach(), *added.readings)
        return output._replace(loss=output.loss + added.loss, readings=readings)

    def _gathered(self, own: Embeddings, identities: Tensor) -> tuple[Embeddings, Tensor]:
        """Return embeddings and identities with the rows of all ranks where the loss needs them."""
        if not self.gathers:
            return own, identities
        fields = {name: getattr(own, name) for name in self.gathers}
        tensors = [tensor for field in fields.values() for tensor in field]
        *rest, identities = self.world.gather([*tensors, identities])
        for name, field in fields.items():
            fields[name], rest = tuple(rest[: len(field)]), rest[len(field) :]
        return own._replace(**fields), identities

    def loss_at(self, batch: Batch, *, step: int) -> StepOutput:
        """Return the loss of a batch at a step from 0."""
        random_inputs = self.random_inputs(len(batch.rows), step=step)
        return self.forward_step(batch, random_inputs.to(batch.rows.device, non_blocking=True))

    @property
    def stage(self) -> int:
        """Stage of the run: parameters that learn change with it, and a captured step is void."""
        return 0

    def set_epoch(self, epoch: int) -> None:  # nothing to do is usual
        """Prepare for a step of an epoch, counted from 0. Called before each step."""

    def set_label_rows(self, counts: Tensor) -> None:  # nothing to do is usual
        """Take the number of training rows of each label, int64 [labels] on the CPU.

        Called once, before the first step, for a method that learns labels.
        """

    def set_progress(self, progress: float) -> None:  # nothing to do is usual
        """Fill tensors that `after_step` reads and that change with the step.

        Called before each update, outside of captured graphs. `progress` is the share of the run's
        steps that is done, in [0, 1): 0 before the first update. Waits for no device.
        """

    def after_step(self, output: StepOutput) -> None:  # nothing to do is usual
        """Update the state that follows the optimizer step, such as an EMA or a queue."""

    @abstractmethod
    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the method's parameters that are learned, by their name in the state dict."""

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        """Return all parameters that the optimizer moves, those of the pretexts among them."""
        own = self.trainable_parameters()
        if self.pretexts is None:
            return own
        added = {f"pretexts.{name}": value for name, value in self.pretexts.named_parameters()}
        return own | added

    @abstractmethod
    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view, not normalized, by the encoder that learns."""

    @abstractmethod
    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return the signals of one output, before its `after_step`. Syncs with the device.

        Names, units and meanings are declared in the `spec.py` of the method.
        """


def step_signals(method: Method, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
    """Return the signals of a method and of its pretexts. Syncs with the device.

    With pretexts the loss is the sum of all, as is that of guessing, where each has one. A method
    without signals has no loss.
    """
    if method.pretexts is None:
        return method.signals(output, dataset_rows=dataset_rows)
    own, *readings = output.readings
    signals = method.signals(output._replace(loss=own), dataset_rows=dataset_rows)
    chance, added = signals.pop("chance_loss", None), method.pretexts.chance()
    if "loss" in signals:
        signals["contrast_loss"] = signals["loss"]
    else:
        chance = 0.0
    signals["loss"] = float(output.loss.detach())
    if chance is not None and added is not None:
        signals["chance_loss"] = chance + added
    return signals | method.pretexts.signals(tuple(readings))


def load_method(spec: ResolvedSpec, make_encoder: Callable[[], nn.Module], *, bf16: bool) -> Method:
    """Return `trainer.methods.<name>.method.build` of a resolved spec, with fresh weights.

    All weights, those of the encoder first, are drawn from the spec's seed.
    """
    module = import_module(f"trainer.methods.{spec.method.name}.method")
    with scoped_seed(derived_seed(spec.seed, "weights")):
        method = cast(Method, module.build(spec, make_encoder(), bf16=bf16))
    if spec.auxiliary:
        method.pretexts = Pretexts(spec, feature_dim(method.encoder))
    return method
