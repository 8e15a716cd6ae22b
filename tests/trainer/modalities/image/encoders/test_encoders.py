"""Encoders beside torchvision's own, and the small one rebuilt from plain torch."""

from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn

from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderName, EncoderSpec
from trainer.modalities.image.encoders.stems import has_cifar_stem
from trainer.nn.towers import feature_dim


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_a_resnet_is_torchvisions_without_fc(name: EncoderName) -> None:
    """The same keys but for fc.*, and with torchvision's weights the same output."""
    ours = build_encoder(EncoderSpec(name=name, stem="imagenet"), side_px=64, bn_splits=8)
    theirs = torchvision.models.get_model(name, weights=None)
    result = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert result.missing_keys == ["fc.weight", "fc.bias"]
    assert result.unexpected_keys == []
    fresh = torchvision.models.get_model(name, weights=None)
    ours.load_state_dict({k: v for k, v in fresh.state_dict().items() if "fc." not in k})
    fresh.fc = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = ours.eval()(x), fresh.eval()(x)
    assert found.shape == (2, feature_dim(ours))
    assert found.allclose(expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"])
def test_a_deep_or_wide_resnet_has_torchvisions_keys(name: EncoderName) -> None:
    """Their blocks are those of ResNet-50, whose output is compared; no weights are made here."""
    with torch.device("meta"):
        ours = build_encoder(EncoderSpec(name=name, stem="imagenet"), side_px=64)
        theirs = torchvision.models.get_model(name, weights=None)
    expected = {k: v.shape for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert feature_dim(ours) == theirs.fc.in_features


def test_a_convnext_is_torchvisions_without_its_last_layer() -> None:
    ours = build_encoder(EncoderSpec(name="convnext_tiny", stem="imagenet"), side_px=64).eval()
    with torch.device("meta"):
        theirs = torchvision.models.convnext_tiny().eval()
    result = theirs.load_state_dict(ours.state_dict(), strict=False, assign=True)
    assert result.missing_keys == ["classifier.2.weight", "classifier.2.bias"]
    assert result.unexpected_keys == []
    theirs.classifier[2] = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = ours(x), theirs(x)
    assert found.shape == (2, feature_dim(ours))
    assert found.allclose(expected, rtol=1e-5, atol=1e-6)


def test_a_convnext_for_small_images_begins_with_two_pixels() -> None:
    with torch.device("meta"):
        encoder = build_encoder(EncoderSpec(name="convnext_tiny", channels=5), side_px=32)
        assert encoder.state_dict()["features.0.0.weight"].shape == (96, 5, 2, 2)
        assert encoder(torch.zeros(2, 5, 16, 16)).shape == (2, 768)


def test_the_cifar_stem_is_the_authors() -> None:
    """3x3, stride 1, no pooling: 32 px leave layer1 as 32 px."""
    encoder = build_encoder(EncoderSpec(name="resnet18"), side_px=32)
    assert encoder.state_dict()["conv1.weight"].shape == (64, 3, 3, 3)
    sides: list[int] = []
    layer1 = encoder.get_submodule("layer1")
    layer1.register_forward_hook(lambda _m, _i, out: sides.append(out.shape[-1]))
    assert encoder(torch.randn(2, 3, 32, 32)).shape == (2, 512)
    assert sides == [32]


def test_a_stem_of_torch_starts_as_torch_starts_a_convolution() -> None:
    """The notebook leaves nn.Conv2d's own start: uniform up to 1 / sqrt(27 inputs)."""
    spec = EncoderSpec(name="resnet18", stem="cifar", stem_init="torch")
    weight = build_encoder(spec, side_px=32).state_dict()["conv1.weight"]
    limit = 27**-0.5
    assert weight.abs().max() <= limit
    assert float(weight.std()) == pytest.approx(limit / 3**0.5, rel=0.05)
    kaiming = build_encoder(EncoderSpec(name="resnet18", stem="cifar"), side_px=32)
    expected = (2.0 / (64 * 9)) ** 0.5
    found = kaiming.state_dict()["conv1.weight"]
    assert float(found.std()) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("stem", "side_px", "cifar"),
    [("auto", 64, True), ("auto", 65, False), ("cifar", 224, True), ("imagenet", 32, False)],
)
def test_auto_takes_the_cifar_stem_up_to_64_px(stem: str, side_px: int, cifar: bool) -> None:
    spec = EncoderSpec.model_validate({"stem": stem})
    assert has_cifar_stem(spec, side_px=side_px) is cifar


@pytest.mark.parametrize("side_px", [8, 9, 32, 100, 224])
def test_the_small_encoder_takes_any_side(side_px: int) -> None:
    encoder = build_encoder(EncoderSpec(name="small"), side_px=side_px, bn_splits=8)
    views = torch.randn(4, 3, side_px, side_px)
    assert encoder(views).shape == (4, 256)
    assert encoder.eval()(views).shape == (4, feature_dim(encoder))


def test_the_small_encoder_is_ten_lines_of_plain_torch() -> None:
    """The encoder loads into the module that a user builds without mocoserve."""
    widths = [3, 32, 64, 128, 128, 256]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, stride in enumerate((1, 2, 2, 1, 2), start=1):
        width_in, width = widths[number - 1], widths[number]
        layers[f"conv{number}"] = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        layers[f"bn{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU()
    plain = nn.Sequential(layers)
    plain.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten())
    ours = build_encoder(EncoderSpec(name="small"), side_px=32)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert ours.eval()(x).allclose(plain.eval()(x), rtol=1e-5, atol=1e-6)
