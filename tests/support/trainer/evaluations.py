"""One evaluator of a job over a made-up pack, with an untrained method."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.data.pack.format import Pack
from trainer.evaluators.base import EvaluationData, FeatureBank, Measured
from trainer.evaluators.runner import Evaluation, plan_evaluation
from trainer.methods.base import Method, load_method
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.encoders.factory import encoder_for
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.random_views import ImageViews
from trainer.modalities.image.spec import resolved_views
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")


@dataclass(frozen=True)
class Evaluating:
    """A job with one evaluator."""

    spec: ResolvedSpec
    evaluation: Evaluation
    method: Method

    @property
    def evaluator(self) -> Any:  # noqa: ANN401  # tests know which
        """The job's only one."""
        (evaluator,) = self.evaluation.evaluators
        return evaluator

    def measure(self) -> Measured:
        """Measure the method."""
        measured: Measured = self.evaluator.measure(self.bank())
        return measured

    def baselines(self) -> Measured:
        """Measure the baselines."""
        measured: Measured = self.evaluator.baselines(self.bank())
        return measured

    def bank(self, should_stop: Callable[[], bool] = lambda: False) -> FeatureBank:
        """Return the features of a round, none of them computed yet."""
        self.method.eval()
        return FeatureBank(self.method, self.evaluation.views, should_stop=should_stop)


def labelled_pack(
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int32] | None,
    *,
    classes: Sequence[str] = (),
) -> Path:
    """Write a pack and return its folder."""
    write_pack(folder, images, labels, classes=tuple(classes))
    return folder


def evaluating(
    evaluation: dict[str, Any],
    pack: Path,
    *,
    test: Path | None = None,
    **settings: Any,  # noqa: ANN401
) -> Evaluating:
    """Return a job of the small encoder, with its evaluator planned."""
    source = PackLoader(Pack.open(pack), device=CPU)
    facts = source.pack.facts
    words = {"dataset": "x", "encoder": {"name": "small"}, "evaluation": evaluation}
    spec = resolve(JobSpec.model_validate(words | settings), facts).spec
    views = ImageViews(
        ImageAugmenter(resolved_views(spec), mean=facts.mean, std=facts.std, device=CPU)
    )
    test_source = None if test is None else PackLoader(Pack.open(test), device=CPU)
    plan = plan_evaluation(spec, EvaluationData(source, test_source), views=views)
    return Evaluating(spec, plan, load_method(spec, partial(encoder_for, spec), bf16=False))


def evaluating_blobs(
    folder: Path,
    evaluation: dict[str, Any],
    *,
    rows: int = 120,
    labels: NDArray[np.integer[Any]] | None = None,
    tested: NDArray[np.integer[Any]] | None = None,
) -> Evaluating:
    """Return a job on blobs; `labels` and `tested` replace their labels and those of test images.

    With `tested` the job has a test dataset of as many images.
    """
    images, own = blobs(rows, side_px=12, classes=len(CLASSES))
    given = own if labels is None else labels.astype(own.dtype)
    pack, test = labelled_pack(folder / "pack", images, given, classes=CLASSES), None
    if tested is not None:
        others, _ = blobs(len(tested), side_px=12, classes=len(CLASSES))
        given = tested.astype(own.dtype)
        test = labelled_pack(folder / "test", others, given, classes=CLASSES)
    return evaluating(evaluation, pack, test=test)
