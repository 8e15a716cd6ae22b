"""Vision transformers with timm's keys, without their classifier (arXiv:2010.11929)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.modalities.image.encoders.patches import VIT_SHAPES
from trainer.modalities.image.encoders.spec import EncoderSpec

EPS = 1e-6
HIDDEN = 4
"""Width of the hidden layer of a block's MLP, in widths of the network."""


class ViT(nn.Module):
    """Transformer over the patches of an image and a class token, whose output is the feature.

    [N, C, S, S] to [N, feature_dim]. Norms come before what they feed; nothing is dropped. Under
    autocast products and attention are narrow, while sums of the residual stream stay in fp32.
    """

    def __init__(self, name: str, *, side_px: int, patch_px: int, channels: int) -> None:
        """`patch_px` divides `side_px`. Weights are random, positions learned."""
        super().__init__()
        width, heads, depth = VIT_SHAPES[name]
        self.feature_dim = width
        self.across = side_px // patch_px
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, self.across**2 + 1, width))
        self.patch_embed = PatchEmbedding(patch_px, channels, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self._draw_weights()

    def forward(self, x: Tensor) -> Tensor:
        """Return the class token of each image after the last norm."""
        return self._tokens(x)[:, 0]

    def dense(self, x: Tensor) -> Tensor:
        """[N, C, S, S] to the tokens of patches after the last norm, [N, width, h, w]."""
        patches = self._tokens(x)[:, 1:].transpose(1, 2)
        return patches.reshape(x.shape[0], self.feature_dim, self.across, self.across)

    def _tokens(self, x: Tensor) -> Tensor:
        """Return the class token and those of patches after the last norm, [N, 1 + h w, width]."""
        patches = self.patch_embed(x)
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), patches], dim=1)
        normed: Tensor = self.norm(self.blocks(tokens + self.pos_embed))
        return normed

    def fix_positions(self) -> None:
        """Make the positions sines and cosines, which are not trained (arXiv:2104.02057)."""
        self.pos_embed = nn.Parameter(
            sin_cos_positions(self.across, self.feature_dim), requires_grad=False
        )

    def _draw_weights(self) -> None:
        """Draw as the authors of ViT and of MoCo v3: each product by its own width in and out."""
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        projection = self.patch_embed.proj
        nn.init.xavier_uniform_(projection.weight.detach().view(self.feature_dim, -1))
        nn.init.zeros_(projection.bias)  # type: ignore[arg-type]  # there is a bias
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Linear):
                count = 3 if name.endswith("qkv") else 1
                for part in module.weight.detach().chunk(count):
                    nn.init.xavier_uniform_(part)
                nn.init.zeros_(module.bias)


class PatchEmbedding(nn.Module):
    """Linear projection of patches."""

    def __init__(self, patch_px: int, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_px, stride=patch_px)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, S, S] to [N, patches, width], row by row."""
        projected: Tensor = self.proj(x)
        return projected.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Attention, then an MLP, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, width] to the same shape."""
        attended: Tensor = x + self.attn(self.norm1(x))
        result: Tensor = attended + self.mlp(self.norm2(attended))
        return result  # typed, as a call of a module is not


class Attention(nn.Module):
    """Self-attention of several heads (arXiv:1706.03762)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, width] to the same shape."""
        batch, tokens, width = x.shape
        parts: Tensor = self.qkv(x).view(batch, tokens, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(attended.transpose(1, 2).reshape(batch, tokens, width))
        return projected


class Mlp(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, HIDDEN * width)
        self.fc2 = nn.Linear(HIDDEN * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, width] to the same shape."""
        narrowed: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return narrowed


def build_vit(spec: EncoderSpec, *, side_px: int, patch_px: int, channels: int) -> ViT:
    """Build the ViT that `spec` names; its fixed parts take no gradient."""
    network = ViT(spec.name, side_px=side_px, patch_px=patch_px, channels=channels)
    if spec.positions == "sin_cos":
        network.fix_positions()
    if spec.patch_projection == "frozen":
        network.patch_embed.requires_grad_(False)
    return network


def sin_cos_positions(across: int, width: int) -> Tensor:
    """Return positions [1, across^2 + 1, width] of patches row by row; that of the token is 0.

    A quarter of the width each: sines and cosines of the column, then of the row, at wavelengths
    from 2 pi to 10,000 x 2 pi patches (arXiv:2104.02057, appendix; arXiv:1706.03762, 3.5).
    """
    quarter = width // 4
    rates = torch.exp(torch.arange(quarter, dtype=torch.float64) * (-math.log(10_000) / quarter))
    rows, columns = (each.reshape(-1, 1) * rates for each in _grid(across))
    parts = [columns.sin(), columns.cos(), rows.sin(), rows.cos()]
    patches = torch.cat(parts, dim=1)
    return torch.cat([torch.zeros(1, width), patches.float()])[None]


def _grid(across: int) -> tuple[Tensor, ...]:
    line = torch.arange(across, dtype=torch.float64)
    return torch.meshgrid(line, line, indexing="ij")
