"""The warning that views ask for more pixels than a dataset stores, against drawn crops."""

import numpy as np
import pytest

from tests.support.data.dataset_facts import made_up_facts
from trainer.modalities.image.augment.spec import ViewsSpec
from trainer.modalities.image.resolution_warning import enlarged_views
from trainer.schema.events import DatasetFacts, DataWarning, SideHistogram
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec


def facts(*, stored_px: int, sent_px: int) -> DatasetFacts:
    sides = SideHistogram(edges_px=(sent_px, sent_px + 1), rows=(1000,))
    return made_up_facts(side_px=stored_px, rows=1000, sides_sent=sides)


def warned(
    dataset: DatasetFacts, side_px: int, scale: tuple[float, float] = (0.2, 1.0)
) -> DataWarning | None:
    sent = JobSpec(dataset="x", views=ViewsSpec(side_px=side_px, crop_scale=scale))
    return enlarged_views(resolve(sent, dataset).spec, dataset)


@pytest.mark.parametrize("side_px", [160, 224, 384])
def test_the_share_is_that_of_drawn_crops(side_px: int) -> None:
    areas = np.random.default_rng(0).uniform(0.2, 1.0, 100_000)
    share = float(np.mean(256 * np.sqrt(areas) < side_px))
    warning = warned(facts(stored_px=256, sent_px=1200), side_px)
    assert (warning is not None) == (share >= 0.3)
    if warning is not None:
        told = float(warning.message.partition("%")[0]) / 100
        assert told == pytest.approx(share, abs=0.01)


def test_the_side_that_is_named_is_enough() -> None:
    warning = warned(facts(stored_px=256, sent_px=1200), 224)
    assert warning is not None
    assert "--side-px-max 501" in warning.hint
    assert warned(facts(stored_px=501, sent_px=1200), 224) is None


def test_images_that_were_small_are_no_fault() -> None:
    assert warned(facts(stored_px=8, sent_px=8), 32) is None
