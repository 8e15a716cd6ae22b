"""Weights that the encoder of an image job begins with: whether they fit, and which they fit."""

from collections.abc import Mapping

from trainer.modalities.image.encoders.fitting_encoders import (
    RGB,
    FittingEncoder,
    fitting_encoder,
    unknown_vit,
)
from trainer.modalities.image.encoders.parameter_shapes import parameter_shapes
from trainer.modalities.image.encoders.patches import fitting_sides
from trainer.modalities.image.encoders.stems import has_cifar_stem
from trainer.modalities.image.spec import EncoderSpec, image_encoder, image_views
from trainer.nn.pretrained_names import Shape, fitting_names
from trainer.schema.errors import SpecError
from trainer.spec.job import JobSpec
from trainer.spec.rules import filled

INIT = ("init_from",)


def encoder_like(donor: JobSpec) -> EncoderSpec:
    """Return the encoder of a resolved job for another one, with the channels left to its dataset.

    The stem is stated: `auto` could mean another one for other views.
    """
    update = {"channels": None, "stem": _stem(donor)}
    return image_encoder(donor).model_copy(update=update)


def encoder_of_weights(file: Mapping[str, Shape]) -> EncoderSpec | None:
    """Return the encoder that weights fit for a job, with the channels left to its dataset.

    None if they fit none.
    """
    found = fitting_encoder(file)
    return None if found is None else found.encoder.model_copy(update={"channels": None})


def check_encoder_like(spec: JobSpec, donor: JobSpec) -> None:
    """Raise SpecError unless weights of the encoder of `donor` fit that of `spec`."""
    wants, has = image_encoder(spec), image_encoder(donor)
    if wants.name != has.name:
        detail = f"{wants.name}, but the weights of init_from are of {has.name}; omit it"
        raise SpecError(detail, field="encoder.name", also=("init_from",))
    stated = has if has.is_vit else has.model_copy(update={"stem": _stem(donor)})
    _check_like(spec, stated)


def check_weights(spec: JobSpec, file: Mapping[str, Shape]) -> None:
    """Raise SpecError unless weights of these names and shapes fit the encoder of a resolved job.

    The reason names the setting to change if they fit another encoder.
    """
    encoder, side_px = image_encoder(spec), filled(image_views(spec).side_px)
    try:
        fitting_names(file, parameter_shapes(encoder, side_px=side_px))
    except SpecError as error:
        raise _refusal(spec, file, error) from error


def _refusal(spec: JobSpec, file: Mapping[str, Shape], error: SpecError) -> SpecError:
    """Return the reason why weights do not fit: the setting that differs, or names and shapes."""
    fitting, name = fitting_encoder(file), image_encoder(spec).name
    if fitting is None:
        if (network := unknown_vit(file)) is None:
            return error
        return SpecError(f"the weights are of {network}", field="init_from", also=("encoder.name",))
    if fitting.encoder.name == name:
        try:
            _check_like(spec, fitting.encoder)
        except SpecError as refusal:
            return refusal
    detail = f"the weights fit {fitting}, but the encoder is {name}; {_settings(fitting)}"
    return SpecError(detail, field="init_from", also=("encoder.name",))


def _check_like(spec: JobSpec, has: EncoderSpec) -> None:
    """Raise SpecError unless weights of an encoder of the same name fit that of `spec`."""
    wants = image_encoder(spec)
    if wants.is_vit and wants.patch_px != has.patch_px:
        raise SpecError(_patches(spec, filled(has.patch_px)), field="encoder.patch_px", also=INIT)
    if wants.has_stem and _stem(spec) != has.stem:
        detail = f"the weights of init_from are of the stem {has.stem}; set it to {has.stem}"
        raise SpecError(detail, field="encoder.stem", also=INIT)
    _check_channels(filled(wants.channels), filled(has.channels))


def _patches(spec: JobSpec, patch_px: int) -> str:
    """Return the reason of other patches, with the sides that those of the weights divide."""
    wants, side_px = image_encoder(spec).patch_px, filled(image_views(spec).side_px)
    detail = f"{wants} px, but the weights of init_from are of patches of {patch_px} px"
    sides = f", with {fitting_sides(side_px, patch_px)}" if side_px % patch_px else ""
    return f"{detail}; set it to {patch_px}{sides}"


def _check_channels(wants: int, has: int) -> None:
    """Raise SpecError for other channels, unless they are gray and RGB."""
    if wants != has and {wants, has} != {1, RGB}:
        detail = f"the weights are for {has} channels, but the images have {wants}"
        advice = f"leave it out, or use a dataset with {has} channels"
        raise SpecError(f"{detail}; {advice}", field="init_from", also=("encoder.channels",))


def _settings(fitting: FittingEncoder) -> str:
    """Return the settings that a job of weights needs, as words."""
    encoder = fitting.encoder
    words = [f"encoder.name to {encoder.name}"]
    if encoder.has_stem:
        words.append(f"encoder.stem to {encoder.stem}")
    if encoder.is_vit:
        words.append(f"encoder.patch_px to {encoder.patch_px}")
    return f"set {' and '.join(words)}"


def _stem(spec: JobSpec) -> str:
    side_px = image_views(spec).side_px or 0
    return "cifar" if has_cifar_stem(image_encoder(spec), side_px=side_px) else "imagenet"
