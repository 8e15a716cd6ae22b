"""Weights of files: the encoder that they fit, and the setting to change where they do not."""

from typing import Any, get_args

import pytest

from trainer.modalities.image.encoders.fitting_encoders import fitting_encoder
from trainer.modalities.image.encoders.parameter_shapes import Shapes, parameter_shapes
from trainer.modalities.image.encoders.spec import EncoderName, EncoderSpec
from trainer.modalities.image.starting_weights import (
    check_encoder_like,
    check_weights,
    encoder_of_weights,
)
from trainer.nn.timm_keys import timm_key
from trainer.schema.errors import SpecError
from trainer.spec.job import JobSpec


def encoder_of(name: EncoderName, **settings: Any) -> EncoderSpec:  # noqa: ANN401
    usual = {"channels": 3, "patch_px": 16 if name.startswith("vit") else None}
    return EncoderSpec.model_validate({"name": name} | usual | settings)


def job(encoder: EncoderSpec, side_px: int = 96) -> JobSpec:
    sent = {"dataset": "x", "encoder": encoder.model_dump(), "views": {"side_px": side_px}}
    return JobSpec.model_validate(sent, strict=False)


def shapes_of(name: EncoderName, *, side_px: int = 96, **settings: Any) -> Shapes:  # noqa: ANN401
    usual = {"stem": "imagenet"} if encoder_of(name).has_stem else {}
    return parameter_shapes(encoder_of(name, **usual | settings), side_px=side_px)


def with_head(shapes: Shapes) -> Shapes:
    file = {f"backbone.{key}": shape for key, shape in shapes.items()}
    return file | {"backbone.fc.weight": (10, 2048)}


def refused(encoder: EncoderSpec, file: Shapes, *, side_px: int = 96) -> SpecError:
    with pytest.raises(SpecError) as refusal:
        check_weights(job(encoder, side_px), file)
    return refusal.value


@pytest.mark.parametrize("name", get_args(EncoderName))
def test_the_encoder_of_weights_is_found_by_names_and_shapes(name: EncoderName) -> None:
    channels = 1 if name == "resnet50" else 4
    found = fitting_encoder(with_head(shapes_of(name, channels=channels)))
    assert found is not None
    assert (found.encoder.name, found.encoder.channels) == (name, channels)
    assert found.side_px == (96 if name.startswith("vit") else None)
    encoder = encoder_of_weights(shapes_of(name))
    assert encoder is not None
    assert encoder.channels is None, "they are those of the dataset"
    check_weights(job(encoder.model_copy(update={"channels": 3})), shapes_of(name))


@pytest.mark.parametrize("name", ["small", "resnet50", "convnext_tiny", "vit_tiny"])
def test_weights_of_an_encoder_fit_it_alone(name: EncoderName) -> None:
    file = with_head(shapes_of(name))
    check_weights(job(encoder_of(name)), file)
    refusal = refused(encoder_of("resnet18"), file)
    assert refusal.field == "init_from"
    assert f"the weights fit {name}" in refusal.reason
    assert f"the encoder is resnet18; set encoder.name to {name}" in refusal.reason


@pytest.mark.parametrize(
    ("encoder", "side_px", "file", "field", "words"),
    [
        (
            encoder_of("vit_small", patch_px=4),
            32,
            shapes_of("vit_small", side_px=224),
            "encoder.patch_px",
            "4 px, but the weights of init_from are of patches of 16 px; set it to 16",
        ),
        (
            encoder_of("vit_small", patch_px=4),
            28,
            shapes_of("vit_small", side_px=224),
            "encoder.patch_px",
            "set it to 16, with views.side_px 16 or 32",
        ),
        (
            encoder_of("vit_tiny", patch_px=8),
            96,
            shapes_of("vit_base"),
            "init_from",
            "fit vit_base with patches of 16 px, but the encoder is vit_tiny; "
            "set encoder.name to vit_base and encoder.patch_px to 16",
        ),
        (
            encoder_of("resnet18"),
            96,
            shapes_of("resnet18", stem="cifar"),
            "encoder.stem",
            "the weights of init_from are of the stem cifar; set it to cifar",
        ),
        (
            encoder_of("resnet18", channels=5),
            96,
            shapes_of("resnet18"),
            "init_from",
            "for 3 channels, but the images have 5; leave it out, or use a dataset with 3 channels",
        ),
    ],
)
def test_the_setting_to_change_is_named(
    encoder: EncoderSpec, side_px: int, file: Shapes, field: str, words: str
) -> None:
    refusal = refused(encoder, file, side_px=side_px)
    assert refusal.field == field
    assert words in refusal.reason


def test_a_vit_of_another_size_is_told_apart_from_those_here() -> None:
    file = {"patch_embed.proj.weight": (1024, 3, 14, 14), "pos_embed": (1, 257, 1024)}
    file |= {f"blocks.{n}.norm1.weight": (1024,) for n in range(24)}
    reason = refused(encoder_of("vit_base"), with_head(file)).reason
    assert "a ViT of width 1024 with 24 blocks; the ViTs here are vit_tiny (192 with 12)" in reason


def test_positions_for_another_side_fit_and_those_of_no_square_do_not() -> None:
    file = shapes_of("vit_tiny", side_px=224)
    check_weights(job(encoder_of("vit_tiny")), file)
    reason = refused(encoder_of("vit_tiny"), file | {"pos_embed": (1, 196, 192)}).reason
    assert "pos_embed 1x196x192 instead of 1x37x192" in reason


def test_weights_of_no_encoder_are_refused_with_some_of_their_names() -> None:
    reason = refused(
        encoder_of("resnet18"), {f"layers.{n}.weight": (2, 3) for n in range(12)}
    ).reason
    assert "Missing: conv1.weight" in reason
    assert "; unexpected: layers.0.weight" in reason
    assert reason.endswith(" and 2 more")
    assert fitting_encoder({"fc.weight": (2, 3)}) is None


def test_weights_of_timms_convnext_fit() -> None:
    file = {timm_key(name): shape for name, shape in shapes_of("convnext_tiny").items()}
    file = {name: shape[:1] if name.endswith("gamma") else shape for name, shape in file.items()}
    check_weights(job(encoder_of("convnext_tiny")), file | {"head.fc.weight": (1000, 768)})


def test_the_channels_of_an_earlier_job_are_compared_before_a_worker_does() -> None:
    donor = job(encoder_of("resnet18", channels=3))
    check_encoder_like(job(encoder_of("resnet18", channels=1)), donor)
    with pytest.raises(SpecError, match="for 3 channels, but the images have 2"):
        check_encoder_like(job(encoder_of("resnet18", channels=2)), donor)
