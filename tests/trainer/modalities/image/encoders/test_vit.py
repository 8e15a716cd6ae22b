"""ViTs beside timm's own, and what of them MoCo v3 keeps fixed."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from tests.support.service.api import facts as facts_of
from trainer.methods.base import load_method
from trainer.methods.moco.spec import MoCoSpec
from trainer.modalities.image.encoders.factory import build_encoder, encoder_for
from trainer.modalities.image.encoders.patches import VIT_SHAPES, default_patch_px, settle
from trainer.modalities.image.encoders.spec import EncoderName, EncoderSpec
from trainer.modalities.image.encoders.vit import sin_cos_positions
from trainer.modalities.image.starting_weights import check_encoder_like
from trainer.nn.pretrained import load_encoder
from trainer.nn.towers import feature_dim
from trainer.schema.errors import SpecError
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

timm = pytest.importorskip("timm", reason="pip install timm")


@pytest.mark.parametrize(
    ("side_px", "patch_px", "channels"), [(32, 4, 3), (96, 16, 1), (24, 12, 16)]
)
def test_a_vit_is_timms(side_px: int, patch_px: int, channels: int) -> None:
    """The same keys, and with the same weights the same output."""
    spec = EncoderSpec(name="vit_tiny", patch_px=patch_px, channels=channels)
    ours = build_encoder(spec, side_px=side_px).eval()
    sizes = {"img_size": side_px, "patch_size": patch_px, "in_chans": channels}
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, side_px, side_px)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    assert feature_dim(ours) == theirs.num_features


@pytest.mark.parametrize("name", ["vit_small", "vit_base"])
def test_a_larger_vit_has_timms_keys(name: EncoderName) -> None:
    """The blocks are those of vit_tiny, whose output is compared; no weights are made here."""
    with torch.device("meta"):
        ours = build_encoder(EncoderSpec(name=name), side_px=224)
        theirs = timm.create_model(f"{name}_patch16_224", num_classes=0)
    shapes = [{key: v.shape for key, v in each.state_dict().items()} for each in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert theirs.blocks[0].attn.num_heads == VIT_SHAPES[name].heads


def test_fixed_positions_are_sines_and_cosines() -> None:
    """Transformer's formula in two dimensions, one value at a time."""
    across, width = 3, 16
    expected = np.zeros((across * across + 1, width))
    for row in range(across):
        for column in range(across):
            for index in range(width // 4):
                rate = 10_000 ** (-4 * index / width)
                values = [np.sin(column * rate), np.cos(column * rate)]
                values += [np.sin(row * rate), np.cos(row * rate)]
                for part, value in enumerate(values):
                    expected[1 + row * across + column, part * width // 4 + index] = value
    found = sin_cos_positions(across, width)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-6)


def test_what_is_fixed_is_not_trained() -> None:
    encoder = {"name": "vit_tiny", "positions": "sin_cos", "patch_projection": "frozen"}
    spec = resolve(JobSpec.model_validate({"dataset": "x", "encoder": encoder}), facts_of()).spec
    method = load_method(spec, lambda: encoder_for(spec), bf16=False)
    all_names = {f"query.{name}" for name, _ in method.get_submodule("query").named_parameters()}
    fixed = {"query.encoder.pos_embed"} | {
        f"query.encoder.patch_embed.proj.{part}" for part in ("weight", "bias")
    }
    assert all_names - method.trainable_parameters().keys() == fixed
    assert fixed <= method.state_dict().keys()


def test_moco_v3_fixes_positions_and_projection() -> None:
    chosen = settle(EncoderSpec(name="vit_tiny"), side_px=32, method="moco_v3")
    assert {name: value for name, (value, _) in chosen.items()} == {
        "patch_px": 4,
        "positions": "sin_cos",
        "patch_projection": "frozen",
    }


@pytest.mark.parametrize(
    ("side_px", "patch_px"), [(8, 2), (16, 2), (28, 4), (32, 4), (64, 8), (96, 12), (224, 16)]
)
def test_the_default_patch_follows_the_side(side_px: int, patch_px: int) -> None:
    assert default_patch_px(side_px) == patch_px


@pytest.mark.parametrize(
    ("encoder", "side_px", "field", "words"),
    [
        ({"name": "vit_tiny"}, 37, "views.side_px", "use views.side_px 36 or 40"),
        ({"name": "vit_tiny", "patch_px": 5}, 32, "encoder.patch_px", "use views.side_px 30 or 35"),
        ({"name": "resnet18", "patch_px": 4}, 32, "encoder.patch_px", "resnet18 has no patches"),
        ({"name": "small", "positions": "sin_cos"}, 32, "encoder.positions", "has no patches"),
        ({"name": "convnext_tiny"}, 8, "views.side_px", "needs at least 16 px"),
        ({"name": "convnext_tiny", "stem": "imagenet"}, 24, "views.side_px", "at least 32 px"),
    ],
)
def test_what_does_not_fit_is_refused(
    encoder: dict[str, object], side_px: int, field: str, words: str
) -> None:
    sent = {"dataset": "x", "encoder": encoder, "views": {"side_px": side_px}}
    with pytest.raises(SpecError, match=words) as refused:
        resolve(JobSpec.model_validate(sent), facts_of())
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("side_px", "patch_px", "field"),
    [(32, 4, None), (32, 8, "encoder.patch_px"), (48, 4, None)],
)
def test_weights_of_a_vit_fit_its_own_patches_alone(
    side_px: int, patch_px: int, field: str | None
) -> None:
    """The network says so when it loads them; here a job is refused before it is queued."""
    donor, spec = (
        resolve(JobSpec.model_validate(sent), facts_of()).spec
        for sent in (vit_job(32, 4), vit_job(side_px, patch_px))
    )
    torch.manual_seed(3)
    theirs, ours = (encoder_for(each) for each in (donor, spec))
    with nullcontext() if field is None else pytest.raises(SpecError):
        load_encoder(ours, theirs.state_dict())
    with nullcontext() if field is None else pytest.raises(SpecError) as refused:
        check_encoder_like(spec, donor)
    assert refused is None or refused.value.field == field


