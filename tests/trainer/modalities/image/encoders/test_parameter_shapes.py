"""Names and shapes of weights that are known without building a network, held to the network."""

from typing import Any, get_args

import pytest
import torch

from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.parameter_shapes import parameter_shapes
from trainer.modalities.image.encoders.spec import EncoderName, EncoderSpec

STEMS = ("imagenet", "cifar")


def encoder_of(name: EncoderName, stem: Any = "auto", channels: int = 3) -> EncoderSpec:  # noqa: ANN401
    patch_px = 16 if name.startswith("vit") else None
    return EncoderSpec(name=name, stem=stem, channels=channels, patch_px=patch_px)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("name", get_args(EncoderName))
def test_they_are_those_of_the_network_in_its_order(
    name: EncoderName, stem: str, channels: int
) -> None:
    spec = encoder_of(name, stem, channels)
    with torch.device("meta"):
        network = build_encoder(spec, side_px=32)
    built = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert list(parameter_shapes(spec, side_px=32).items()) == list(built.items())
