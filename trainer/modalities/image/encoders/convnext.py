"""torchvision's ConvNeXt without its classifier (arXiv:2201.03545)."""

from typing import Any, cast

from torch import Tensor, nn
from torchvision.models import convnext

from trainer.modalities.image.encoders.parameter_shapes import (
    CONVNEXTS,
    SMALL_STEM_PX,
    STEM_PX,
)
from trainer.modalities.image.encoders.small_convnet import MeanPool


class _ConvNeXt(convnext.ConvNeXt):  # type: ignore[misc]  # torchvision has no types
    """torchvision's network, which also gives its last feature map."""

    def dense(self, x: Tensor) -> Tensor:
        """[N, C, S, S] to the feature map [N, D, h, w] that is pooled, before the last norm."""
        features: Tensor = self.features(x)
        return features


def build_convnext(name: str, *, is_small: bool, channels: int = 3) -> nn.Module:
    """Build a network [N, C, S, S] to [N, feature_dim], with torchvision's keys.

    Only the last layer of the classifier is missing; its norm stays. No block is ever dropped. A
    small stem is 2x2 with stride 2; `features.0.0.weight` is then [96, C, 2, 2].
    """
    widths, depths = CONVNEXTS[name]
    settings = [
        convnext.CNBlockConfig(width, following, depth)
        for width, following, depth in zip(widths, (*widths[1:], None), depths, strict=True)
    ]
    network: Any = _ConvNeXt(settings, stochastic_depth_prob=0.0)
    if is_small or channels != 3:
        network.features[0][0] = _stem(channels, widths[0], SMALL_STEM_PX if is_small else STEM_PX)
    network.avgpool = MeanPool()
    network.classifier[2] = nn.Identity()  # the feature is the output
    network.feature_dim = widths[-1]
    return cast(nn.Module, network)


def _stem(channels: int, width: int, patch_px: int) -> nn.Conv2d:
    """Return a first layer that starts as torchvision's does."""
    stem = nn.Conv2d(channels, width, patch_px, stride=patch_px)
    nn.init.trunc_normal_(stem.weight, std=0.02)
    assert stem.bias is not None
    nn.init.zeros_(stem.bias)
    return stem
