"""What every method offers to the loop, and how one is found by its name."""

from abc import abstractmethod
from importlib import import_module
from typing import Literal, NamedTuple, cast

from torch import Tensor, nn

from trainer.accel.ops import Accelerator
from trainer.hidden import Hidden
from trainer.profiling.clock import Clock
from trainer.spec import JobSpec

Feature = Literal["projection", "backbone"]


class Outcome(NamedTuple):
    """What one step found out. `after_step` and the signals read it."""

    loss: Tensor
    """[] nats, with the graph of the gradient."""
    queries: Tensor
    """[Q, D] unit vectors."""
    keys: Tensor
    """[Q, D] unit vectors in the order in which they are pushed; keys[i] belongs to queries[i]."""
    rows: Tensor
    """int64 [Q], the dataset row of each."""
    halves: int
    """InfoNCE terms that `loss` adds up: 2 for the symmetric loss."""


class Negatives(NamedTuple):
    """The negatives that an outcome was measured against."""

    keys: Tensor
    """[K, D] unit vectors."""
    hidden: Hidden | None
    """Those that single queries must not see."""
    counted: int
    """Slots that count."""
    fill_ratio: float
    """Share of the slots that real keys fill."""
    oldest_age_steps: int
    """Steps since the oldest real key was made."""


class Method(nn.Module):
    """A way to learn from two views of each row. `loss_of` is pure; `after_step` mutates.

    All that a run must remember between two steps is in the state dict. Its phases are marked on
    its clock, which measures nothing until a run that is profiled puts its own in the place.
    """

    clock = Clock()

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The network that learns by gradient and that is downloaded, without a head."""

    @abstractmethod
    def drawn(self, rows: int, *, step: int) -> Tensor:
        """Whatever is random in the loss of so many rows at a step, on the CPU.

        A captured step draws nothing: it reads this from a tensor that was filled before.
        """

    @abstractmethod
    def loss_of(self, first: Tensor, second: Tensor, rows: Tensor, drawn: Tensor) -> Outcome:
        """The loss of two views [B, 3, S, S] of dataset rows [B], all on one device.

        Waits for no device and changes tensors in place only, as does `after_step`.
        """

    def loss(self, first: Tensor, second: Tensor, rows: Tensor, *, step: int) -> Outcome:
        """The loss of two views [B, 3, S, S] of dataset rows `rows` [B] at a step from 0."""
        drawn = self.drawn(len(rows), step=step).to(first.device, non_blocking=True)
        return self.loss_of(first, second, rows, drawn)

    @abstractmethod
    def after_step(self, outcome: Outcome) -> None:
        """What follows the optimizer step."""

    @abstractmethod
    def learning(self) -> dict[str, nn.Parameter]:
        """Parameters that the optimizer moves, by their name in the state dict."""

    @abstractmethod
    def embed(self, views: Tensor, *, feature: Feature) -> Tensor:
        """[B, 3, S, S] to fp32 features [B, D], not normalised, with the query encoder."""

    @abstractmethod
    def negatives_for(self, rows: Tensor) -> Negatives:
        """The negatives as queries of `rows` see them now. Syncs with the device."""

    @abstractmethod
    def key_distance_ratio(self) -> float:
        """|theta_q - theta_k| / |theta_q|. Syncs with the device."""


def load_method(spec: JobSpec, *, bf16: bool, accelerator: Accelerator | None = None) -> Method:
    """`trainer.methods.<name>.method.build` of a resolved spec, with fresh weights.

    `accelerator`: on a CPU, train by compiled code.
    """
    module = import_module(f"trainer.methods.{spec.method.name}.method")
    return cast(Method, module.build(spec, bf16=bf16, accelerator=accelerator))
