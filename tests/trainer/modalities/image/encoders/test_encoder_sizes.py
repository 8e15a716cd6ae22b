"""Sizes of encoders beside a counted forward pass of the networks; no weights are made."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.modalities.image.cost import SIZES, EncoderSize, vit_size
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.nn.towers import feature_dim

DIM = 128


def counted(network: nn.Module, side_px: int) -> tuple[int, float]:
    """Return parameters with those of a head of two layers, and multiply-adds of one image."""
    width = feature_dim(network)
    head = width * width + width + (width + 1) * DIM
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, side_px, side_px, device="meta"))
    parameters = sum(each.numel() for each in network.parameters())
    return parameters + head, counter.get_total_flops() / 2


@pytest.mark.parametrize(("name", "stem"), [key for key in SIZES if key[0] != "small"])
def test_sizes_are_those_of_the_network(name: str, stem: str) -> None:
    side_px = 224 if stem == "imagenet" else 64
    spec = EncoderSpec.model_validate({"name": name, "stem": stem})
    with torch.device("meta"):
        network = build_encoder(spec, side_px=side_px).eval()
    check(SIZES[name, stem], network, side_px)


@pytest.mark.parametrize(
    ("name", "side_px", "patch_px"),
    [("vit_tiny", 32, 4), ("vit_small", 96, 8), ("vit_base", 224, 16)],
)
def test_sizes_of_a_vit_follow_its_patches(name: str, side_px: int, patch_px: int) -> None:
    spec = EncoderSpec.model_validate({"name": name, "patch_px": patch_px})
    with torch.device("meta"):
        network = build_encoder(spec, side_px=side_px).eval()
    check(vit_size(name, side_px=side_px, patch_px=patch_px, channels=3), network, side_px)


def check(size: EncoderSize, network: nn.Module, side_px: int) -> None:
    parameters, macs = counted(network, side_px)
    assert size.parameters == pytest.approx(parameters, rel=0.01)
    assert size.macs_per_px * side_px**2 == pytest.approx(macs, rel=0.02)
