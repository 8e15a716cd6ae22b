"""An evaluator: it chooses its rows once and measures the features of them in every round."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from trainer.accel.transfer import send_together
from trainer.methods.base import Method
from trainer.modalities.base import Loader, Views
from trainer.nn.views import View
from trainer.pretexts.base import Prediction
from trainer.schema.evaluation import Cell, Figure

FEATURE_ROWS = 512
"""Rows of one forward pass."""

Feature = Literal["backbone", "projection", "input"]
"""Output of the encoder, of the projection head, or the network's input as it is."""


class Stopped(Exception):  # no error: the run was told to stop
    """A round was cut short because the run is to stop."""


class EvaluationData(NamedTuple):
    """Datasets of a job that evaluators choose rows from."""

    source: Loader[Any]
    test_source: Loader[Any] | None


class Measured(NamedTuple):
    """Result of one evaluator in one round."""

    signals: dict[str, float]
    """By the names in the SIGNALS of its spec; for events, curves and metrics."""
    figures: tuple[Figure, ...] = ()
    """Figures with intervals, for `evaluation.json`; `trainer.evaluators.intervals` makes them."""
    tables: Mapping[str, Sequence[Mapping[str, Cell]]] = MappingProxyType({})
    """By the names in the TABLES of its spec. Floats are finite; at most TABLE_ROWS_MAX rows."""
    notes: tuple[str, ...] = ()
    """Sentences to read with the figures."""


class NotMeasured(NamedTuple):
    """An evaluator that a dataset does not suit."""

    reason: str
    """Sentence for the log."""


class FeatureBank:
    """Features of one method in one round. Rows that several evaluators ask for pass once.

    The ranks of a job share the rows and exchange the features: every rank then has them all, and
    evaluates alike.
    """

    def __init__(
        self, method: Method, views: Views[Any], *, should_stop: Callable[[], bool]
    ) -> None:
        """`should_stop` is asked on every rank; the answer of rank 0 counts."""
        self._method, self._views, self._should_stop = method, views, should_stop
        self._kept: dict[tuple[str, int, bytes], Tensor] = {}

    def features(self, source: Loader[Any], rows: Tensor, *, feature: Feature) -> Tensor:
        """Return features [n, D] of rows int64 [n] of a dataset, in their order. Raises Stopped.

        `input` is not kept for others: it is larger than features, and cheap to make.
        """

        def of_rows(raw: Any, _chunk: Tensor) -> tuple[Tensor]:  # noqa: ANN401 - the loader's
            return (self._of_view(self._views.plain(raw), feature),)

        if feature == "input":
            return self._computed(source.whole, source, rows, of_rows)[0]
        key = (feature, id(source), rows.numpy().tobytes())
        if key not in self._kept:
            (self._kept[key],) = self._computed(source.whole, source, rows, of_rows)
        return self._kept[key]

    def pairs(
        self, source: Loader[Any], rows: Tensor, *, feature: Feature, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Return features [n, D] of two random views of each row. Raises Stopped.

        The views are those of training, by random numbers that (seed, row) name.
        """

        def of_rows(raw: Any, chunk: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - the loader's
            (numbers,) = send_together((chunk,), source.device)
            views = self._views.random(raw, numbers, seed=seed, epoch=0)[:2]
            return tuple(self._of_view(view, feature) for view in views)

        first, second = self._computed(source.raw, source, rows, of_rows)
        return first, second

    def pretext_scores(self, source: Loader[Any], rows: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Return the scores of each pretext of the job, [n] each, by its name. Raises Stopped.

        The views are those of evaluation, corrupted by random numbers that (seed, row) name.
        """
        pretexts = self._method.pretexts
        assert pretexts is not None

        def of_rows(raw: Any, chunk: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - the loader's
            drawn = send_together(pretexts.random_inputs(chunk, step=0), source.device)
            embed = partial(self._method.embed, feature="backbone")
            predictions = pretexts.predict(embed, self._views.plain(raw), drawn)
            return tuple(tensor for prediction in predictions for tensor in prediction)

        tensors = self._computed(source.whole, source, rows, of_rows)
        pairs = zip(
            pretexts.named.items(), zip(tensors[::2], tensors[1::2], strict=True), strict=True
        )
        return {name: part.scores(Prediction(*pair)) for (name, part), pair in pairs}

    def dense(self, source: Loader[Any], rows: Tensor, *, feature: Feature) -> Tensor:
        """Return the feature maps [n, D, h, w] of rows before pooling. Raises Stopped.

        Those of `input` have the same grid.
        """

        def of_rows(raw: Any, _chunk: Tensor) -> tuple[Tensor]:  # noqa: ANN401 - the loader's
            view = self._views.plain(raw)
            if feature != "input":
                return (self._method.embed(view, feature="dense"),)
            first = type(view)(*(tensor[:1] for tensor in view))
            height, width = self._method.embed(first, feature="dense").shape[2:]
            return (self._views.raw_map(view, grid=(height, width)),)

        return self._computed(source.whole, source, rows, of_rows)[0]

    def masks(self, source: Loader[Any], rows: Tensor, *, lows: Sequence[int]) -> Tensor:
        """Return the class of each pixel of rows as they are seen, uint8 [n, S, S] on the host."""
        return self._views.masks(source.pack, rows, lows=lows)

    def stop_if_asked(self) -> None:
        """Raise Stopped, on all ranks, if the run is to stop."""
        if self._method.world.agreed(self._should_stop):
            raise Stopped

    def stop_if_alone(self) -> None:
        """Raise Stopped if the run is to stop and has no other ranks.

        For loops that may ask another number of times on another machine: ranks that agree must
        all ask as often.
        """
        if self._method.world.size == 1:
            self.stop_if_asked()

    def _of_view(self, view: View, feature: Feature) -> Tensor:
        if feature == "input":
            return self._views.raw_features(view)
        return self._method.embed(view, feature=feature)

    @torch.no_grad()
    def _computed(
        self,
        load: Callable[[Tensor], Any],
        source: Loader[Any],
        rows: Tensor,
        of_rows: Callable[[Any, Tensor], tuple[Tensor, ...]],
    ) -> tuple[Tensor, ...]:
        """Return what `of_rows` makes of all rows; it gets what `load` gives, and their numbers."""
        world, parts = self._method.world, []
        # The last rows may be those of the beginning: each rank has as many.
        places = torch.arange(world.rank, world.size * -(-len(rows) // world.size), world.size)
        own = rows[places % len(rows)]
        chunks = [own[i : i + FEATURE_ROWS] for i in range(0, len(own), FEATURE_ROWS)]
        for chunk, following in zip_longest(chunks, chunks[1:]):
            self.stop_if_asked()
            raw = load(chunk)
            if following is not None:
                source.prefetch(following)
            parts.append(of_rows(raw, chunk))
        gathered = world.all_gather([torch.cat(part) for part in zip(*parts, strict=True)])
        return tuple(each.transpose(0, 1).flatten(0, 1)[: len(rows)] for each in gathered)


class Evaluator(Protocol):
    """An evaluator with its rows, as `plan` in its `evaluator.py` returns it."""

    @property
    def name(self) -> str:
        """Its name in the spec."""

    @property
    def every_epochs(self) -> int:
        """Epochs between its rounds; the last epoch is always measured."""

    @property
    def has_baselines(self) -> bool:
        """True if `baselines` is to be asked before the first step."""

    def measure(self, bank: FeatureBank) -> Measured:
        """Return the figures of the encoder as it is. Raises Stopped."""

    def baselines(self, bank: FeatureBank) -> Measured:
        """Return the figures to compare with; the method is still untrained. Raises Stopped."""
