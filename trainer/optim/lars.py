"""LARS: SGD whose rate is scaled for each parameter (arXiv:1708.03888)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

MOMENTUM = "momentum_buffer"
EPS = 1e-8
"""Added to the divisor of the form `sum`, as solo-learn and LightlySSL do."""


@dataclass(frozen=True, slots=True)
class TrustRule:
    """Scale of a parameter's step, from its norm and that of its gradient."""

    trust: float
    """Trust coefficient eta."""
    norm: Literal["joined", "sum"]
    """Divisor: |g + wd p|, or |g| + wd |p| + 1e-8."""
    clip: bool
    """Keep scale / lr at most 1, which also leaves the scale divided by lr."""
    exclude_1d: bool
    """Parameters of one dimension or none keep the plain rate."""

    def step_of(
        self, parameter: Tensor, gradient: Tensor, *, weight_decay: float, lr: float | Tensor
    ) -> Tensor:
        """Return the scaled gradient with its decay, of the parameter's shape.

        All numbers stay on the device. `joined`: s (g + wd p) with s = eta |p| / |g + wd p|, and 1
        where either norm is 0, as in SimCLR, BYOL and MoCo v3. `sum`: s = eta |p| / (|g| + wd |p|
        + eps), and plain g where either norm is 0, as in solo-learn.
        """
        if self.exclude_1d and parameter.ndim <= 1:
            return gradient.add(parameter, alpha=weight_decay)
        weight = torch.linalg.vector_norm(parameter)
        decayed = gradient.add(parameter, alpha=weight_decay)
        if self.norm == "joined":
            length = torch.linalg.vector_norm(decayed)
            scale = self._limited(self.trust * weight / length, lr)
            return decayed.mul_(torch.where((weight > 0.0) & (length > 0.0), scale, 1.0))
        length = torch.linalg.vector_norm(gradient)
        scale = self._limited(self.trust * weight / (length + weight_decay * weight + EPS), lr)
        is_scaled = (weight > 0.0) & (length > 0.0)
        return torch.where(is_scaled, decayed.mul_(scale), gradient)

    def _limited(self, scale: Tensor, lr: float | Tensor) -> Tensor:
        return (scale / lr).clamp(max=1.0) if self.clip else scale


class Lars(torch.optim.Optimizer):
    """LARS with heavy-ball momentum: v <- m v + s (g + wd p), then p <- p - lr v.

    The rate is applied to the velocity, as in MoCo v3, BYOL and solo-learn; SimCLR's code keeps it
    inside, which differs while the rate changes.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float | Tensor,
        momentum: float,
        weight_decay: float,
        rule: TrustRule,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(groups, defaults)
        self._rule = rule

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move all parameters that have a gradient. Waits for no device."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return None

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, lr = self.state[parameter], group["lr"]
        if MOMENTUM not in state:
            state[MOMENTUM] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        step = self._rule.step_of(
            parameter, parameter.grad, weight_decay=group["weight_decay"], lr=lr
        )
        velocity = state[MOMENTUM].mul_(group["momentum"]).add_(step)
        parameter.sub_(velocity * lr)
