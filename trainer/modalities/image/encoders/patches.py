"""Shapes and settings of vision transformers, and the defaults of the latter. No tensors."""

from math import log
from typing import NamedTuple

from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.schema.errors import SpecError


class VitShape(NamedTuple):
    """Size of a ViT, as timm has it."""

    width: int
    heads: int
    depth: int = 12


VIT_SHAPES = {
    "vit_tiny": VitShape(192, 3),
    "vit_small": VitShape(384, 6),
    "vit_base": VitShape(768, 12),
}
"""Table 1 of arXiv:2010.11929 (base) and of arXiv:2012.12877 (tiny, small)."""
PATCHES_ACROSS = 8
"""Patches in a row of an image, about; more where they would be larger than PATCH_PX_USUAL."""
PATCH_PX_USUAL = 16
FIXED_BY = "moco_v3"
"""Method whose authors fix positions and patch projection."""
FIELDS = ("patch_px", "positions", "patch_projection")


def default_patch_px(side_px: int) -> int:
    """Return the patch that cuts a side about as 224 px are cut by 16, or 32 px by 4.

    Raises SpecError for a side that patches of 2 to 16 px do not divide.
    """
    sizes = [size for size in range(2, PATCH_PX_USUAL + 1) if side_px % size == 0]
    if not sizes:
        sides = fitting_sides(side_px, 4)
        detail = f"{side_px} px cannot be cut into patches of 2 to 16 px; use {sides}"
        raise SpecError(detail, field="views.side_px", also=("encoder.patch_px",))
    wanted_px = min(PATCH_PX_USUAL, side_px / PATCHES_ACROSS)
    return min(sizes, key=lambda size: abs(log(size / wanted_px)))


def settle(encoder: EncoderSpec, *, side_px: int, method: str) -> dict[str, tuple[object, str]]:
    """Return value and reason of each field of a ViT that a spec leaves out.

    Raises SpecError for patches that do not fit the side, and for those of other networks.
    """
    if not encoder.is_vit:
        _check_without_patches(encoder)
        return {}
    chosen: dict[str, tuple[object, str]] = {}
    if encoder.patch_px is None:
        patch_px = default_patch_px(side_px)
        across = side_px // patch_px
        chosen["patch_px"] = patch_px, f"{across} x {across} patches of an image of {side_px} px"
    elif side_px % encoder.patch_px:
        raise SpecError(_misfit(side_px, encoder.patch_px), field="encoder.patch_px")
    is_fixed = method == FIXED_BY
    source = "as in MoCo v3" if is_fixed else "as in timm"
    if encoder.positions is None:
        chosen["positions"] = ("sin_cos" if is_fixed else "learned"), source
    if encoder.patch_projection is None:
        chosen["patch_projection"] = ("frozen" if is_fixed else "learned"), source
    return chosen


def _check_without_patches(encoder: EncoderSpec) -> None:
    for field in FIELDS:
        if getattr(encoder, field) is not None:
            detail = f"{encoder.name} has no patches; leave it out, or use a ViT such as vit_tiny"
            raise SpecError(detail, field=f"encoder.{field}")


def _misfit(side_px: int, patch_px: int) -> str:
    sides = fitting_sides(side_px, patch_px)
    return (
        f"{side_px} px cannot be cut into patches of {patch_px} px; use {sides}, "
        "or leave encoder.patch_px out"
    )


def fitting_sides(side_px: int, patch_px: int) -> str:
    """Return the sides nearest to one that patches divide, as words."""
    below = side_px // patch_px * patch_px
    sides = [side for side in (below, below + patch_px) if side >= patch_px]
    return f"views.side_px {' or '.join(map(str, sides))}"
