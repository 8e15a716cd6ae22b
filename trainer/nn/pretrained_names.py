"""Match of the weights of a file to an encoder, by names and shapes. Loads no tensors."""

from collections.abc import Mapping
from math import isqrt, prod
from typing import NamedTuple

from trainer.nn.timm_keys import LAYER_SCALE, timm_key
from trainer.schema.errors import SpecError

PREFIXES = (
    "module.base_encoder.",
    "module.encoder_q.",
    "query.encoder.",
    "0.auto_model.",
    "encoder_q.",
    "backbone.",
    "encoder.",
    "resnet.",
    "model.",
    "bert.",
)
"""Prefixes of encoders in files of others, longest first: the names as they are come before."""
HEADS = ("fc.", "head.", "pooler.", "classifier.", "mlp.")
"""Names behind the prefix that begin like this belong to a head and are left out, unless the
encoder has them: the last norm of a ConvNeXt is `classifier.0`."""
NAMED_MAX = 10
"""Missing and unexpected names in an error, each."""
POSITIONS = "pos_embed"
"""Positions of a ViT: the class token's, then those of a square of patches, row by row."""
COUNTER = "num_batches_tracked"
"""Counter of batch norm, which older files lack and nothing here reads."""
RGB = 3
Shape = tuple[int, ...]


class Mismatch(NamedTuple):
    """Difference between a file and an encoder."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[str, ...]

    @property
    def total(self) -> int:
        """Names that differ."""
        return len(self.missing) + len(self.unexpected) + len(self.shapes)

    def __str__(self) -> str:
        parts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("other shapes", self.shapes),
        )
        return "; ".join(f"{what}: {_some(names)}" for what, names in parts if names)


class Fit(NamedTuple):
    """Names of an encoder's weights in a file, and how the two differ."""

    names: dict[str, str]
    """Name in the encoder -> name in the file."""
    mismatch: Mismatch


def best_fit(file: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> Fit | None:
    """Return the reading of a file that differs least from an encoder; None for heads alone.

    Both are names with shapes. The names are tried as they are, then without each of PREFIXES;
    names of HEADS are left out, timm's names of a ConvNeXt are known. A first convolution for one
    channel fits one for three, and the reverse; positions fit those of another side.
    """
    readings = [_renamed(file, prefix, wanted) for prefix in ("", *PREFIXES)]
    fits = [Fit(names, _compared(names, file, wanted)) for names in readings if names]
    return min(fits, key=lambda fit: fit.mismatch.total, default=None)


def fitting_names(file: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> dict[str, str]:
    """Return the name in the file of each of the encoder's weights that the file has.

    Raises SpecError `init_from` unless all fit, with up to NAMED_MAX names of each kind.
    """
    fit = best_fit(file, wanted)
    if fit is None:
        raise SpecError("the file has no weights of an encoder", field="init_from")
    if fit.mismatch.total:
        detail = f"the weights do not fit the encoder. {str(fit.mismatch).capitalize()}"
        raise SpecError(detail, field="init_from", also=("encoder.name",))
    return fit.names


def first_convolution(shapes: Mapping[str, Shape]) -> str | None:
    """Return the name of the first convolution's weight, None for an encoder without one."""
    return next((name for name, shape in shapes.items() if len(shape) == 4), None)


def _renamed(file: Mapping[str, Shape], prefix: str, wanted: Mapping[str, Shape]) -> dict[str, str]:
    """Return name in the encoder -> name in the file, of the names under a prefix.

    Heads that the encoder lacks are left out.
    """
    of_timm = {timm_key(name): name for name in wanted}
    short = (name.removeprefix(prefix) for name in file if name.startswith(prefix))
    names = {of_timm.get(name, name): prefix + name for name in short}
    return {
        name: of_file
        for name, of_file in names.items()
        if name in wanted or not (name.startswith(HEADS) or name.endswith("position_ids"))
    }


def _compared(
    names: Mapping[str, str], file: Mapping[str, Shape], wanted: Mapping[str, Shape]
) -> Mismatch:
    first = first_convolution(wanted)
    missing = [name for name in wanted if name not in names and not name.endswith(COUNTER)]
    shapes = [
        f"{name} {_text(file[names[name]])} instead of {_text(wanted[name])}"
        for name in wanted
        if name in names
        and not _fits(name, file[names[name]], wanted[name], is_first=name == first)
    ]
    return Mismatch(tuple(missing), tuple(sorted(names.keys() - wanted.keys())), tuple(shapes))


def _fits(name: str, has: Shape, wants: Shape, *, is_first: bool) -> bool:
    """Return whether a tensor can be loaded, as it is, resampled or with other channels."""
    if name.endswith(LAYER_SCALE):
        return prod(has) == prod(wants)
    if name == POSITIONS and len(has) == len(wants) == 3:
        return has[2] == wants[2] and all(_is_square(shape[1] - 1) for shape in (has, wants))
    if is_first and len(has) == 4 and {has[1], wants[1]} == {1, RGB}:
        return (has[0], *has[2:]) == (wants[0], *wants[2:])
    return has == wants


def _is_square(count: int) -> bool:
    return count > 0 and isqrt(count) ** 2 == count


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
