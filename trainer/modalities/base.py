"""Contract of a modality: it turns rows of a pack into views, and builds the encoder of views.

The engine, the evaluators and the exports know modalities by this contract alone; a method knows
none. `Raw` is whatever a modality keeps of a batch on the device before any randomness.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from trainer.accel.device import DeviceContext
from trainer.accel.ops import Accelerator
from trainer.data.modality import IngestModality
from trainer.data.pack.format import Pack
from trainer.modalities.registry import DEFAULT, part_of
from trainer.nn.views import View
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec
from trainer.timing.phase_timer import NullTimer

__all__ = ["Loader", "Modality", "Raw", "Views", "load_ingest_modality", "load_modality"]


class Raw(Protocol):
    """Rows of one batch on the device, as they are stored."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors that views are made from, in a fixed order."""

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Self:
        """Return the same with other tensors in the order of `tensors`: how a graph reads it."""


R_co = TypeVar("R_co", bound=Raw, covariant=True)
R_contra = TypeVar("R_contra", bound=Raw, contravariant=True)
R = TypeVar("R", bound=Raw)


class Loader(Protocol[R_co]):
    """Rows of one open pack on a device. Used in a `with`, it ends its threads."""

    pack: Pack
    device: torch.device
    timer: NullTimer
    """Timer of the run that trains on it."""

    @property
    def is_resident(self) -> bool:
        """True if all rows are on the device, so that none is ever gathered."""

    def raw(self, rows: Tensor, *, sent: Tensor | None = None) -> R_co:
        """Return the rows of an int64 tensor [B], to make random views of.

        `sent` are the same rows on the device, if they are there already.
        """

    def whole(self, rows: Tensor) -> R_co:
        """Return the rows with all that `Views.plain` needs to know about them."""

    def prefetch(self, rows: Tensor) -> None:
        """Begin to gather rows that a coming call of `raw` or `whole` will ask for."""

    def close(self) -> None:
        """End the threads."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Views(Protocol[R_contra]):
    """Augmentation of one job."""

    @property
    def fallback_reason(self) -> str | None:
        """Reason why views take a slower way than the job was given, or None if there is none."""

    def random(
        self, raw: R_contra, rows: Tensor, *, seed: int, epoch: int | Tensor
    ) -> tuple[View, ...]:
        """Return the random views of each row: two, or as many as the job's `views.count`.

        `raw` may hold the B rows and then B others: all views but the first then come from those.
        `rows` int64 [B] are the rows' numbers in the dataset: with seed, epoch and view they name
        the random numbers. `epoch` may be an int64 tensor [] on the device. Waits for no device.
        """

    def first(self, raw: R_contra, rows: Tensor, *, seed: int, epoch: int | Tensor) -> View:
        """Return the first view of `random` alone."""

    def plain(self, raw: R_contra) -> View:
        """Return one view of each row without randomness, for evaluation and export."""

    def raw_features(self, view: View) -> Tensor:
        """Return the input itself as features [B, D]: the baseline that an encoder must beat."""

    def raw_map(self, view: View, *, grid: tuple[int, int]) -> Tensor:
        """Return the input itself as a map [B, D, h, w] of a grid: the baseline of feature maps."""

    def masks(self, pack: Pack, rows: Tensor, *, lows: Sequence[int]) -> Tensor:
        """Return the class of each pixel of `plain`, uint8 [n, S, S] on the host.

        A class has the values of the pack's masks from its value in `lows` to below the next.
        """


class Modality(Protocol[R]):
    """A kind of data. One object of each is `MODALITY` in `trainer.modalities.<name>.modality`."""

    def open_pack(self, folder: Path, spec: JobSpec, *, like: DatasetFacts | None = None) -> Pack:
        """Open a pack as a job sees it; `like`: a test dataset of the dataset with these facts.

        Raises DataError or DatasetMissing, and SpecError for a test dataset of another kind.
        """

    def decoder(self, *datasets: DatasetFacts) -> str:
        """Return name and version of what decodes rows when they are read; empty if nothing does.

        Another decoder may give other values: it is part of the fingerprint of a run.
        """

    def loader(
        self, pack: Pack, context: DeviceContext, *, threads: int, like: DatasetFacts | None = None
    ) -> Loader[R]:
        """Return the rows of a pack on a device; `like`: read as those of another dataset are."""

    def accelerator(
        self, spec: ResolvedSpec, facts: DatasetFacts, context: DeviceContext
    ) -> Accelerator | None:
        """Return permission to use compiled code where that pays. Depends on nothing else."""

    def views(
        self,
        spec: ResolvedSpec,
        facts: DatasetFacts,
        context: DeviceContext,
        *,
        accelerator: Accelerator | None = None,
    ) -> Views[R]:
        """Return the augmentation of a job."""

    def encoder(self, spec: ResolvedSpec, *, accelerator: Accelerator | None = None) -> nn.Module:
        """Return the encoder of a job, its weights drawn from the global CPU generator.

        It has `feature_dim` and is called with the tensors of a view: `encoder(*view)`.
        """


def load_modality(name: str) -> Modality[Any]:
    """Return `trainer.modalities.<name>.modality.MODALITY`."""
    return cast(Modality[Any], part_of(name, "modality").MODALITY)


def load_ingest_modality(name: str = DEFAULT) -> IngestModality[Any]:
    """Return `trainer.modalities.<name>.ingest.INGEST`."""
    return cast(IngestModality[Any], part_of(name, "ingest").INGEST)
