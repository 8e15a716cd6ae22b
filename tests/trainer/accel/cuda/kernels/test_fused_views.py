"""Triton's views against torchvision and the torch form: on a GPU, or interpreted on a CPU."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed")

from benchmarks.suites.kernels.cases import interpreted_views
from tests.support.trainer.photos import SIDE_PX, batch_of, photos, spec_of
from tests.support.trainer.reference_views import as_levels, reference_view
from trainer.accel.cuda.kernels import fused_views
from trainer.accel.ops import Accelerator
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.params import DrawKey, draw
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.batch import PaddedImages

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EVERYTHING: dict[str, object] = {
    "crop_scale": (0.1, 1.0), "crop_ratio": (0.75, 4 / 3), "flip_p": 0.5, "jitter_p": 0.9,
    "grey_p": 0.3, "blur_p": 0.5, "solarize_p": 0.4,
}  # fmt: skip
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
LEVEL = 1 / 255


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Send images on a CPU to Triton, too."""
    monkeypatch.setattr(fused_views, "TILE", 1024)
    with interpreted_views():
        yield


def augmenter(
    spec: ResolvedViewsSpec, *, accelerator: Accelerator | None, is_plain: bool = False
) -> ImageAugmenter:
    mean, std = ((0.0,) * 3, (1.0,) * 3) if is_plain else (MEAN, STD)
    return ImageAugmenter(spec, mean=mean, std=std, device=DEVICE, accelerator=accelerator)


def batch(sizes: list[tuple[int, int]], *, last: bool = False) -> PaddedImages:
    """Photos on the device."""
    images = batch_of(photos(sizes))
    order = torch.channels_last if last else torch.contiguous_format
    pixels = images.pixels.to(DEVICE).contiguous(memory_format=order)
    return images.with_tensors((pixels, images.heights.to(DEVICE), images.widths.to(DEVICE)))


def made(spec: ResolvedViewsSpec, images: PaddedImages, accelerator: Accelerator | None) -> Tensor:
    rows = torch.arange(len(images.pixels), device=DEVICE) + 100
    return augmenter(spec, accelerator=accelerator).views(images, rows, seed=3, epoch=4, view=1)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("crop", {"crop_scale": (0.08, 1.0), "flip_p": 0.5}),
        ("jitter", {"jitter_p": 1.0}),
        ("hue", {"jitter_p": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}),
        ("gray first", {"jitter_p": 1.0, "grey_p": 0.5, "grey_first": True}),
        ("wide blur", {"blur_p": 1.0, "blur_sigma_px": (5.0, 20.0)}),
        ("everything", EVERYTHING),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_step_equals_torchvision(name: str, changes: dict[str, object]) -> None:
    """The required bound is 2 levels of 255; float rounding alone gives a hundredth."""
    del name
    sizes = [(SIDE_PX, SIDE_PX), (61, 47), (12, 9), (20, 90)]
    spec, images = spec_of(**changes), photos(sizes)
    padded, rows = batch(sizes), torch.arange(len(sizes)) + 100
    key = DrawKey(seed=3, epoch=4, view=1)
    heights, widths = padded.heights.cpu(), padded.widths.cpu()
    params = draw(rows, heights=heights, widths=widths, spec=spec, draw_key=key)
    theirs = [reference_view(image, params, row=row, spec=spec) for row, image in enumerate(images)]
    maker = augmenter(spec, accelerator=Accelerator(), is_plain=True)
    ours = maker.views(padded, rows.to(DEVICE), seed=3, epoch=4, view=1).cpu()
    assert float((as_levels(ours) - as_levels(torch.stack(theirs))).abs().max()) < 0.05


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("side_px", [9, 40])
def test_equals_the_torch_form(side_px: int, last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By several programs a view, the last of which is not full."""
    monkeypatch.setattr(fused_views, "TILE", 64 if side_px == 9 else 1024)
    spec = spec_of(**EVERYTHING, side_px=side_px)
    images = batch([(33, 40), (17, 9), (50, 64), (20, 20)], last=last)
    found, wanted = (made(spec, images, accelerator) for accelerator in (Accelerator(), None))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert float(((found - wanted) * min(STD)).abs().max()) < LEVEL / 500


def test_bfloat16_is_the_rounded_view_and_twice_the_same() -> None:
    spec, images = spec_of(**EVERYTHING), batch([(33, 40), (17, 9), (50, 64)])
    first, second = (made(spec, images, Accelerator(view_dtype=torch.bfloat16)) for _ in range(2))
    exact = made(spec, images, Accelerator())
    assert first.dtype == torch.bfloat16
    assert torch.equal(first, second)
    assert bool(((first.float() - exact).abs() <= 2**-7 * exact.abs()).all())


def test_rows_do_not_depend_on_their_batch() -> None:
    spec, images = spec_of(**EVERYTHING), batch([(24, 24)] * 4)
    maker, rows = augmenter(spec, accelerator=Accelerator()), torch.arange(4, device=DEVICE)
    together = maker.views(images, rows, seed=1, epoch=2, view=0)
    alone = images.with_tensors(tuple(tensor[2:3] for tensor in images.tensors()))
    assert torch.equal(together[2:3], maker.views(alone, rows[2:3], seed=1, epoch=2, view=0))


def test_the_center_is_cut_without_augmentation() -> None:
    """In float32, whatever random views are in: pixels are compared as they are."""
    spec, images = spec_of(**EVERYTHING), batch([(33, 40), (17, 9)])
    assert spec.evaluation_crop == "square"
    narrow = Accelerator(view_dtype=torch.bfloat16)
    found = augmenter(spec, accelerator=narrow).center_crop(images)
    wanted = augmenter(spec, accelerator=None).center_crop(images)
    assert found.dtype == torch.float32
    assert float(((found - wanted) * min(STD)).abs().max()) < LEVEL / 500
