"""The form of a projection head, from the settings of its method."""

from typing import Literal, Protocol

from trainer.nn.heads import HeadForm
from trainer.schema.choices import HeadBatchNorm


class ProjectorSettings(Protocol):
    """Resolved settings of a projection head."""

    @property
    def head_hidden(self) -> int | Literal["features"]:
        """Width of the hidden layers; `features`: that of the encoder's output."""

    @property
    def head_layers(self) -> int:
        """Number of layers."""

    @property
    def head_batch_norm(self) -> HeadBatchNorm:
        """Layers that a batch norm follows."""

    @property
    def dim(self) -> int:
        """Width of the last layer."""

    @property
    def batch_norm_groups(self) -> int:
        """Groups of rows that batch norm is computed in."""


def projector_form(spec: ProjectorSettings, width: int, *, has_last_bias: bool = True) -> HeadForm:
    """Return the form of the projection head on an encoder of `width` features."""
    return HeadForm(
        width if spec.head_hidden == "features" else spec.head_hidden,
        spec.dim,
        layers=spec.head_layers,
        batch_norm=spec.head_batch_norm,
        splits=spec.batch_norm_groups,
        has_last_bias=has_last_bias,
    )