@pytest.mark.parametrize(("has_px", "side_px"), [(32, 48), (48, 16), (32, 32)])
def test_positions_for_another_side_are_resampled_as_timm_does(has_px: int, side_px: int) -> None:
    spec = EncoderSpec(name="vit_tiny", patch_px=4, channels=3)
    theirs, ours = (build_encoder(spec, side_px=side).state_dict() for side in (has_px, side_px))
    network = build_encoder(spec, side_px=side_px)
    load_encoder(network, theirs)
    across = side_px // 4
    wanted = timm.layers.resample_abs_pos_embed(theirs["pos_embed"], [across, across])
    torch.testing.assert_close(network.state_dict()["pos_embed"], wanted, rtol=0.0, atol=1e-6)
    assert network.state_dict()["pos_embed"].shape == ours["pos_embed"].shape
    assert torch.equal(network.state_dict()["norm.weight"], theirs["norm.weight"])


def vit_job(side_px: int, patch_px: int) -> dict[str, object]:
    encoder = {"name": "vit_tiny", "patch_px": patch_px}
    return {"dataset": "x", "encoder": encoder, "views": {"side_px": side_px}}


@pytest.mark.parametrize("name", ["vit_tiny", "convnext_tiny"])
@pytest.mark.parametrize("gpus", [1, 2])
def test_without_batch_norm_there_is_none_to_split(name: EncoderName, gpus: int) -> None:
    sent = {"dataset": "x", "encoder": {"name": name}, "resources": {"gpus": gpus}}
    resolved = resolve(JobSpec.model_validate(sent), facts_of())
    assert isinstance(resolved.spec.method, MoCoSpec)
    assert resolved.spec.method.bn == "plain"
    assert resolved.reasons["method.bn"] == f"{name} has no batch norm"
    again = resolve(JobSpec.model_validate_json(resolved.spec.model_dump_json()), facts_of())
    assert (again.spec, again.reasons) == (resolved.spec, {})
    with pytest.raises(SpecError, match="no batch norm; use plain") as refused:
        resolve(JobSpec.model_validate(sent | {"method": {"bn": "split"}}), facts_of())
    assert refused.value.field == "method.bn"
