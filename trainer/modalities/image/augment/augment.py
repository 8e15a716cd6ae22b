"""Views of a batch of rows, on the device, each row with parameters of its own.

The order is that of the recipes: crop, flip and resize in one sample; colour jitter in a random
order; grey (before the jitter for version 1); blur; solarize; normalise. Those that are off by
default come where torchvision's recipes have them: turns and rotation after the crop, noise after
solarize, a lost channel and erasing last.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from trainer.accel.ops import Accelerator, ViewForm
from trainer.modalities.image.augment import color
from trainer.modalities.image.augment.color_jitter import Jitter, jitter_, plan
from trainer.modalities.image.augment.compiled import CompiledViews
from trainer.modalities.image.augment.optional import (
    OptionalParams,
    lose_,
    rotated,
    turned,
    with_noise,
)
from trainer.modalities.image.augment.params import (
    Box,
    DrawKey,
    ViewParams,
    centre_box,
    draw,
    resized_frame,
    with_optional,
)
from trainer.modalities.image.augment.resample import (
    blur_matrices,
    blur_radius_px,
    frame_corner,
    frame_matrices,
    resize_matrices,
    separable,
    shifts,
)
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.batch import Corner, Images, PaddedImages
from trainer.modalities.image.cost import VIEW_CHUNK_BYTES_GPU

CHUNK_BYTES_CPU = 1 << 20
"""The pixels worked on at once stay in the core's own cache."""


