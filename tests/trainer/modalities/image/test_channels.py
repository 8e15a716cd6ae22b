"""Rows of other channels and depths than RGB of 8 bits, from the spec to downloaded features."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray

from tests.support.data.ingest import ingested
from tests.support.service.api import facts as facts_of
from trainer.accel.device import DeviceConfig
from trainer.engine.train import RunPaths, train
from trainer.inference.embedder import embed
from trainer.modalities.image.augment import color
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.spec import ResolvedViewsSpec, ViewsSpec
from trainer.modalities.image.batch import PaddedImages
from trainer.modalities.image.defaults import COLOUR
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderName, EncoderSpec
from trainer.modalities.image.spec import image_encoder, image_views
from trainer.optim.spec import CosineSpec
from trainer.schema.errors import SpecError
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels", [1, 2, 5, 16])
def test_colour_is_off_without_colours(channels: int) -> None:
    facts = facts_of(channels=channels, mean=(0.5,) * channels, std=(0.2,) * channels)
    resolved = resolve(JobSpec(dataset="x"), facts)
    assert [getattr(resolved.spec.views, name) for name in COLOUR] == [0.0] * 3
    assert image_encoder(resolved.spec).channels == channels
    assert image_views(resolved.spec).brightness == 0.4
    assert "views.hue" in resolved.reasons
    again = resolve(JobSpec.model_validate_json(resolved.spec.model_dump_json()), facts)
    assert (again.spec, again.reasons) == (resolved.spec, {})


@pytest.mark.parametrize("name", COLOUR)
def test_stated_colour_is_refused_where_there_is_none(name: str) -> None:
    facts = facts_of(channels=1, mean=(0.5,), std=(0.2,))
    views = ViewsSpec.model_validate({name: 0.1})
    with pytest.raises(SpecError, match="set it to 0 or omit it") as refused:
        resolve(JobSpec(dataset="x", views=views), facts)
    assert refused.value.field == f"views.{name}"
    none = JobSpec(dataset="x", views=ViewsSpec.model_validate({name: 0.0}))
    assert getattr(resolve(none, facts).spec.views, name) == 0.0
    assert getattr(resolve(JobSpec(dataset="x", views=views), facts_of()).spec.views, name) == 0.1


def test_an_encoder_of_other_channels_is_refused() -> None:
    spec = JobSpec(dataset="x", encoder=EncoderSpec(channels=4))
    with pytest.raises(SpecError, match="4 channels, but the dataset has 3"):
        resolve(spec, facts_of())


@pytest.mark.parametrize("name", ["small", "resnet18", "convnext_tiny", "vit_tiny"])
@pytest.mark.parametrize("side_px", [32, 96])
@pytest.mark.parametrize("channels", [1, 7])
def test_the_first_layer_takes_the_channels(name: EncoderName, side_px: int, channels: int) -> None:
    encoder = build_encoder(EncoderSpec(name=name, channels=channels), side_px=side_px)
    first = next(part for part in encoder.modules() if isinstance(part, torch.nn.Conv2d))
    assert first.weight.shape[1] == channels
    assert encoder.eval()(torch.zeros(2, channels, side_px, side_px)).shape[0] == 2


def test_brightness_and_contrast_of_any_channels_are_the_formula() -> None:
    pixels = torch.rand(4, 5, 30, generator=torch.Generator().manual_seed(0))
    factor = torch.tensor([0.6, 0.8, 1.0, 1.4])
    zero = torch.zeros(4)
    mean = pixels.double().mean((1, 2))[:, None, None]
    each = factor.double()[:, None, None]
    brighter, contrast = pixels.clone(), pixels.clone()
    color.blend_(brighter, factor, to_luma=zero, to_mean=zero)
    color.blend_(contrast, factor, to_luma=zero, to_mean=1.0 - factor)
    torch.testing.assert_close(brighter.double(), (pixels * each).clamp(0, 1), atol=1e-6, rtol=0)
    expected = (pixels * each + (1 - each) * mean).clamp(0, 1)
    torch.testing.assert_close(contrast.double(), expected, atol=1e-6, rtol=0)


def test_one_channel_is_seen_as_three_equal_ones() -> None:
    """Without colour, grey is what three equal channels are; luma's weights sum to .9999."""
    pixels = torch.randint(0, 256, (6, 1, 20, 20), generator=torch.Generator().manual_seed(1))
    rows, sides = torch.arange(6), torch.full((6,), 20)
    spec = ResolvedViewsSpec(
        evaluation_crop="square",
        side_px=16,
        crop_scale=(0.3, 1.0),
        blur_p=0.5,
        saturation=0.0,
        hue=0.0,
        grey_p=0.0,
    )
    made = []
    for channels in (1, 3):
        views = ImageAugmenter(spec, mean=(0.0,) * channels, std=(1.0,) * channels, device=CPU)
        batch = PaddedImages(pixels.repeat(1, channels, 1, 1).to(torch.uint8), sides, sides)
        made.append(views.views(batch, rows, seed=3, epoch=0, view=0))
    assert float((made[0] - made[1]).abs().max()) < 2e-4


