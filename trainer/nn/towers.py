"""A tower: an encoder with its head, from views to unit vectors."""

from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.nn.views import View

Feature = Literal["projection", "backbone", "dense"]
"""Embedding after the head, the encoder's output, or its feature map before pooling."""


class Encoder(Protocol):
    """Contract of an encoder beyond nn.Module."""

    feature_dim: int

    def __call__(self, x: Tensor) -> Tensor:
        """[N, C, S, S] to [N, feature_dim]."""

    def dense(self, x: Tensor) -> Tensor:
        """[N, C, S, S] to the feature map [N, D, h, w] of the last layer before pooling."""


def feature_dim(encoder: nn.Module) -> int:
    """Return the width of the encoder's output."""
    return cast(Encoder, encoder).feature_dim


def learned_parameters(module: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    """Return the parameters that take a gradient, by their names after a prefix.

    A frozen patch projection and fixed positions take none.
    """
    return {
        f"{prefix}.{name}": value
        for name, value in module.named_parameters()
        if value.requires_grad
    }


class Tower(nn.Module):
    """An encoder with its head: views to embeddings."""

    def __init__(self, encoder: nn.Module, head: nn.Module, *, bf16: bool) -> None:
        """`bf16`: convolutions and products in bfloat16, weights and results in fp32."""
        super().__init__()
        self.encoder, self.head, self.bf16 = encoder, head, bf16

    def forward(self, view: View) -> Tensor:
        """Return unit vectors [B, dim]."""
        return F.normalize(self.features(view, feature="projection"), dim=1)

    def features(self, view: View, *, feature: Feature) -> Tensor:
        """Return features [B, D] in the precision of the weights, not normalized.

        `dense` is a feature map [B, D, h, w].
        """
        tensors = view.narrowed() if self.bf16 else view
        with torch.autocast(view[0].device.type, torch.bfloat16, enabled=self.bf16):
            encode = cast(Encoder, self.encoder).dense if feature == "dense" else self.encoder
            features: Tensor = encode(*tensors)
            if feature == "projection":
                features = self.head(features)
        return features.float() if self.bf16 else features
