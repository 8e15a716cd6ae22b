"""No contrast: what the encoder learns comes from pretexts."""

import torch
from torch import Tensor, nn

from trainer.methods.base import Embeddings, Feature, Method, StepOutput
from trainer.methods.none.spec import NoneSpec
from trainer.nn.towers import Tower, learned_parameters
from trainer.nn.views import Batch, View
from trainer.spec.resolved import ResolvedSpec


class NoContrast(Method):
    """An encoder whose own loss is 0."""

    def __init__(self, encoder: nn.Module, *, bf16: bool) -> None:
        super().__init__()
        self.tower = Tower(encoder, nn.Identity(), bf16=bf16)

    @property
    def encoder(self) -> nn.Module:
        """The encoder."""
        return self.tower.encoder

    @torch.no_grad()
    def embed_views(self, batch: Batch, random_inputs: Tensor) -> Embeddings:
        """Return the features of each row's view, without a gradient.

        The pass moves the running statistics of batch norm, which pretexts leave as they are.
        """
        del random_inputs
        with self.timer.phase("query"):
            features = self.embed(batch.views[0], feature="backbone")
        return Embeddings((features,), (features,))

    def loss(self, embeddings: Embeddings, identities: Tensor) -> StepOutput:
        """Return a loss of 0."""
        (features,), _ = embeddings
        return StepOutput(features.new_zeros(()), features, features, identities, loss_terms=1)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the encoder."""
        return learned_parameters(self.tower, "tower")

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return fp32 features [B, D] of a view, not normalized: there is no head."""
        return self.tower.features(view, feature=feature)

    def signals(self, output: StepOutput, *, dataset_rows: int) -> dict[str, float]:
        """Return no signals."""
        del output, dataset_rows
        return {}


def build(spec: ResolvedSpec, encoder: nn.Module, *, bf16: bool) -> NoContrast:
    """Return the method of a resolved spec around an encoder."""
    assert isinstance(spec.method, NoneSpec)
    return NoContrast(encoder, bf16=bf16)
