"""Loading of pretrained weights into an encoder, whatever wrapped it when they were saved."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

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
COUNTER = "num_batches_tracked"
"""Counter of batch norm, which older files lack and nothing here reads."""
RGB = 3


class _Mismatch(NamedTuple):
    """Difference between a file and an encoder."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.shapes)

    def __str__(self) -> str:
        parts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("other shapes", self.shapes),
        )
        return "; ".join(f"{what}: {_some(names)}" for what, names in parts if names)


def load_encoder(encoder: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load weights into an encoder, in place.

    The names are tried as they are, then without each of PREFIXES; names of HEADS are left out.
    Everything else must fit: no name missing, none unexpected, equal shapes. A first convolution
    for one channel is loaded into one for three, and the reverse, so that gray images have equal
    features: the weights are summed over the channels, or repeated and divided by three.

    Raises SpecError `init_from` with up to NAMED_MAX names of each kind.
    """
    wanted = encoder.state_dict()
    fits = [_renamed(tensors, prefix, wanted) for prefix in ("", *PREFIXES)]
    adapted = [_with_channels(encoder, names) for names in fits if names]
    differences = [_compared(names, wanted) for names in adapted]
    best = min(range(len(adapted)), key=lambda n: len(differences[n]), default=None)
    if best is None:
        raise SpecError("the file has no weights of an encoder", field="init_from")
    if len(differences[best]):
        detail = f"the weights do not fit the encoder. {str(differences[best]).capitalize()}"
        raise SpecError(detail, field="init_from", also=("encoder.name",))
    encoder.load_state_dict({name: adapted[best].get(name, wanted[name]) for name in wanted})


def _renamed(
    tensors: Mapping[str, Tensor], prefix: str, wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it and without heads that the encoder lacks."""
    names = {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
    return {
        short: tensors[name]
        for short, name in names.items()
        if short in wanted or (not short.startswith(HEADS) and not short.endswith("position_ids"))
    }


def _compared(names: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> _Mismatch:
    missing = [name for name in wanted if name not in names and not name.endswith(COUNTER)]
    shapes = [
        f"{name} {_shape(names[name])} instead of {_shape(wanted[name])}"
        for name in wanted
        if name in names and names[name].shape != wanted[name].shape
    ]
    return _Mismatch(tuple(missing), tuple(sorted(names.keys() - wanted.keys())), tuple(shapes))


def _with_channels(encoder: nn.Module, names: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with a first convolution for the encoder's number of channels."""
    first = next((it for it in encoder.named_modules() if isinstance(it[1], nn.Conv2d)), None)
    if first is None or (weight := names.get(f"{first[0]}.weight")) is None or weight.dim() != 4:
        return names
    has, wants = weight.shape[1], first[1].in_channels
    if (has, wants) == (RGB, 1):
        return names | {f"{first[0]}.weight": weight.float().sum(1, keepdim=True)}
    if (has, wants) == (1, RGB):
        return names | {f"{first[0]}.weight": weight.float().repeat(1, RGB, 1, 1) / RGB}
    return names


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
