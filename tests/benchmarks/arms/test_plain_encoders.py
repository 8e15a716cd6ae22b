"""The peers' encoders: the same networks as ours, and nothing of ours in them."""

import pytest
import torch

from benchmarks.arms.plain_encoders import plain_encoder
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderName, EncoderSpec


@pytest.mark.parametrize(
    ("name", "side_px"), [("small", 32), ("resnet18", 32), ("resnet18", 96), ("resnet50", 32)]
)
def test_the_same_network_without_our_layers(name: EncoderName, side_px: int) -> None:
    """A layer of ours would make the peers faster in bfloat16 than they are."""
    plain, width = plain_encoder(name, side_px=side_px)
    ours = build_encoder(EncoderSpec(name=name), side_px=side_px)
    ours.load_state_dict(plain.state_dict())
    views = torch.randn(2, 3, side_px, side_px)
    with torch.no_grad():
        wanted = plain.eval()(views)
        assert wanted.shape == (2, width)
        torch.testing.assert_close(ours.eval()(views), wanted, rtol=1e-4, atol=1e-5)
    assert {type(part).__module__.split(".")[0] for part in plain.modules()} <= {
        "torch",
        "torchvision",
    }
