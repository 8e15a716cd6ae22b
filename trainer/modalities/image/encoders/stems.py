"""Choice of the first layer of a ResNet or ConvNeXt. Loads no tensors."""

from trainer.modalities.image.augment.spec import SMALL_SIDE_PX
from trainer.modalities.image.encoders.spec import FAMILIES, EncoderSpec
from trainer.schema.errors import SpecError

CONVNEXT_PX_MIN, CONVNEXT_PX_MIN_SMALL = 32, 16
"""Smallest side of which a ConvNeXt's last stage has a pixel: with the paper's first layer, and
with that for small images."""


def has_cifar_stem(spec: EncoderSpec, *, side_px: int) -> bool:
    """Return whether the first layer is that for small images."""
    if spec.stem == "auto":
        return side_px <= SMALL_SIDE_PX
    return spec.stem == "cifar"


def check_stem(spec: EncoderSpec, *, side_px: int) -> None:
    """Raise SpecError for a side of which a ConvNeXt leaves no pixel."""
    if spec.name not in FAMILIES["convnext"]:
        return
    is_small = has_cifar_stem(spec, side_px=side_px)
    least_px = CONVNEXT_PX_MIN_SMALL if is_small else CONVNEXT_PX_MIN
    if side_px < least_px:
        detail = f"{side_px} px; {spec.name} with this first layer needs at least {least_px} px"
        raise SpecError(detail, field="views.side_px", also=("encoder.stem",))
