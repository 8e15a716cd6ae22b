"""Batched views against torchvision's functional ops called row by row."""

import math
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop, v2

from tests.support.trainer.photos import SIDE_PX, batch_of, photos, spec_of
from tests.support.trainer.reference_views import as_levels, reference_plain, reference_view
from trainer.accel.ops import Accelerator
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.params import ORDERS, DrawKey, ViewParams, draw
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.batch import PaddedImages

STEPS: dict[str, dict[str, object]] = {
    "flip": {"flip_p": 0.5},
    "brightness": {"jitter_p": 0.8, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
    "contrast": {"jitter_p": 0.8, "brightness": 0.0, "saturation": 0.0, "hue": 0.0},
    "saturation": {"jitter_p": 0.8, "brightness": 0.0, "contrast": 0.0, "hue": 0.0},
    "hue": {"jitter_p": 0.8, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.5},
    "jitter": {"jitter_p": 0.8},
    "strong jitter": {"jitter_p": 1.0, "brightness": 2.0, "contrast": 2.0, "saturation": 2.0},
    "grey": {"grey_p": 0.5},
    "blur": {"blur_p": 0.7},
    "wide blur": {"blur_p": 1.0, "blur_sigma_px": (5.0, 20.0)},
    "solarize": {"solarize_p": 0.5},
    "version 1": {"jitter_p": 1.0, "hue": 0.4, "grey_p": 0.2, "grey_first": True, "flip_p": 0.5},
    "MoCo v2": {"flip_p": 0.5, "jitter_p": 0.8, "grey_p": 0.2, "blur_p": 0.5},
    "all": {"flip_p": 0.5, "jitter_p": 0.8, "grey_p": 0.3, "blur_p": 0.5, "solarize_p": 0.5},
}


@pytest.fixture(params=[False, True], ids=["batched", "compiled"])
def compiled(request: pytest.FixtureRequest) -> bool:
    """Return whether views are compiled: both paths on a CPU."""
    return bool(request.param)


def views_of(
    spec: ResolvedViewsSpec,
    compiled: bool,
    *,
    mean: tuple[float, ...] = (0.5,) * 3,
    std: tuple[float, ...] = (0.2,) * 3,
) -> ImageAugmenter:
    accelerator = Accelerator(2) if compiled else None
    return ImageAugmenter(
        spec, mean=mean, std=std, device=torch.device("cpu"), accelerator=accelerator
    )


def levels(spec: ResolvedViewsSpec, images: list[Tensor], compiled: bool) -> tuple[Tensor, Tensor]:
    """Ours and the reference's, in levels of 255, [B, 3, side, side]."""
    batch, rows = batch_of(images), torch.arange(len(images)) + 100
    views = views_of(spec, compiled, mean=(0.0,) * 3, std=(1.0,) * 3)
    ours = views.views(batch, rows, seed=3, epoch=4, view=1)
    params = params_of(spec, batch, rows)
    theirs = [reference_view(image, params, row=row, spec=spec) for row, image in enumerate(images)]
    return as_levels(ours), as_levels(torch.stack(theirs))


def params_of(spec: ResolvedViewsSpec, batch: PaddedImages, rows: Tensor) -> ViewParams:
    draw_key = DrawKey(seed=3, epoch=4, view=1)
    return draw(rows, heights=batch.heights, widths=batch.widths, spec=spec, draw_key=draw_key)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_equals_torchvision(name: str, compiled: bool) -> None:
    """The required bound is 2 levels of 255; float rounding alone gives a hundredth."""
    ours, theirs = levels(spec_of(**STEPS[name]), photos([(SIDE_PX, SIDE_PX)] * 60), compiled)
    assert float((ours - theirs).abs().max()) < 0.05
    assert float((theirs - as_levels(theirs * 0 + 0.5)).abs().max()) > 1.0


@pytest.mark.parametrize(
    "sizes",
    [
        [(SIDE_PX, SIDE_PX)] * 40,
        [(61, 47)] * 40,
        [(12, 9)] * 40,
        [(20 + 3 * i % 37, 90 - 2 * i) for i in range(40)],
    ],
    ids=["same", "larger", "smaller", "mixed"],
)
def test_crop_equals_resized_crop(sizes: list[tuple[int, int]], compiled: bool) -> None:
    """Against `resized_crop(antialias=True)`, whose triangle filter ours is, tap for tap.

    Both compute in float32 and differ by the order of their sums alone, so the bound is a
    twentieth of a level and not a filter's difference.
    """
    spec = spec_of(crop_scale=(0.08, 1.0), crop_ratio=(0.75, 4 / 3), flip_p=0.5)
    ours, theirs = levels(spec, photos(sizes), compiled)
    assert float((ours - theirs).abs().max()) < 0.05


def test_whole_recipe_on_rows_of_many_sizes(compiled: bool) -> None:
    spec = spec_of(
        crop_scale=(0.2, 1.0), crop_ratio=(0.75, 4 / 3),
        flip_p=0.5, jitter_p=0.8, grey_p=0.2, blur_p=0.5, solarize_p=0.2,
    )  # fmt: skip
    images = photos([(30 + 5 * (i % 7), 70 - 4 * (i % 9)) for i in range(50)])
    ours, theirs = levels(spec, images, compiled)
    assert float((ours - theirs).abs().max()) < 0.05


def test_plain_is_the_middle_resized(compiled: bool) -> None:
    images = photos([(40, 40), (33, 50), (50, 33), (9, 12), (24, 24), (41, 90)])
    views = views_of(spec_of(), compiled, mean=(0.0,) * 3, std=(1.0,) * 3)
    ours = as_levels(views.center_crop(batch_of(images)))
    theirs = torch.stack([as_levels(reference_plain(i, side_px=SIDE_PX)) for i in images])
    assert float((ours - theirs).abs().max()) < 0.05


def test_plain_is_torchvisions_resize_and_center_crop(compiled: bool) -> None:
    """Also where odd rests are rounded, to the even pixel, and where rows are enlarged."""
    sizes = [(40, 40), (33, 50), (50, 33), (9, 12), (24, 24), (41, 90), (97, 41), (40, 43)]
    images = photos(sizes)
    spec = spec_of(evaluation_crop="resize")
    views = views_of(spec, compiled, mean=(0.0,) * 3, std=(1.0,) * 3)
    ours = as_levels(views.center_crop(batch_of(images)))
    theirs = [v2.CenterCrop(SIDE_PX)(v2.Resize(SIDE_PX)(i.float() / 255.0)) for i in images]
    assert float((ours - as_levels(torch.stack(theirs))).abs().max()) < 0.05


def test_plain_cuts_by_the_size_of_the_file(compiled: bool) -> None:
    """A file of 669 x 934 px becomes 134 px wide at 96 px, its row of 256 x 357 px only 133."""
    [image] = photos([(256, 357)])
    spec = spec_of(side_px=96, evaluation_crop="resize")
    views = views_of(spec, compiled, mean=(0.0,) * 3, std=(1.0,) * 3)
    batch = replace(batch_of([image]), sent=torch.tensor([[669, 934]]))
    theirs = v2.CenterCrop(96)(v2.Resize([96, 134])(image.float() / 255.0))
    assert float((as_levels(views.center_crop(batch))[0] - as_levels(theirs)).abs().max()) < 0.05
    of_row = v2.CenterCrop(96)(v2.Resize(96)(image.float() / 255.0))
    assert float((as_levels(of_row) - as_levels(theirs)).abs().mean()) > 1.0


def test_normalisation_uses_mean_and_std_and_survives_a_constant_channel(compiled: bool) -> None:
    images = photos([(SIDE_PX, SIDE_PX)] * 2)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.0)
    views = views_of(spec_of(), compiled, mean=mean, std=std)
    ours = views.center_crop(batch_of(images))
    for channel in range(3):
        divisor = max(std[channel], 1e-3)
        expected = (torch.stack(images)[:, channel] / 255.0 - mean[channel]) / divisor
        assert torch.allclose(ours[:, channel], expected, atol=2e-3)
    assert bool(ours.isfinite().all())


