"""Augmentations that are off by default against torchvision in float64, with what was drawn."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from tests.support.data.dataset_facts import made_up_facts
from tests.support.trainer.photos import batch_of, photos, spec_of
from trainer.accel.ops import Accelerator
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.optional import (
    NoiseKey,
    OptionalParams,
    draw_optional,
    lose_,
    normals,
    rotated,
    turned,
    with_noise,
)
from trainer.modalities.image.augment.spec import OPTIONAL, ViewsSpec
from trainer.rng.philox import uniforms
from trainer.rng.seeds import derived_seed
from trainer.schema.errors import SpecError
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

ROWS, CHANNELS, SIDE_PX = 400, 3, 16
ALL = {
    "vertical_flip_p": 0.5,
    "quarter_turn_p": 0.6,
    "rotation_p": 0.5,
    "rotation_degrees": 40.0,
    "noise_p": 0.5,
    "noise_sigma": 0.2,
    "channel_drop_p": 0.4,
    "erase_p": 0.5,
}
KEY = NoiseKey(seed=7, epoch=3, rows=torch.arange(ROWS), view=torch.ones(ROWS, dtype=torch.int64))


@pytest.fixture(scope="module")
def params() -> OptionalParams:
    spec = ViewsSpec.model_validate(ALL)
    return draw_optional(KEY.rows, spec=spec, side_px=SIDE_PX, channels=CHANNELS, noise_key=KEY)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (ROWS, CHANNELS, SIDE_PX, SIDE_PX)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def test_flips_and_quarter_turns_are_exact(params: OptionalParams, pixels: Tensor) -> None:
    made = turned(pixels, params)
    for row, image in enumerate(pixels):
        flipped = F.vertical_flip(image) if params.upside_down[row] else image
        turns = int(params.turns[row])
        assert made[row].equal(torch.rot90(flipped, turns, dims=(1, 2)))
        theirs = F.rotate(flipped, 90.0 * turns, interpolation=InterpolationMode.NEAREST)
        assert made[row].equal(theirs)


def test_a_rotation_is_torchvisions_of_the_mirrored_view(
    params: OptionalParams, pixels: Tensor
) -> None:
    """A square of side S reaches 0.21 S beyond its border: it is padded by S before turning."""
    made = rotated(pixels, params.degrees)
    for row in range(60):
        image, degrees = pixels[row], float(params.degrees[row])
        padded = F.pad(image, [SIDE_PX] * 4, padding_mode="symmetric")
        turned_ = F.rotate(padded, degrees, interpolation=InterpolationMode.BILINEAR)
        theirs = F.center_crop(turned_, [SIDE_PX, SIDE_PX]) if degrees else image
        torch.testing.assert_close(made[row], theirs, rtol=0.0, atol=1e-6)
    assert made[params.degrees == 0.0].equal(pixels[params.degrees == 0.0])


def test_noise_is_added_and_cut(params: OptionalParams, pixels: Tensor) -> None:
    flat = pixels.float().flatten(2)
    made = with_noise(flat, params.noise_sigma, KEY)
    values = CHANNELS * SIDE_PX**2
    u = uniforms(KEY.rows, seed=derived_seed(7, "noise of views"), epoch=3, view=1, count=values)
    first, second = u.double().numpy()[:, : values // 2], u.double().numpy()[:, values // 2 :]
    radius = np.sqrt(-2.0 * np.log(1.0 - first))
    angle = 2.0 * np.pi * second
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    noise = normal.reshape(flat.shape) * params.noise_sigma.numpy()[:, None, None]
    theirs = np.clip(flat.double().numpy() + noise, 0.0, 1.0)
    np.testing.assert_allclose(made.numpy(), theirs, atol=2e-6)
    still = params.noise_sigma == 0.0
    assert made[still].equal(flat[still])
    assert not made[~still].equal(flat[~still])


def test_noise_is_normal_and_apart_in_every_row_and_view() -> None:
    noise = normals(KEY, 999)
    assert noise.shape == (ROWS, 999)
    z = noise.double().flatten()
    count = len(z)
    assert abs(float(z.mean())) < 5 / math.sqrt(count)
    assert abs(float(z.square().mean()) - 1) < 5 * math.sqrt(2 / count)
    assert abs(float(z.pow(4).mean()) - 3) < 5 * math.sqrt(96 / count)
    other = NoiseKey(seed=7, epoch=3, rows=KEY.rows, view=KEY.view * 0)
    for another in (normals(other, 999), noise.roll(1, 0)):
        products = (noise * another).double().flatten()
        assert abs(float(products.mean())) < 5 / math.sqrt(count)


def test_a_lost_channel_and_an_erased_part_are_the_mean(
    params: OptionalParams, pixels: Tensor
) -> None:
    made = pixels.clone()
    lose_(made, params)
    erased = params.erased
    for row, image in enumerate(pixels):
        box = [int(it[row]) for it in (erased.top, erased.left, erased.height, erased.width)]
        theirs = F.erase(image, *box, v=torch.zeros(()).double())
        if (channel := int(params.lost_channel[row])) >= 0:
            theirs[channel] = 0.0
        assert made[row].equal(theirs)


def test_what_is_drawn_has_its_probabilities(params: OptionalParams) -> None:
    def is_near(mask: Tensor, p: float) -> bool:
        return abs(float(mask.float().mean()) - p) < 4 * math.sqrt(p * (1 - p) / ROWS)

    assert is_near(params.upside_down, 0.5)
    assert all(is_near(params.turns == turns, 0.2) for turns in (1, 2, 3))
    assert is_near(params.degrees != 0.0, 0.5)
    assert 30.0 < float(params.degrees.abs().max()) <= 40.0
    assert is_near(params.degrees > 0.0, 0.25)
    assert is_near(params.noise_sigma > 0.0, 0.5)
    assert all(is_near(params.lost_channel == channel, 0.4 / 3) for channel in range(3))
    assert is_near(params.erased.height > 0, 0.5)


def test_erased_parts_are_those_that_were_asked_for(params: OptionalParams) -> None:
    box = params.erased
    chosen = box.height > 0
    top, left, height, width = (
        it[chosen].double() for it in (box.top, box.left, box.height, box.width)
    )
    assert bool(((top >= 0) & (top + height <= SIDE_PX)).all())
    assert bool(((left >= 0) & (left + width <= SIDE_PX)).all())
    # Sides are rounded to whole pixels.
    assert bool(((height + 0.5) * (width + 0.5) >= 0.02 * SIDE_PX**2).all())
    assert bool(((height - 0.5) * (width - 0.5) <= 0.33 * SIDE_PX**2).all())
    assert bool(((height + 0.5) / (width - 0.5).clamp(min=0.1) >= 0.3).all())
    assert bool(((height - 0.5) / (width + 0.5) <= 3.3).all())
    assert {0.0, 1.0} <= set(top.tolist())
    assert float((top + height).max()) == SIDE_PX


def views_of(settings: dict[str, float], accelerator: Accelerator | None = None) -> ImageAugmenter:
    return ImageAugmenter(
        spec_of(**settings),
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        device=torch.device("cpu"),
        accelerator=accelerator,
    )


def test_a_view_is_its_rows_alone_and_its_other_settings() -> None:
    """The same in another batch, alone or in a pair; without erasing it differs there alone."""
    images = photos([(30, 40), (25, 25), (33, 20), (40, 40)] * 3)
    rows = torch.arange(12) + 50
    views = views_of(ALL | {"jitter_p": 0.8}, Accelerator(2))  # compiled code does not know them
    assert str(views.fallback_reason).startswith("the compiled code does not know views.vertical")
    first, second = views.pair(batch_of(images), rows, seed=3, epoch=4)
    assert second.equal(views.views(batch_of(images), rows, seed=3, epoch=4, view=1))
    order = torch.tensor([5, 2, 9])
    some = views.views(batch_of([images[i] for i in order]), rows[order], seed=3, epoch=4, view=0)
    torch.testing.assert_close(some, first[order], rtol=0.0, atol=1e-6)
    without = views_of(ALL | {"jitter_p": 0.8, "erase_p": 0.0})
    bare, _ = without.pair(batch_of(images), rows, seed=3, epoch=4)
    is_kept = first != 0.0
    assert first[is_kept].equal(bare[is_kept])
    assert not first.equal(bare)


def test_all_at_probability_1_do_something_to_every_view() -> None:
    images, rows = batch_of(photos([(30, 30)] * 8)), torch.arange(8)
    plain, _ = views_of({}).pair(images, rows, seed=3, epoch=4)
    for name in OPTIONAL:
        changed, _ = views_of({name: 1.0}).pair(images, rows, seed=3, epoch=4)
        assert all(not a.equal(b) for a, b in zip(plain, changed, strict=True)), name


def test_views_of_which_none_is_drawn_are_those_without() -> None:
    """As in the parts of large views on a CPU, one row each."""
    images, rows = batch_of(photos([(30, 30)] * 8)), torch.arange(8)
    rare = dict.fromkeys(OPTIONAL, 1e-9)
    plain = views_of({}).pair(images, rows, seed=3, epoch=4)
    some = views_of(rare).pair(images, rows, seed=3, epoch=4)
    assert all(a.equal(b) for a, b in zip(plain, some, strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"rotation_degrees": 181.0},
        {"noise_sigma": 0.0},
        {"erase_p": 1.5},
        {"erase_scale": [0.5, 0.2]},
        {"erase_scale": [0.5, 1.2]},
        {"erase_ratio": [0.0, 1.0]},
    ],
)
def test_impossible_values_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        JobSpec.model_validate({"dataset": "x", "views": settings})


def test_the_only_channel_is_never_lost() -> None:
    spec = JobSpec.model_validate({"dataset": "x", "views": {"channel_drop_p": 0.1}})
    with pytest.raises(SpecError, match="one channel") as caught:
        resolve(spec, made_up_facts(channels=1, mean=(0.5,), std=(0.2,)))
    assert caught.value.field == "views.channel_drop_p"
