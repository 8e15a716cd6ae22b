"""Images: the parts of the modality, put together."""

import os
from pathlib import Path

import torch
from torch import nn

from trainer.accel.device import DeviceContext
from trainer.accel.ops import Accelerator
from trainer.data.pack.format import Pack
from trainer.modalities.image.augment.compiled import is_worth_compiling
from trainer.modalities.image.augment.normalization import normalization
from trainer.modalities.image.defaults import RGB, check_alike
from trainer.modalities.image.encoders.factory import encoder_for
from trainer.modalities.image.jpeg_rows import decoder
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.random_views import ImageViews, views_of
from trainer.modalities.image.spec import image_views, resolved_views
from trainer.modalities.image.values import PLAIN, bounds_of, open_seen
from trainer.schema.events import DatasetFacts
from trainer.spec.defaults import trained_on
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec


class ImageModality:
    """Images of any size, with 1 to 16 channels of 8 or 16 bits."""

    def open_pack(self, folder: Path, spec: JobSpec, *, like: DatasetFacts | None = None) -> Pack:
        """Open a pack, its values seen in the range that the job states.

        The values of a test dataset are seen as those of the dataset, which `loader` is told.
        """
        if like is None:
            return open_seen(folder, image_views(spec).window)
        pack = Pack.open(folder)
        check_alike(like, pack.facts)
        return pack

    def decoder(self, *datasets: DatasetFacts) -> str:
        """Return Pillow's version and that of its JPEG library, if rows are kept as JPEG."""
        return decoder() if any(facts.stored_as == "jpeg" for facts in datasets) else ""

    def loader(
        self, pack: Pack, context: DeviceContext, *, threads: int, like: DatasetFacts | None = None
    ) -> PackLoader:
        """Return the rows of a pack, their values seen as those of the dataset `like`."""
        if pack.facts.stored_as == "jpeg" and context.device.type == "cuda":
            threads = max(threads, len(os.sched_getaffinity(0)))  # the host has nothing else to do
        seen = None if like is None else like.values or PLAIN
        return PackLoader(pack, device=context.device, threads=threads, seen=seen)

    def accelerator(
        self, spec: ResolvedSpec, facts: DatasetFacts, context: DeviceContext
    ) -> Accelerator | None:
        """Return compiled code where it pays; it handles 8 bits of red, green and blue only."""
        is_plain = facts.dtype == "uint8" and bounds_of(facts) == (0.0, 255.0)
        if not is_plain or facts.channels != RGB:
            return None
        if context.fused_kernels:
            return Accelerator(view_dtype=torch.bfloat16 if context.bf16 else torch.float32)
        pays = is_worth_compiling(
            rows=trained_on(spec, facts).rows,
            epochs=spec.epochs,
            side_px=resolved_views(spec).side_px,
            row_px=facts.side_px_median,
            device=context.device,
            views=spec.views_per_row,
        )
        return Accelerator(torch.get_num_threads()) if pays else None

    def views(
        self,
        spec: ResolvedSpec,
        facts: DatasetFacts,
        context: DeviceContext,
        *,
        accelerator: Accelerator | None = None,
    ) -> ImageViews:
        """Return the augmentation, normalized as the spec says."""
        settings = resolved_views(spec)
        return views_of(
            settings,
            normalization(settings, facts),
            device=context.device,
            accelerator=accelerator,
        )

    def encoder(self, spec: ResolvedSpec, *, accelerator: Accelerator | None = None) -> nn.Module:
        """Return the convolutional network that the spec names."""
        return encoder_for(spec, accelerator)


MODALITY = ImageModality()
