"""Feature maps before pooling, against what the networks make of them."""

from typing import Any, cast

import pytest
import torch

from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import FAMILIES, EncoderSpec

SIDE_PX = 32


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_follows_from_the_feature_map(family: str) -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        spec = EncoderSpec(name=FAMILIES[family][0])
        network = cast(Any, build_encoder(spec, side_px=SIDE_PX).eval())
        images = torch.randn(2, 3, SIDE_PX, SIDE_PX)
    tokens: list[torch.Tensor] = []
    if family == "vit":
        network.norm.register_forward_hook(lambda _module, _inputs, output: tokens.append(output))
    with torch.no_grad():
        maps, output = network.dense(images), network(images)
    assert maps.shape[:2] == (2, network.feature_dim)
    assert maps.shape[2] == maps.shape[3] > 1
    if family == "vit":
        torch.testing.assert_close(tokens[0], tokens[1])
        across = maps.shape[2]
        for down, right in ((0, 0), (0, 1), (across - 1, 2)):
            own = tokens[0][:, 1 + across * down + right]
            torch.testing.assert_close(maps[:, :, down, right], own)
        return
    pooled = maps.mean((2, 3))
    if family == "convnext":
        pooled = network.classifier(pooled[:, :, None, None])
    torch.testing.assert_close(pooled, output)
