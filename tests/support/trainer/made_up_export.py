"""A run that is about to publish: made-up images, an untrained encoder and a history."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.support.data.tiny_pack import write_pack
from trainer.data.pack.format import Pack
from trainer.exports.base import Export
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.spec import ViewsSpec
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderName, EncoderSpec
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.random_views import ImageViews
from trainer.modalities.image.spec import image_encoder, resolved_views
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

ROWS, SIDE = 40, 16
CLASSES = ("dark", "light")
CPU = torch.device("cpu")


def made_up_images(*, height: int = SIDE, width: int = SIDE) -> tuple[NDArray[Any], NDArray[Any]]:
    """Noise, dark or light, with one channel that never changes; the last row has no label."""
    numbers = np.random.default_rng(0).integers(0, 90, (ROWS, height, width, 3))
    labels = (np.arange(ROWS) % 2).astype(np.int32)
    images = (numbers + 150 * labels[:, None, None, None]).astype(np.uint8)
    images[..., 2] = 77
    labels[-1] = -1
    return images, labels


def made_up_export(
    name: EncoderName,
    folder: Path,
    *,
    history: list[dict[str, float]] | None = None,
    height: int = SIDE,
    side: int = SIDE,
) -> Export:
    images, labels = made_up_images(height=height)
    facts = write_pack(folder / "pack", images, labels, classes=CLASSES)
    pack = Pack.open(folder / "pack")
    spec = JobSpec(
        dataset="/some/where/squares",
        name="A|B job",
        encoder=EncoderSpec(name=name),
        views=ViewsSpec(side_px=side),
    )
    resolved = resolve(spec, facts)
    torch.manual_seed(0)
    encoder = build_encoder(image_encoder(resolved.spec), side_px=side, bn_splits=4)
    encoder(torch.randn(8, 3, side, side))  # so that the running statistics are not the first ones
    return Export(
        spec=resolved.spec,
        reasons=resolved.reasons,
        facts=facts,
        encoder=encoder.eval(),
        source=PackLoader(pack, device=CPU),
        views=ImageViews(
            ImageAugmenter(
                resolved_views(resolved.spec), mean=facts.mean, std=facts.std, device=CPU
            )
        ),
        pack=pack,
        history=made_up_history() if history is None else history,
        exact=True,
        step=60,
    )


def made_up_history() -> list[dict[str, float]]:
    return [
        {
            "step": float(step),
            "loss": 5.0 - step / 100,
            "chance_loss": 4.5,
            "epoch": step / 2,
            "top1": 0.8,
            "negatives_fill_ratio": 1.0,
            "knn_top1": 0.5 + step / 200,
            "knn_top1_raw": 0.6,
            "knn_top1_untrained": 0.4,
            "knn_top1_majority": 0.25,
            "embedding_std_ratio": 0.9,
            "rows_per_s": 9e9 / step,
        }
        for step in range(1, 61)
    ]
