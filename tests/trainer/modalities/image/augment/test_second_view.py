"""Second views with settings of their own, against torchvision's functional ops."""

import pytest
import torch
from torch import Tensor

from tests.support.trainer.photos import batch_of, photos, spec_of
from tests.support.trainer.reference_views import as_levels, reference_view
from trainer.accel.ops import Accelerator
from trainer.modalities.image.augment.normalization import Normalization
from trainer.modalities.image.augment.params import DrawKey, draw
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.random_views import ImageViews, views_of

PLAIN = Normalization((0.0,) * 3, (1.0,) * 3)
FIRST = {"flip_p": 0.5, "jitter_p": 0.8, "blur_p": 1.0, "crop_scale": (0.2, 1.0)}
SECOND = {"blur_p": 0.1, "solarize_p": 0.5, "crop_scale": (0.6, 1.0), "jitter_p": 0.0}


def views(second: object, *, compiled: bool = False) -> ImageViews:
    spec = spec_of(**FIRST, second=second)
    accelerator = Accelerator(2) if compiled else None
    return views_of(spec, PLAIN, device=torch.device("cpu"), accelerator=accelerator)


def reference(images: list[Tensor], spec: ResolvedViewsSpec, view: int) -> Tensor:
    batch, rows = batch_of(images), torch.arange(len(images)) + 100
    params = draw(
        rows, heights=batch.heights, widths=batch.widths, spec=spec, draw_key=DrawKey(3, 4, view)
    )
    made = [reference_view(image, params, row=row, spec=spec) for row, image in enumerate(images)]
    return as_levels(torch.stack(made))


def test_each_view_is_torchvisions_with_its_own_settings() -> None:
    """The flip, which the second leaves out, is as in the first."""
    images = photos([(30, 40)] * 40)
    rows = torch.arange(40) + 100
    pair = views(SECOND).random(batch_of(images), rows, seed=3, epoch=4)
    for number, spec in enumerate((spec_of(**FIRST), spec_of(**(FIRST | SECOND)))):
        theirs = reference(images, spec, number)
        assert float((as_levels(pair[number].pixels) - theirs).abs().max()) < 0.05
    alike = reference(images, spec_of(**FIRST), 1)
    assert float((as_levels(pair[1].pixels) - alike).abs().mean()) > 1.0


def test_second_views_of_partners_are_made_of_these() -> None:
    images = photos([(30, 40)] * 6)
    rows = torch.arange(3)
    pair = views(SECOND).random(batch_of(images), rows, seed=1, epoch=0)
    for number, own in enumerate((images[:3], images[3:])):
        alone = views(SECOND).random(batch_of(own), rows, seed=1, epoch=0)
        assert torch.equal(pair[number].pixels, alone[number].pixels)


@pytest.mark.parametrize("second", ["same", {}])
def test_the_same_settings_are_the_same_pair(second: object) -> None:
    batch, rows = batch_of(photos([(30, 40)] * 9)), torch.arange(9)
    made = views(second)
    assert made.second is None
    pair = made.random(batch, rows, seed=1, epoch=2)
    for number, view in enumerate(pair):
        expected = made.augmenter.views(batch, rows, seed=1, epoch=2, view=number)
        assert torch.equal(view.pixels, expected)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("second", ["same", SECOND])
def test_the_first_view_alone_has_the_bits_of_the_pair(second: object, compiled: bool) -> None:
    batch, rows = batch_of(photos([(30, 40)] * 9)), torch.arange(9)
    made = views(second, compiled=compiled)
    first, _ = made.random(batch, rows, seed=1, epoch=2)
    assert torch.equal(made.first(batch, rows, seed=1, epoch=2).pixels, first.pixels)


def test_each_view_is_compiled_by_its_own_settings() -> None:
    """Only the first has a blur."""
    made = views({"blur_p": 0.0}, compiled=True)
    assert made.second is not None
    forms = [each._compiled.form for each in (made.augmenter, made.second) if each._compiled]
    assert [form.radius_px > 0 for form in forms] == [True, False]


def test_an_augmentation_of_the_second_view_alone_takes_the_slower_way_alone() -> None:
    made = views({"noise_p": 0.5}, compiled=True)
    assert made.augmenter.fallback_reason is None
    assert made.fallback_reason is not None
    assert "views.noise_p (second view)" in made.fallback_reason
