"""A round of evaluators of a tiny job, whose encoder is never trained."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.data.pack.format import Pack
from trainer.evaluators.base import EvaluationData, FeatureBank, Measured
from trainer.evaluators.runner import plan_evaluation
from trainer.methods.base import Method, load_method
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.encoders.factory import encoder_for
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.modality import ImageViews
from trainer.modalities.image.spec import resolved_views
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")


class Planned(NamedTuple):
    """One evaluator of a job with its features."""

    evaluator: Any
    bank: FeatureBank
    method: Method
    labels: NDArray[np.int64]

    def measure(self) -> Measured:
        """Return the results of a round."""
        self.method.eval()
        measured: Measured = self.evaluator.measure(self.bank)
        return measured


def planned(
    folder: Path,
    settings: dict[str, Any],
    *,
    rows: int = 120,
    labels: NDArray[np.integer[Any]] | None = None,
    tested: NDArray[np.integer[Any]] | None = None,
) -> Planned:
    """Plan an evaluator for made-up images; `labels` and `tested` replace those of both packs.

    With `tested` the job has a test dataset of as many images.
    """
    images, own = blobs(rows, side_px=12, classes=len(CLASSES))
    own = own if labels is None else labels.astype(own.dtype)
    facts = write_pack(folder / "pack", images, own, classes=CLASSES)
    source = PackLoader(Pack.open(folder / "pack"), device=CPU)
    test_source = None
    if tested is not None:
        others, _ = blobs(len(tested), side_px=12, classes=len(CLASSES))
        write_pack(folder / "test", others, tested.astype(own.dtype), classes=CLASSES)
        test_source = PackLoader(Pack.open(folder / "test"), device=CPU)
    words = {"dataset": "x", "encoder": {"name": "small"}, "evaluation": settings}
    spec = resolve(JobSpec.model_validate(words), facts).spec
    views = ImageViews(
        ImageAugmenter(resolved_views(spec), mean=facts.mean, std=facts.std, device=CPU)
    )
    plan = plan_evaluation(spec, EvaluationData(source, test_source), views=views)
    method = load_method(spec, partial(encoder_for, spec), bf16=False)
    (evaluator,) = plan.evaluators
    bank = FeatureBank(method, views, should_stop=lambda: False)
    return Planned(evaluator, bank, method, own.astype(np.int64))
