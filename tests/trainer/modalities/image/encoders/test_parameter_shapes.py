"""Names and shapes of weights that are known without building a network, held to the network."""

import re
from typing import Any, get_args

import pytest
import torch

from trainer.modalities.image.defaults import check_weights
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.parameter_shapes import parameter_shapes
from trainer.modalities.image.encoders.spec import EncoderName, EncoderSpec
from trainer.nn.timm_keys import timm_key
from trainer.schema.errors import SpecError
from trainer.spec.job import JobSpec

STEMS = ("imagenet", "cifar")


def encoder_of(name: EncoderName, stem: Any = "auto", channels: int = 3) -> EncoderSpec:  # noqa: ANN401
    patch_px = 16 if name.startswith("vit") else None
    return EncoderSpec(name=name, stem=stem, channels=channels, patch_px=patch_px)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("name", get_args(EncoderName))
def test_they_are_those_of_the_network_in_its_order(
    name: EncoderName, stem: str, channels: int
) -> None:
    spec = encoder_of(name, stem, channels)
    with torch.device("meta"):
        network = build_encoder(spec, side_px=32)
    built = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert list(parameter_shapes(spec, side_px=32).items()) == list(built.items())


def job(encoder: EncoderSpec, side_px: int = 96) -> JobSpec:
    sent = {"dataset": "x", "encoder": encoder.model_dump(), "views": {"side_px": side_px}}
    return JobSpec.model_validate(sent, strict=False)


def shapes_of(name: EncoderName, stem: str = "imagenet") -> dict[str, tuple[int, ...]]:
    return parameter_shapes(encoder_of(name, stem), side_px=96)


@pytest.mark.parametrize("name", ["small", "resnet50", "convnext_tiny", "vit_tiny"])
def test_weights_of_an_encoder_fit_it_alone(name: EncoderName) -> None:
    file = {f"backbone.{key}": shape for key, shape in shapes_of(name).items()}
    file |= {"backbone.fc.weight": (10, 2048)}
    check_weights(job(encoder_of(name)), file)
    with pytest.raises(SpecError, match=rf"fit {name}.*, but the encoder is resnet18; ") as refusal:
        check_weights(job(encoder_of("resnet18")), file)
    assert refusal.value.field == "init_from"


def test_the_stem_that_fits_is_named_with_the_shapes_that_do_not() -> None:
    file = shapes_of("resnet18", "cifar")
    words = (
        "init_from: the weights fit resnet18 with the stem cifar, but the encoder is resnet18; the "
        "weights do not fit the encoder. Other shapes: conv1.weight 64x3x3x3 instead of 64x3x7x7"
    )
    with pytest.raises(SpecError, match=re.escape(words)):
        check_weights(job(encoder_of("resnet18")), file)


def test_weights_of_no_encoder_are_refused_with_some_of_their_names() -> None:
    file = {f"layers.{n}.weight": (2, 3) for n in range(12)}
    with pytest.raises(SpecError, match=r"Missing: conv1\.weight.*; unexpected: .* and 2 more"):
        check_weights(job(encoder_of("resnet18")), file)


def test_weights_of_timms_convnext_fit() -> None:
    file = {timm_key(name): shape for name, shape in shapes_of("convnext_tiny").items()}
    file = {name: shape[:1] if name.endswith("gamma") else shape for name, shape in file.items()}
    check_weights(job(encoder_of("convnext_tiny")), file | {"head.fc.weight": (1000, 768)})