def rows_of(channels: int, dtype: str) -> NDArray[Any]:
    """Return forty rows of 18 x 14 px with values in a part of their type's range."""
    draw = np.random.default_rng(channels)
    values = draw.normal(1200, 200, (40, 18, 14, channels))
    if dtype == "uint8":
        values = values / 10
    return values.clip(0, 250 if dtype == "uint8" else 4095).astype(dtype)


@pytest.mark.parametrize(
    ("channels", "dtype", "window"),
    [
        (1, "uint16", "dataset"),
        (1, "uint16", "900:1500"),
        (3, "uint16", "dataset"),
        (5, "uint8", "dataset"),
        (2, "float32", "dataset"),
        (1, "int16", "0:2400"),
    ],
)
def test_a_downloaded_encoder_sees_what_training_saw(
    channels: int, dtype: str, window: str, tmp_path: Path
) -> None:
    images = rows_of(channels, dtype)
    np.save(tmp_path / "rows.npy", images)
    made = ingested(tmp_path / "rows.npy", tmp_path / "data", channels=channels)
    spec = JobSpec(
        dataset="rows",
        epochs=1,
        batch_rows=8,
        encoder=EncoderSpec(name="small"),
        views=ViewsSpec(side_px=12, window=window),
        schedule=CosineSpec(),
        evaluation=None,
    )
    places = RunPaths(tmp_path / "run", made.pack.folder)
    train(
        spec,
        places,
        device_config=DeviceConfig(device="cpu"),
        emit=lambda _: None,
        should_stop=lambda: False,
    )
    folder = tmp_path / "run" / "artifacts"
    trained = np.array(pq.read_table(folder / "embeddings.parquet")["embedding"].to_pylist())
    out = tmp_path / "features.parquet"
    embed(folder, tmp_path / "rows.npy", out=out, device_config=DeviceConfig(device="cpu"))
    found = np.array(pq.read_table(out).column(2).to_pylist())
    assert np.abs(found - trained).max() <= 1e-4 * np.abs(trained).max()
    config = json.loads((folder / "config.json").read_text())
    assert config["in_chans"] == channels
    _check_card(folder, images, trained)


def _check_card(folder: Path, images: NDArray[Any], trained: NDArray[np.float64]) -> None:
    """Run the blocks of the card on the values of the source."""
    blocks = (folder / "README.md").read_text().split("```python\n")[1:]
    code = "\n".join(block.split("```")[0] for block in blocks[:2])
    scope: dict[str, Any] = {}
    code = code.replace('"encoder.safetensors"', repr(str(folder / "encoder.safetensors")))
    exec(code, scope)  # the card is ours
    with torch.no_grad():
        inputs = torch.stack([scope["preprocess"](image) for image in images])
        found = scope["encoder"](inputs).numpy()
    assert np.abs(found - trained).max() <= 1e-3 * np.abs(trained).max()
    assert safetensors.torch.load_file(folder / "encoder.safetensors")
