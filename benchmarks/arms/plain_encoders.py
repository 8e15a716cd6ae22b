"""Encoders of the peers: layers of torch and torchvision only."""

from collections import OrderedDict
from typing import cast

import torch
from torch import nn
from torchvision.models import get_model

from trainer.modalities.image.encoders.parameter_shapes import SMALL_LAYERS
from trainer.modalities.image.encoders.spec import EncoderName, EncoderSpec
from trainer.modalities.image.encoders.stems import has_cifar_stem

DIM = 128
"""Width of the embeddings, for all."""


def plain_encoder(name: str, *, side_px: int) -> tuple[nn.Module, int]:
    """The network, its weights drawn from seed 0, and the width of its output.

    Batch norm is over the whole batch. The state dict is that of our encoder.
    """
    spec = EncoderSpec(name=cast(EncoderName, name))
    torch.manual_seed(0)
    if spec.name == "small":
        return _small(), SMALL_LAYERS[-1][2]
    network: nn.Module = get_model(spec.name, weights=None)
    assert isinstance(network.fc, nn.Linear)
    width = network.fc.in_features
    network.fc = nn.Identity()
    if has_cifar_stem(spec, side_px=side_px):
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    return network, width


def _small() -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, width_in, width_out, stride in SMALL_LAYERS:
        conv = nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=False)
        layers[f"conv{name}"] = conv
        layers[f"bn{name}"] = nn.BatchNorm2d(width_out)
        layers[f"relu{name}"] = nn.ReLU(inplace=True)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers)
