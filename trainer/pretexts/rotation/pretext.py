"""Rotation: a linear layer on the feature recognizes the quarter turns of a view."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.nn.views import View
from trainer.pretexts.base import Embed, Prediction, Pretext
from trainer.pretexts.rotation.spec import TURNS, RotationSpec
from trainer.rng.philox import uniforms


class Rotation(Pretext):
    """The pretext of arXiv:1803.07728, with one turn of each view."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.head = nn.Linear(feature_dim, TURNS)

    def random_inputs(self, rows: Tensor, *, seed: int, step: int) -> Tensor:
        """Return the quarter turns of rows, int64 [B] in 0..3, each equally likely."""
        drawn = uniforms(rows, seed=seed, epoch=step, view=0, count=1)
        return (drawn[:, 0] * TURNS).long()

    def predict(self, embed: Embed, view: View, drawn: Tensor) -> Prediction:
        """Return logits [B, 4] of turned views, and their turns."""
        return Prediction(self.head(embed(type(view)(turned(view.pixels, drawn)))), drawn)

    def loss(self, prediction: Prediction) -> Tensor:
        """Return the mean cross-entropy. Source: Eq. 2 and 3 of the paper."""
        return F.cross_entropy(*prediction)

    def scores(self, prediction: Prediction) -> tuple[Tensor, ...]:
        """Return whether the most likely turn is the true one."""
        return (prediction.outputs.argmax(1) == prediction.targets,)


@torch.no_grad()
def turned(pixels: Tensor, turns: Tensor) -> Tensor:
    """Return square images [B, C, S, S], each turned counterclockwise by its quarter turns [B]."""
    is_half = (turns >= 2)[:, None, None, None]
    is_odd = (turns % 2 == 1)[:, None, None, None]
    upright = torch.where(is_half, pixels.flip(2, 3), pixels)
    return torch.where(is_odd, upright.rot90(1, (2, 3)), upright)


def build(_spec: RotationSpec, feature_dim: int) -> Rotation:
    """Return the pretext for features [B, feature_dim], its weights from the global generator."""
    return Rotation(feature_dim)
