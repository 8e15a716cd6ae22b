"""Exponential moving average: the key encoder follows the query encoder."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def ema_update_(slow: nn.Module, fast: nn.Module, *, momentum: float) -> None:
    """Set theta_slow <- m theta_slow + (1 - m) theta_fast in place, all parameters in one call.

    Buffers are left alone: the key encoder runs in training mode on its own views, so its batch
    norm keeps its own running statistics, as in the authors' code. Parameters are never bound to
    new storage; CUDA graphs and compiled steps hold on to the old one.
    Source: He et al. 2020, Eq. 2 (arXiv:1911.05722).
    """
    torch._foreach_lerp_(_weights(slow), _weights(fast), 1.0 - momentum)


@torch.no_grad()
def ema_update_by_tensor_(slow: nn.Module, fast: nn.Module, *, pace: Tensor) -> None:
    """Set theta_slow <- theta_slow + pace (theta_fast - theta_slow) in place.

    `pace` [] is 1 - m. A captured step reads it anew at each replay.
    """
    apart = torch._foreach_sub(_weights(fast), _weights(slow))
    torch._foreach_mul_(apart, pace)
    torch._foreach_add_(_weights(slow), apart)


@torch.no_grad()
def distance_ratio(slow: nn.Module, fast: nn.Module) -> float:
    """Return |theta_fast - theta_slow| / |theta_fast|. Syncs with the device."""
    apart = torch._foreach_sub(_weights(fast), _weights(slow))
    return norm(list(apart)) / max(norm(_weights(fast)), 1e-12)


def norm(tensors: list[Tensor]) -> float:
    """Return the L2 norm of all values together; 0 of none. Syncs with the device."""
    return float(torch.stack(torch._foreach_norm(tensors)).norm()) if tensors else 0.0


def _weights(module: nn.Module) -> list[Tensor]:
    return list(module.parameters())
