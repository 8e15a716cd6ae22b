"""Batches that the kernels are checked and timed on, and the bytes that they move."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor

from trainer.accel import ops
from trainer.accel.batch_norm import GroupedBatchNorm
from trainer.accel.cuda.kernels import fused_views
from trainer.accel.ops import Accelerator, ViewForm
from trainer.modalities.image.augment import compiled
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.batch import PaddedImages

MOMENTUM, EPS = 0.1, 1e-5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class NormCase:
    """One batch norm of a network, forward and backward."""

    name: str
    shape: tuple[int, int, int, int]
    groups: int
    dtype: torch.dtype = torch.bfloat16
    adds: bool = False
    """True if a shortcut is added before the ReLU."""

    def moved_bytes(self) -> float:
        """Return what the kernels read and write forward and backward, parameters left out."""
        rows, channels, height, width = self.shape
        element_bytes = torch.finfo(self.dtype).bits // 8
        return norm_bytes_per_element(self.adds) * element_bytes * rows * channels * height * width


def norm_bytes_per_element(adds: bool) -> int:
    """Return times that an element is read or written, forward (3 or 4) and backward (5 or 7)."""
    return 11 if adds else 8


NORMS = (
    NormCase("stem of ResNet-50", (64, 64, 112, 112), 8),
    NormCase("stage 1, with its shortcut", (64, 256, 56, 56), 8, adds=True),
    NormCase("stage 4", (64, 2048, 7, 7), 8),
    NormCase("32 px", (512, 64, 32, 32), 8),
    NormCase("fp32, contiguous", (32, 128, 28, 28), 4, torch.float32, adds=True),
)
TINY_NORMS = (
    NormCase("bf16, channels_last", (4, 6, 3, 5), 2, adds=True),
    NormCase("fp32, contiguous", (4, 5, 2, 3), 2, torch.float32),
)


@dataclass(frozen=True, slots=True)
class NormInputs:
    """Tensors of a case on a device."""

    case: NormCase
    x: Tensor
    added: Tensor | None
    grad: Tensor
    affine: Tensor
    """Weight and bias, float32 [2, C]."""

    def to(self, dtype: torch.dtype) -> "NormInputs":
        """Return the same values in another precision."""
        added = None if self.added is None else self.added.to(dtype)
        affine = self.affine.to(dtype)
        return NormInputs(self.case, self.x.to(dtype), added, self.grad.to(dtype), affine)

    def result(self, form: Callable[..., Tensor]) -> list[Tensor]:
        """Return the output, the running statistics and all gradients by one form."""
        weight, bias = (each.clone().requires_grad_() for each in self.affine)
        mean, variance = torch.zeros_like(self.affine)
        norm = GroupedBatchNorm(
            weight, bias, mean, variance, self.case.groups, momentum=MOMENTUM, eps=EPS, relu=True
        )
        inputs = [
            each.detach().requires_grad_() for each in (self.x, self.added) if each is not None
        ]
        output = form(inputs[0], norm, added=inputs[1] if len(inputs) > 1 else None)
        gradients = torch.autograd.grad(output, [*inputs, weight, bias], self.grad)
        return [output.detach(), mean, variance, *gradients]


def norm_inputs(case: NormCase, device: torch.device) -> NormInputs:
    """Draw the tensors of a case; bfloat16 is channels_last, as in training."""
    drawn = [torch.randn(case.shape, device=device).to(case.dtype) for _ in range(3)]
    if case.dtype == torch.bfloat16:
        drawn = [each.contiguous(memory_format=torch.channels_last) for each in drawn]
    x, added, grad = drawn
    affine = torch.randn((2, case.shape[1]), device=device)
    return NormInputs(case, 2.0 * x + 1.0, added if case.adds else None, grad, affine)


def torch_norm(x: Tensor, norm: GroupedBatchNorm, *, added: Tensor | None) -> Tensor:
    """Return the result of the form in torch."""
    return ops.grouped_batch_norm(x, norm, added=added)


@dataclass(frozen=True, slots=True)
class ViewCase:
    """A batch of views of MoCo v2."""

    rows: int
    row_px: int
    side_px: int

    def moved_bytes(self, *, element_bytes: int, blur_p: float) -> float:
        """Return at most what the kernels read and write for a batch."""
        source, view = 3.0 * self.row_px**2, 3.0 * self.side_px**2
        return self.rows * (2 * source + element_bytes * view + blur_p * 16 * view)


VIEWS, TINY_VIEWS = ViewCase(256, 256, 224), ViewCase(3, 12, 9)


@contextmanager
def interpreted_views() -> Iterator[None]:
    """Send images on a CPU to the GPU's kernels, where the trainer has others for them."""

    def augment(
        pixels: Tensor,
        parameters: Sequence[Tensor],
        *,
        form: ViewForm,
        accelerator: Accelerator,
        dtype: torch.dtype,
    ) -> Tensor:
        del accelerator
        return fused_views.augment(pixels, parameters, form=form, dtype=dtype)

    with mock.patch.object(compiled, "augment", augment):
        yield


def augmenter(
    case: ViewCase, device: torch.device, accelerator: Accelerator | None
) -> ImageAugmenter:
    """Return the views of MoCo v2, by the fused form with an accelerator."""
    spec = ResolvedViewsSpec(
        side_px=case.side_px, crop_scale=(0.2, 1.0), blur_p=0.5, evaluation_crop="resize"
    )
    return ImageAugmenter(spec, mean=MEAN, std=STD, device=device, accelerator=accelerator)


def images(case: ViewCase, device: torch.device) -> PaddedImages:
    """Draw rows of noise."""
    shape = (case.rows, 3, case.row_px, case.row_px)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    sides = torch.full((case.rows,), case.row_px, device=device)
    return PaddedImages(pixels, sides, sides)