class ImageAugmenter:
    """Stateless maker of normalized views: the same call gives the same view."""

    def __init__(
        self,
        spec: ResolvedViewsSpec,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        accelerator: Accelerator | None = None,
    ) -> None:
        """`mean` and `std` are of each channel, in [0, 1].

        `accelerator`: by code that is compiled before the first view, which knows no augmentation
        that is off by default.
        """
        self.spec = spec
        self.side_px = spec.side_px
        self.device = device
        # To touch only the rows that a step is for, their numbers must be known to the host: a
        # saving on a CPU, a wait for the device on a GPU.
        self._picks_rows = device.type == "cpu"
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device)[:, None]
        self.channels = len(mean)
        # A channel that never changes would divide by zero.
        self._std = torch.tensor(std, dtype=torch.float32, device=device)[:, None].clamp(min=1e-3)
        radius_px = blur_radius_px(spec.blur_sigma_px[1], side_px=self.side_px)
        self._shifts = shifts(radius_px, side_px=self.side_px).to(device)
        self._compiled: CompiledViews | None = None
        self.fallback_reason: str | None = None
        """Reason why views take the slower way in spite of an accelerator, or None."""
        if accelerator is not None and spec.optional:
            names = ", ".join(f"views.{name}" for name in spec.optional)
            self.fallback_reason = f"the compiled code does not know {names}"
        elif accelerator is not None:
            moments = torch.cat([self._mean, self._std], dim=1).T.contiguous()
            form = ViewForm(self.side_px, radius_px if spec.blur_p else 0, moments)
            self._compiled = CompiledViews(form, spec.grey_first, accelerator)

    @torch.no_grad()
    def views(
        self, images: Images, rows: Tensor, *, seed: int, epoch: int | Tensor, view: int
    ) -> Tensor:
        """Return one view of each row, [B, C, side, side], normalised.

        float32; of the accelerator's `view_dtype` if it is a GPU's.
        `rows` int64 [B] are the rows' numbers in the dataset, which name their random numbers.
        """
        params = self._drawn(rows, images.heights, images.widths, DrawKey(seed, epoch, view))
        return self._made(images, params)

    @torch.no_grad()
    def pair(
        self, images: Images, rows: Tensor, *, seed: int, epoch: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return views 0 and 1, as `views` makes each.

        Images may be those of the B rows, then B others that views 1 come from. What happens to
        views is drawn in one go: some fifty operations take longer to call than to do.
        """
        count = len(rows)
        view = torch.arange(2 * count, device=self.device) // count
        halves = slice(count), slice(count, None)
        has_partners = len(images.heights) > count
        heights, widths = (
            sizes if has_partners else sizes.repeat(2) for sizes in (images.heights, images.widths)
        )
        params = self._drawn(rows.repeat(2), heights, widths, DrawKey(seed, epoch, view))
        first, second = (
            self._made(images.rows(half) if has_partners else images, params.rows(half))
            for half in halves
        )
        return first, second

    def _drawn(
        self, rows: Tensor, heights: Tensor, widths: Tensor, draw_key: DrawKey
    ) -> ViewParams:
        rows = rows.to(self.device)
        spec = self.spec
        params = draw(rows, heights=heights, widths=widths, spec=spec, draw_key=draw_key)
        if not spec.optional:
            return params
        return with_optional(params, rows, channels=self.channels, spec=spec, draw_key=draw_key)

    def _made(self, images: Images, params: ViewParams) -> Tensor:
        if self._compiled is not None and isinstance(images, PaddedImages):
            return self._compiled.views(images, params)
        jitter = plan(params)
        # On a CPU rows are worked on in the order of their place of hue; see jitter_.
        order = torch.argsort(jitter.hue_at, stable=True) if self._picks_rows else None
        out = self._empty(len(params.flip))
        window_px = images.box_px(self.spec.crop_ratio)
        # Below autocast: half precision would round away more than a level of 255.
        with torch.autocast(self.device.type, enabled=False):
            for part in self._parts(len(out), window_px):
                chosen = part if order is None else order[part]
                part_params = params.rows(chosen)
                pixels = self._cut(images, chosen, part_params.box, window_px, part_params.flip)
                pixels = self._moved(pixels, part_params.optional)
                flat = self._coloured(pixels, part_params, jitter.rows(chosen))
                out[chosen] = self._finished(flat, part_params.optional)
        return out

    def _moved(self, pixels: Tensor, params: OptionalParams | None) -> Tensor:
        """Turn and rotate [B, C, side, side]."""
        if params is None:
            return pixels
        if self.spec.vertical_flip_p > 0.0 or self.spec.quarter_turn_p > 0.0:
            pixels = turned(pixels, params)
        if self.spec.rotation_p > 0.0:
            chosen = self._picked(params.degrees != 0.0)
            pixels[chosen] = rotated(pixels[chosen], params.degrees[chosen])
        return pixels

    def _finished(self, flat: Tensor, params: OptionalParams | None) -> Tensor:
        """Add noise to [B, C, side x side], normalize, and take a channel and a part away."""
        if params is None:
            return self._normalised(flat)
        if self.spec.noise_p > 0.0:
            chosen = self._picked(params.noise_sigma > 0.0)
            some = params.rows(chosen)
            flat[chosen] = with_noise(flat[chosen], some.noise_sigma, some.noise_key)
        pixels = self._normalised(flat)
        lose_(pixels, params)
        return pixels

    def _picked(self, mask: Tensor) -> Tensor | slice:
        """Return the rows of a mask [B]; all rows where the host should not wait to know them."""
        return torch.nonzero(mask)[:, 0] if self._picks_rows else slice(None)

    @torch.no_grad()
    def center_crop(self, images: Images) -> Tensor:
        """Return the rows unchanged but for size, float32 [B, C, side, side], normalized.

        The square in the middle, resized with antialiasing; `views.evaluation_crop` says which of
        the two comes first.
        """
        if self.spec.evaluation_crop == "resize":
            return self._framed(images)
        box = centre_box(images.heights, images.widths)
        if self._compiled is not None and isinstance(images, PaddedImages):
            return self._compiled.center_crop(images, box)
        out = self._empty(len(images.heights))
        window_px = images.box_px((1.0, 1.0))
        with torch.autocast(self.device.type, enabled=False):
            for part in self._parts(len(out), window_px):
                pixels = self._cut(images, part, box.rows(part), window_px, None)
                out[part] = self._normalised(pixels.flatten(2))
        return out

    def _framed(self, images: Images) -> Tensor:
        heights, widths = images.heights, images.widths
        frame = resized_frame(heights, widths, sent=images.sent, side_px=self.side_px)
        out = self._empty(len(heights))
        window_px = images.frame_px(self.side_px)
        with torch.autocast(self.device.type, enabled=False):
            for part in self._parts(len(out), window_px):
                chosen = frame.rows(part)
                begins = partial(frame_corner, chosen, side_px=self.side_px)
                window, corner = images.window(part, begins, window_px)
                down, across = frame_matrices(
                    chosen,
                    (heights[part], widths[part]),
                    window_px=window_px,
                    side_px=self.side_px,
                    corner=corner,
                )
                pixels = self._resized(window, down, across, is_plain=images.is_plain)
                out[part] = self._normalised(pixels.flatten(2))
        return out

    def _empty(self, rows: int) -> Tensor:
        return torch.empty((rows, self.channels, self.side_px, self.side_px), device=self.device)

    def _parts(self, total: int, window_px: tuple[int, int]) -> Iterator[slice]:
        """Yield the rows to work on together."""
        row_bytes = 4 * self.channels * max(window_px[0] * window_px[1], self.side_px**2)
        limit_bytes = VIEW_CHUNK_BYTES_GPU if self.device.type == "cuda" else CHUNK_BYTES_CPU
        rows = max(1, limit_bytes // row_bytes)
        for start in range(0, total, rows):
            yield slice(start, start + rows)

    def _cut(
        self,
        images: Images,
        chosen: Tensor | slice,
        box: Box,
        window_px: tuple[int, int],
        flip: Tensor | None,
    ) -> Tensor:
        """Crop, flip and resize to float32 [B, C, side, side] in [0, 1]."""
        window, corner = images.window(chosen, lambda: Corner(box.top, box.left), window_px)
        down, across = resize_matrices(
            box, window_px=window_px, side_px=self.side_px, corner=corner, flip=flip
        )
        return self._resized(window, down, across, is_plain=images.is_plain)

    def _resized(self, window: Tensor, down: Tensor, across: Tensor, *, is_plain: bool) -> Tensor:
        """Apply the matrices of `resample`; the result is in [0, 1]."""
        if is_plain:
            across.div_(255.0)
        return separable(window, down, across)

    def _coloured(self, pixels: Tensor, params: ViewParams, jitter: Jitter) -> Tensor:
        """Apply everything after the crop; float32 [B, C, side x side] in [0, 1]."""
        flat = pixels.flatten(2)
        if self.spec.grey_first and self.spec.grey_p > 0.0:
            color.grey_(flat, params.grey)
        if self.spec.jitter_p > 0.0:
            hue_at = jitter.hue_at.tolist() if self._picks_rows else None
            jitter_(flat, jitter, hue_at=hue_at, hue=self.spec.hue > 0.0 and self.channels == 3)
        if not self.spec.grey_first and self.spec.grey_p > 0.0:
            color.grey_(flat, params.grey)
        if self.spec.blur_p:
            self._blur_(pixels, params.sigma_px)
        if self.spec.solarize_p > 0.0:
            color.solarize_(flat, params.solarize)
        return flat

    def _blur_(self, pixels: Tensor, sigma_px: Tensor) -> None:
        """Blur float32 [B, C, side, side] in place by a Gaussian."""
        blurred = self._picked(sigma_px > 0.0)
        matrix = blur_matrices(sigma_px[blurred], self._shifts, side_px=self.side_px)
        pixels[blurred] = separable(pixels[blurred], matrix, matrix)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Normalize [B, C, side x side] in [0, 1] to [B, C, side, side]."""
        pixels.sub_(self._mean).div_(self._std)
        return pixels.view(-1, self.channels, self.side_px, self.side_px)
