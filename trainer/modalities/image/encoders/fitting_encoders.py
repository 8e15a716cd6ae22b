"""Encoder that the weights of a file fit, found from names and shapes. Loads no tensors."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from math import isqrt
from typing import NamedTuple

from trainer.modalities.image.encoders.parameter_shapes import Shapes, parameter_shapes
from trainer.modalities.image.encoders.patches import VIT_SHAPES
from trainer.modalities.image.encoders.spec import FAMILIES, EncoderSpec
from trainer.nn.pretrained_names import POSITIONS, Shape, best_fit, first_convolution

STEMS = ("imagenet", "cifar")
BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")
PATCHES = "patch_embed.proj.weight"
RGB = 3
SIDE_PX = 224
"""Any side: the weights of networks without positions are the same at each."""


class FittingEncoder(NamedTuple):
    """Encoder that weights fit."""

    encoder: EncoderSpec
    """With `channels`, and with the `stem` or `patch_px` of the weights."""
    side_px: int | None
    """Side of the images that the positions of a ViT are for; those of others are resampled."""

    def __str__(self) -> str:
        if self.encoder.is_vit:
            return f"{self.encoder.name} with patches of {self.encoder.patch_px} px"
        return self.encoder.name + (f" with the stem {self.encoder.stem}" * self.encoder.has_stem)


def fitting_encoder(file: Mapping[str, Shape]) -> FittingEncoder | None:
    """Return the encoder that weights of these names and shapes fit, None if there is none."""
    for encoder, side_px in _candidates(file):
        channels = _channels(encoder, file, side_px=side_px or SIDE_PX)
        if channels is not None:
            settled = encoder.model_copy(update={"channels": channels})
            return FittingEncoder(settled, side_px)
    return None


def unknown_vit(file: Mapping[str, Shape]) -> str | None:
    """Return width and depth of a ViT in a file, as words, if no encoder has them; else None."""
    patches = _of_vit(file)
    if patches is None:
        return None
    blocks = {found[1] for name in file if (found := BLOCK.search(name))}
    known = ", ".join(f"{name} ({it.width} with {it.depth})" for name, it in VIT_SHAPES.items())
    width, depth = patches[0], len(blocks)
    if (width, depth) in {(it.width, it.depth) for it in VIT_SHAPES.values()}:
        return None
    return f"a ViT of width {width} with {depth} blocks; the ViTs here are {known}"


def _candidates(file: Mapping[str, Shape]) -> Iterator[tuple[EncoderSpec, int | None]]:
    """Yield encoders with the patches of the file, and the side of its positions."""
    if (vit := _of_vit(file)) is not None:
        _, patch_px, side_px = vit
        for name in FAMILIES["vit"]:
            yield EncoderSpec(name=name).model_copy(update={"patch_px": patch_px}), side_px
        return
    for name in chain(*(names for family, names in FAMILIES.items() if family != "vit")):
        for stem in STEMS:
            yield EncoderSpec(name=name).model_copy(update={"stem": stem}), None


def _of_vit(file: Mapping[str, Shape]) -> tuple[int, int, int] | None:
    """Return width, patch and side of a ViT in a file, both in px; None for another network."""
    patches = next((it for name, it in file.items() if name.endswith(PATCHES)), ())
    positions = next((it for name, it in file.items() if name.endswith(POSITIONS)), ())
    if len(patches) != 4 or len(positions) != 3:
        return None
    width, _, patch_px, _ = patches
    return width, patch_px, isqrt(max(0, positions[1] - 1)) * patch_px


def _channels(encoder: EncoderSpec, file: Mapping[str, Shape], *, side_px: int) -> int | None:
    """Return the input channels of a file that fits an encoder, None for one that does not."""
    wanted = _shapes(encoder, channels=RGB, side_px=side_px)
    first, fit = first_convolution(wanted), best_fit(file, wanted)
    if fit is None or first not in fit.names or len(file[fit.names[first]]) != 4:
        return None
    channels = file[fit.names[first]][1]
    if channels not in {1, RGB}:
        fit = best_fit(file, _shapes(encoder, channels=channels, side_px=side_px))
    return channels if fit is not None and not fit.mismatch.total else None


def _shapes(encoder: EncoderSpec, *, channels: int, side_px: int) -> Shapes:
    return parameter_shapes(encoder.model_copy(update={"channels": channels}), side_px=side_px)
