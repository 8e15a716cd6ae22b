"""`preprocess.json` says how files became rows, so that a download makes the same rows of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.data.ingest import ingested
from trainer.modalities.image.packed import image_of
from trainer.modalities.image.preprocessing import as_json, from_json, preprocessing
from trainer.modalities.image.published.snippets import preprocess_code
from trainer.schema.choices import Alpha, ShrinkFilter
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

SIDE_PX = 64
"""Side as stored and as network input, so that evaluation does not crop or resize."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures whose alpha varies, larger than they are stored, with steep edges."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    draw = np.random.default_rng(0)
    for number in range(3):
        pixels = draw.integers(0, 2, (192, 192, 4), np.uint8) * 255
        Image.fromarray(pixels).save(pictures / f"{number}.png")
    return pictures


@pytest.mark.parametrize("alpha", ["white", "drop"])
@pytest.mark.parametrize("shrink_filter", ["lanczos", "bilinear"])
def test_files_are_read_as_the_dataset_was(
    folder: Path, tmp_path: Path, alpha: Alpha, shrink_filter: ShrinkFilter
) -> None:
    out = tmp_path / "out"
    pack = ingested(folder, out, alpha=alpha, shrink_filter=shrink_filter, side_px_max=SIDE_PX).pack
    assert (pack.facts.alpha, pack.facts.shrink_filter) == (alpha, shrink_filter)
    asked = {"dataset": "ds", "encoder": {"name": "small"}, "views": {"side_px": SIDE_PX}}
    spec = resolve(JobSpec.model_validate(asked), pack.facts).spec
    words = json.loads(json.dumps(as_json(preprocessing(spec, pack.facts))))
    steps = from_json(words)
    assert (steps.alpha, steps.shrink_filter, steps.stored_px) == (alpha, shrink_filter, SIDE_PX)
    assert as_json(steps) == words

    expected = _by_pillow(folder / "0.png", alpha, shrink_filter)
    np.testing.assert_array_equal(image_of(pack, 0), expected)

    card: dict[str, object] = {"torch": torch}
    exec(preprocess_code(steps), card)
    seen = card["preprocess"](Image.open(folder / "0.png"))  # type: ignore[operator]
    scaled = torch.from_numpy(expected.copy()).permute(2, 0, 1) / 255.0
    mean, std = (torch.tensor(values)[:, None, None] for values in (steps.mean, steps.std))
    torch.testing.assert_close(seen, (scaled - mean) / std, atol=1e-5, rtol=1e-5)


def _by_pillow(path: Path, alpha: Alpha, shrink_filter: ShrinkFilter) -> np.ndarray:
    image: Image.Image = Image.open(path)
    if alpha == "white":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    how = Image.Resampling[shrink_filter.upper()]
    return np.asarray(image.convert("RGB").resize((SIDE_PX, SIDE_PX), how))