def test_a_view_depends_on_its_row_and_moment_and_not_on_its_batch(compiled: bool) -> None:
    spec = spec_of(flip_p=0.5, jitter_p=0.8, grey_p=0.2, blur_p=0.5, crop_scale=(0.2, 1.0))
    images = photos([(30, 40)] * 30)
    views = views_of(spec, compiled)
    rows = torch.arange(30)
    whole = views.views(batch_of(images), rows, seed=1, epoch=2, view=0)
    assert torch.equal(whole, views.views(batch_of(images), rows, seed=1, epoch=2, view=0))
    backwards = views.views(batch_of(images[::-1]), rows.flip(0), seed=1, epoch=2, view=0)
    assert torch.allclose(whole, backwards.flip(0), atol=1e-4)
    for seed, epoch, view in [(2, 2, 0), (1, 3, 0), (1, 2, 1)]:
        other = views.views(batch_of(images), rows, seed=seed, epoch=epoch, view=view)
        assert float((other - whole).abs().mean()) > 0.05


@pytest.mark.parametrize("rows", [1, 37])
def test_a_pair_is_both_views(rows: int, compiled: bool) -> None:
    spec = spec_of(flip_p=0.5, jitter_p=0.8, grey_p=0.2, blur_p=0.5, crop_scale=(0.2, 1.0))
    views, batch = views_of(spec, compiled), batch_of(photos([(30, 40)] * rows))
    numbers = torch.arange(rows) * 3
    pair = views.pair(batch, numbers, seed=1, epoch=2)
    for view, made in enumerate(pair):
        assert torch.equal(made, views.views(batch, numbers, seed=1, epoch=2, view=view))


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_the_path_without_waits_gives_the_same_views(rows: int) -> None:
    """The GPU's path, run on a CPU: each step on all rows, none picked by their numbers."""
    spec = spec_of(
        flip_p=0.5, jitter_p=0.8, grey_p=0.2, blur_p=0.1, solarize_p=0.2, crop_scale=(0.2, 1.0)
    )
    batch = batch_of(photos([(30, 40)] * rows))
    views = ImageAugmenter(spec, mean=(0.5,) * 3, std=(0.2,) * 3, device=torch.device("cpu"))
    picked = views.views(batch, torch.arange(rows), seed=1, epoch=2, view=0)
    views._picks_rows = False
    whole = views.views(batch, torch.arange(rows), seed=1, epoch=2, view=0)
    assert torch.allclose(picked, whole, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_views_of_a_cpu() -> None:
    spec = spec_of(flip_p=0.5, jitter_p=0.8, grey_p=0.2, blur_p=0.5, crop_scale=(0.2, 1.0))
    batch = batch_of(photos([(30, 40)] * 64))
    made = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        there = PaddedImages(
            batch.pixels.to(device), batch.heights.to(device), batch.widths.to(device)
        )
        views = ImageAugmenter(spec, mean=(0.0,) * 3, std=(1.0,) * 3, device=device)
        made.append(views.views(there, torch.arange(64), seed=1, epoch=2, view=0).cpu())
    assert float((made[0] - made[1]).abs().max()) < 2 / 255


def test_half_precision_of_the_caller_does_not_reach_the_views() -> None:
    images = photos([(30, 40)] * 8)
    views = ImageAugmenter(
        spec_of(blur_p=1.0), mean=(0.5,) * 3, std=(0.2,) * 3, device=torch.device("cpu")
    )
    full = views.center_crop(batch_of(images))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(full, views.center_crop(batch_of(images)))


@pytest.mark.parametrize("size", [(32, 32), (40, 90), (10, 200)])
def test_crops_are_drawn_as_torchvision_draws_them(size: tuple[int, int]) -> None:
    """Kolmogorov-Smirnov distance of each number of the box, 4,000 draws of each side.

    2.2 sqrt(2 / n) is exceeded once in about 10,000 comparisons; the seeds are fixed.
    """
    count, (height, width) = 4000, size
    spec = spec_of(crop_scale=(0.08, 1.0), crop_ratio=(0.75, 4 / 3))
    heights, widths = torch.full((count,), height), torch.full((count,), width)
    draw_key = DrawKey(seed=11, epoch=0, view=0)
    box = draw(
        torch.arange(count), heights=heights, widths=widths, spec=spec, draw_key=draw_key
    ).box
    ours = torch.stack([box.top, box.left, box.height, box.width])
    torch.manual_seed(0)
    image = torch.zeros((3, height, width))
    theirs = torch.tensor(
        [RandomResizedCrop.get_params(image, [0.08, 1.0], [0.75, 4 / 3]) for _ in range(count)]
    ).T
    for mine, other in zip(ours, theirs, strict=True):
        assert _ks_distance(mine, other) < 2.2 * math.sqrt(2 / count)


def _ks_distance(a: Tensor, b: Tensor) -> float:
    grid = torch.cat([a, b]).sort().values.double()
    below = [
        torch.searchsorted(side.sort().values.double(), grid, right=True) / len(side)
        for side in (a, b)
    ]
    return float((below[0] - below[1]).abs().max())


def test_parameters_have_the_chances_and_ranges_of_the_spec() -> None:
    """20,000 draws: a share of p deviates by less than 0.02 (5 sigma)."""
    count = 20_000
    spec = spec_of(flip_p=0.5, jitter_p=0.8, grey_p=0.2, blur_p=0.3, solarize_p=0.1)
    sides = torch.full((count,), 32)
    params = draw(
        torch.arange(count), heights=sides, widths=sides, spec=spec, draw_key=DrawKey(0, 0, 0)
    )
    jittered = params.factors[:, 0] != 1.0
    shares = {0.5: params.flip, 0.8: jittered, 0.2: params.grey, 0.1: params.solarize}
    for chance, happened in (shares | {0.3: params.sigma_px > 0.0}).items():
        assert abs(float(happened.float().mean()) - chance) < 0.02
    sigma = params.sigma_px[params.sigma_px > 0.0]
    assert 0.1 <= float(sigma.min()) < 0.12
    assert 1.98 < float(sigma.max()) <= 2.0
    factors = params.factors[jittered]
    for column, (low, high) in enumerate([(0.6, 1.4)] * 3 + [(-0.1, 0.1)]):
        assert low <= float(factors[:, column].min()) < low + 0.01
        assert high - 0.01 < float(factors[:, column].max()) <= high
        assert abs(float(factors[:, column].mean()) - (low + high) / 2) < 0.01
    counts = torch.zeros(24)
    for number, order in enumerate(ORDERS):
        counts[number] = (params.order == torch.tensor(order)).all(dim=1).sum()
    assert float(((counts - count / 24) ** 2 / (count / 24)).sum()) < 70.0


def test_compiled_views_are_the_same_bit_for_bit_however_many_threads_share_them() -> None:
    spec = spec_of(flip_p=0.5, jitter_p=0.8, grey_p=0.2, blur_p=0.5, crop_scale=(0.2, 1.0))
    batch, made = batch_of(photos([(30, 40)] * 37)), []
    for threads in (1, 2, 5):
        views = views_of(spec, compiled=True)
        assert views._compiled is not None
        views._compiled.accelerator = Accelerator(threads)
        made.append(views.views(batch, torch.arange(37), seed=1, epoch=2, view=0))
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


def test_batches_of_any_size_compile_nothing_anew() -> None:
    kernels = import_module("trainer.accel.cpu.augment.view_kernels")  # which compiles them

    def compiled() -> dict[str, int]:
        found = vars(kernels).items()
        return {
            name: len(kernel.signatures) for name, kernel in found if hasattr(kernel, "signatures")
        }

    before = compiled()
    assert len(before) >= 10
    assert before["make_views"] == 1
    for sizes in ([(30, 40)] * 5, [(1, 1)], [(9, 200), (64, 3)]):
        views, batch = views_of(spec_of(**STEPS["all"]), compiled=True), batch_of(photos(sizes))
        views.views(batch, torch.arange(len(sizes)), seed=1, epoch=2, view=0)
        views.center_crop(batch)
    assert compiled() == before
