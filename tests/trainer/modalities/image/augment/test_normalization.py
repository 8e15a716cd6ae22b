"""`views.normalize` against torchvision's own transform."""

import pytest
import torch
from torchvision.transforms import v2

from tests.trainer.spec.test_presets import FACTS
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.normalization import normalization
from trainer.modalities.image.augment.spec import ResolvedViewsSpec, ViewsSpec
from trainer.modalities.image.batch import PaddedImages
from trainer.schema.errors import SpecError


@pytest.mark.parametrize(
    ("normalize", "mean", "std"),
    [
        ("dataset", FACTS.mean, FACTS.std),
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ({"mean": [0.1, 0.2, 0.3], "std": [1.0, 0.5, 0.25]}, [0.1, 0.2, 0.3], [1.0, 0.5, 0.25]),
    ],
)
def test_views_are_normalized_as_told(
    normalize: object, mean: list[float], std: list[float]
) -> None:
    fixed = {"side_px": 8, "crop_scale": (1.0, 1.0), "blur_p": 0.0, "evaluation_crop": "square"}
    spec = ResolvedViewsSpec.model_validate(fixed | {"normalize": normalize})
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    sides = torch.full((2,), 8)
    found = normalization(spec, FACTS)
    views = ImageAugmenter(spec, mean=found.mean, std=found.std, device=torch.device("cpu"))
    expected = v2.Normalize(mean, std)(pixels.float() / 255.0)
    torch.testing.assert_close(views.center_crop(PaddedImages(pixels, sides, sides)), expected)


def test_stated_constants_need_one_value_for_each_channel() -> None:
    spec = ViewsSpec.model_validate({"normalize": {"mean": [0.5], "std": [0.5]}})
    with pytest.raises(SpecError, match="1 channels, but the dataset has 3"):
        normalization(spec, FACTS)
    with pytest.raises(ValueError, match="2 values and std 1"):
        ViewsSpec.model_validate({"normalize": {"mean": [0.5, 0.5], "std": [0.5]}})


def test_a_channel_that_never_changes_divides_by_no_zero() -> None:
    facts = FACTS.model_copy(update={"std": (0.2, 0.0, 0.2)})
    assert normalization(ViewsSpec(), facts).std == (0.2, 0.001, 0.2)
