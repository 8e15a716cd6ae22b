"""Weights of others in our encoders: prefixes, heads, channels, and what does not fit."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.nn.pretrained import load_encoder
from trainer.nn.pretrained_names import PREFIXES
from trainer.schema.errors import SpecError


def small(channels: int = 3) -> nn.Module:
    torch.manual_seed(channels)
    return build_encoder(EncoderSpec(name="small", channels=channels), side_px=16)


def other() -> dict[str, Tensor]:
    torch.manual_seed(99)
    return {name: torch.rand_like(value.float()) for name, value in small().state_dict().items()}


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
def test_any_prefix_is_found_and_heads_and_other_towers_are_left_out(prefix: str) -> None:
    weights = other()
    file = {f"{prefix}{name}": value for name, value in weights.items()}
    file |= {f"{prefix}fc.0.weight": torch.zeros(2), f"{prefix}head.bias": torch.zeros(2)}
    if prefix:
        file |= {"module.encoder_k.conv1.weight": torch.zeros(1), "queue": torch.zeros(3)}
    encoder = small()
    load_encoder(encoder, file)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights[name].to(value.dtype)), name


def test_weights_of_torchvision_fit_a_resnet() -> None:
    theirs = torchvision.models.resnet18(weights=None).eval()
    ours = build_encoder(EncoderSpec(name="resnet18", stem="imagenet", channels=3), side_px=96)
    load_encoder(ours, theirs.state_dict())
    theirs.fc = nn.Identity()
    image = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(ours.eval()(image), theirs(image), atol=1e-4)


@pytest.mark.contract
def test_weights_of_torchvision_fit_a_convnext() -> None:
    """Its last norm stays, which lies in what torchvision calls the classifier."""
    theirs = torchvision.models.convnext_tiny(weights=None).state_dict()
    ours = build_encoder(EncoderSpec(name="convnext_tiny", stem="imagenet"), side_px=32)
    theirs["classifier.0.weight"] += 1
    load_encoder(ours, theirs)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize("has", [1, 3])
def test_gray_images_keep_their_features_with_another_number_of_channels(has: int) -> None:
    source, target = small(has).eval(), small(4 - has).eval()
    load_encoder(target, source.state_dict())
    gray = torch.rand(2, 1, 16, 16)
    inputs = {1: gray, 3: gray.expand(2, 3, 16, 16)}
    with torch.no_grad():
        assert torch.allclose(source(inputs[has]), target(inputs[4 - has]), atol=1e-4)


def test_half_precision_and_files_without_counters_are_loaded() -> None:
    weights = {name: value.half() for name, value in other().items() if "num_batches" not in name}
    encoder = small()
    load_encoder(encoder, weights)
    assert torch.equal(encoder.state_dict()["conv1.weight"], weights["conv1.weight"].float())


def test_what_does_not_fit_is_named_up_to_ten_names() -> None:
    weights = other()
    file = {name: value for name, value in weights.items() if not name.startswith(("bn", "conv3"))}
    file |= {f"layer{n}.weight": torch.zeros(1) for n in range(12)}
    file["conv2.weight"] = torch.zeros(3, 4)
    encoder = small()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(SpecError) as refusal:
        load_encoder(encoder, file)
    text = str(refusal.value)
    assert text.startswith("init_from: the weights do not fit the encoder. Missing: bn1.weight")
    assert "and 11 more; unexpected: layer0.weight" in text
    assert "and 2 more; other shapes: conv2.weight 3x4 instead of 64x32x3x3" in text
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_file_of_heads_alone_is_refused() -> None:
    with pytest.raises(SpecError, match="no weights of an encoder"):
        load_encoder(small(), {"fc.weight": torch.zeros(2)})
