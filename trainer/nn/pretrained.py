"""Loading of pretrained weights into an encoder, whatever wrapped it when they were saved."""

from collections.abc import Mapping

from torch import Tensor, nn

from trainer.nn.pretrained_names import RGB, first_convolution, fitting_names


def load_encoder(encoder: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load weights into an encoder, in place.

    Names are those that `best_fit` finds. Everything must fit: no name missing, none unexpected,
    equal shapes. A first convolution for one channel is loaded into one for three, and the reverse,
    so that gray images have equal features: the weights are summed over the channels, or repeated
    and divided by three.

    Raises SpecError `init_from` with some names of each kind.
    """
    wanted = encoder.state_dict()
    shapes = {name: tuple(value.shape) for name, value in wanted.items()}
    names = fitting_names({name: tuple(value.shape) for name, value in tensors.items()}, shapes)
    loaded = {name: tensors[of_file] for name, of_file in names.items()}
    if first := first_convolution(shapes):
        loaded[first] = _with_channels(loaded[first], shapes[first][1])
    state = {name: loaded.get(name, value).reshape(value.shape) for name, value in wanted.items()}
    encoder.load_state_dict(state)


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weights of a convolution [D, C, H, W] for another number of channels."""
    has = weight.shape[1]
    if (has, channels) == (RGB, 1):
        return weight.float().sum(1, keepdim=True)
    if (has, channels) == (1, RGB):
        return weight.float().repeat(1, RGB, 1, 1) / RGB
    return weight
