"""Loading of pretrained weights into an encoder, whatever wrapped it when they were saved."""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.nn.pretrained_names import POSITIONS, RGB, first_convolution, fitting_names


def load_encoder(encoder: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load weights into an encoder, in place.

    Names are those that `best_fit` finds. Everything must fit: no name missing, none unexpected,
    equal shapes. A first convolution for one channel is loaded into one for three, and the reverse,
    so that gray images have equal features: the weights are summed over the channels, or repeated
    and divided by three. Positions of a ViT for another side are resampled.

    Raises SpecError `init_from` with some names of each kind.
    """
    wanted = encoder.state_dict()
    shapes = {name: tuple(value.shape) for name, value in wanted.items()}
    names = fitting_names({name: tuple(value.shape) for name, value in tensors.items()}, shapes)
    loaded = {name: tensors[of_file] for name, of_file in names.items()}
    if first := first_convolution(shapes):
        loaded[first] = _with_channels(loaded[first], shapes[first][1])
    if POSITIONS in wanted:
        loaded[POSITIONS] = _resampled(loaded[POSITIONS], shapes[POSITIONS][1])
    state = {name: loaded.get(name, value).reshape(value.shape) for name, value in wanted.items()}
    encoder.load_state_dict(state)


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weights of a convolution [D, C, H, W] for another number of channels."""
    has = weight.shape[1]
    if (has, channels) == (RGB, 1):
        return weight.float().sum(1, keepdim=True)
    if (has, channels) == (1, RGB):
        return weight.float().repeat(1, RGB, 1, 1) / RGB
    return weight


def _resampled(positions: Tensor, tokens: int) -> Tensor:
    """Return positions [1, tokens, width] of the class token and of a square of patches.

    Those of patches are resampled by bicubic interpolation with antialiasing, as timm does; that of
    the token stays.
    """
    if positions.shape[1] == tokens:
        return positions
    token, patches = positions[:, :1].float(), positions[:, 1:].float()
    has, wants = isqrt(patches.shape[1]), isqrt(tokens - 1)
    grid = patches.reshape(1, has, has, -1).permute(0, 3, 1, 2)
    resampled = F.interpolate(grid, size=(wants, wants), mode="bicubic", antialias=True)
    return torch.cat([token, resampled.flatten(2).transpose(1, 2)], dim=1)
