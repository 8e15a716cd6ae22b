"""timm's names of the weights of a ConvNeXt, by a list and by timm itself."""

import pytest
import torch
from torch import nn

from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.nn.pretrained import load_encoder
from trainer.nn.state_files import timm_state
from trainer.nn.timm_keys import timm_key

WIDTHS, DEPTHS = (96, 192, 384, 768), (3, 3, 9, 3)


def convnext() -> nn.Module:
    torch.manual_seed(0)
    spec = EncoderSpec(name="convnext_tiny", stem="imagenet", channels=3)
    encoder = build_encoder(spec, side_px=64).eval()
    with torch.no_grad():
        for name, value in encoder.named_parameters():
            if name.endswith("layer_scale"):  # 1e-6 at first: no block would count
                value.uniform_(0.5, 1.5)
    return encoder


def listed() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of timm's `convnext_tiny` without its classifier."""
    names: dict[str, tuple[int, ...]] = {"stem.0.weight": (96, 3, 4, 4)}
    names |= dict.fromkeys(("stem.0.bias", "stem.1.weight", "stem.1.bias"), (96,))
    for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
        if stage:
            before = WIDTHS[stage - 1]
            down = f"stages.{stage}.downsample"
            names |= {f"{down}.0.weight": (before,), f"{down}.0.bias": (before,)}
            names |= {f"{down}.1.weight": (width, before, 2, 2), f"{down}.1.bias": (width,)}
        for block in (f"stages.{stage}.blocks.{number}" for number in range(depth)):
            names |= {f"{block}.conv_dw.weight": (width, 1, 7, 7)}
            names |= {f"{block}.mlp.fc1.weight": (4 * width, width)}
            names |= {f"{block}.mlp.fc1.bias": (4 * width,)}
            names |= {f"{block}.mlp.fc2.weight": (width, 4 * width)}
            vectors = ("gamma", "conv_dw.bias", "norm.weight", "norm.bias", "mlp.fc2.bias")
            names |= {f"{block}.{name}": (width,) for name in vectors}
    return names | {"head.norm.weight": (768,), "head.norm.bias": (768,)}


def test_the_names_are_those_of_the_list() -> None:
    state = timm_state(convnext().state_dict())
    assert {name: tuple(value.shape) for name, value in state.items()} == listed()


@pytest.mark.contract
def test_timms_convnext_computes_the_same() -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed (pip install timm)")
    ours, theirs = convnext(), timm.create_model("convnext_tiny", num_classes=0).eval()
    theirs.load_state_dict(timm_state(ours.state_dict()), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), ours(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["layer1.0.conv1.weight", "blocks.0.attn.qkv.weight", "conv1.weight"]
)
def test_other_networks_keep_their_names(name: str) -> None:
    assert timm_key(name) == name


def test_weights_of_timm_are_loaded() -> None:
    ours, other = convnext(), convnext()
    torch.nn.init.zeros_(other.get_parameter("features.1.0.layer_scale"))
    state = timm_state(ours.state_dict()) | {"head.fc.weight": torch.zeros(10, 768)}
    load_encoder(other, state)
    assert all(
        torch.equal(a, b)
        for a, b in zip(*(it.state_dict().values() for it in (ours, other)), strict=True)
    )
