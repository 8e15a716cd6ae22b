"""Bytes that the fused batch norm moves: as stated, and against those of the form in torch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("triton", reason="Triton is not installed")

import triton.language as tl
from triton.runtime import interpreter

from benchmarks.suites.kernels.cases import norm_bytes_per_element
from tests.support.pretend_gpu.cuda import pretend_gpu
from trainer.accel import ops
from trainer.accel.batch_norm import GroupedBatchNorm
from trainer.accel.cuda.kernels import fused_batch_norm
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.nn.split_batchnorm import SplitBatchNorm2d

SHAPE, GROUPS = (8, 64, 8, 8), 2
ELEMENTS = 8 * 64 * 8 * 8
BF16_BYTES = 2
CPU = torch.device("cpu")


def inputs(device: torch.device) -> tuple[Tensor, Tensor, GroupedBatchNorm]:
    x, grad = (
        torch.ones(SHAPE, device=device, dtype=torch.bfloat16).contiguous(
            memory_format=torch.channels_last
        )
        for _ in range(2)
    )
    weight, bias, mean, variance = (torch.ones(SHAPE[1], device=device) for _ in range(4))
    norm = GroupedBatchNorm(
        weight.requires_grad_(), bias.requires_grad_(), mean, variance, GROUPS, 0.1, 1e-5, True
    )
    return x.requires_grad_(), grad, norm


@contextmanager
def counted_elements() -> Iterator[list[int]]:
    """Count bfloat16 values that interpreted kernels load and store."""
    counted: list[int] = []
    builder: Any = interpreter.InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store

    def counting(call: Callable[..., object], mask_at: int) -> Callable[..., object]:
        def counted_call(self: object, *args: Any) -> object:  # noqa: ANN401  # the interpreter's
            if args[0].get_element_ty() == tl.bfloat16:
                counted.append(int(args[mask_at].data.sum()))
            return call(self, *args)

        return counted_call

    with (
        mock.patch.object(builder, "create_masked_load", counting(load, 1)),
        mock.patch.object(builder, "create_masked_store", counting(store, 2)),
    ):
        yield counted


@pytest.mark.skipif(torch.cuda.is_available(), reason="counts what the interpreter does")
@pytest.mark.parametrize("adds", [False, True])
def test_each_element_is_moved_as_often_as_stated(adds: bool) -> None:
    x, grad, norm = inputs(CPU)
    with counted_elements() as counted:
        added = grad.clone().requires_grad_() if adds else None
        result = fused_batch_norm.grouped_batch_norm(x, norm, added=added)
        forward = sum(counted)
        torch.autograd.grad(result, x, grad)
    assert forward == (4 if adds else 3) * ELEMENTS
    assert sum(counted) == norm_bytes_per_element(adds) * ELEMENTS


class Moved(NamedTuple):
    """Bytes per element."""

    forward: float
    both: float
    """Forward and backward."""


def by_torch(adds: bool) -> Moved:
    """Count operands of the form in torch, its parameters left out by their share."""
    with pretend_gpu() as gpu:
        x, grad, norm = inputs(torch.device("cuda"))
        added = grad.clone().requires_grad_() if adds else None
        before = gpu.counts.operand_bytes.total()
        result = ops.grouped_batch_norm(x, norm, added=added)
        forward = gpu.counts.operand_bytes.total() - before
        result.backward()  # type: ignore[no-untyped-call]  # by a gradient of ones, which it makes like the result
        both = gpu.counts.operand_bytes.total() - before
    return Moved(forward / ELEMENTS, both / ELEMENTS - 2 * BF16_BYTES)


def norm_elements(side_px: int) -> dict[bool, int]:
    """Return elements of a row in all batch norms of a ResNet-50, by whether they add."""
    elements = {False: 0, True: 0}

    def count(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        del norm
        elements[len(args) > 1] += args[0].numel()

    with torch.device("meta"):
        encoder = build_encoder(EncoderSpec(name="resnet50"), side_px=side_px).eval()
        for module in encoder.modules():
            if isinstance(module, SplitBatchNorm2d):
                module.register_forward_pre_hook(count)
        encoder(torch.empty((1, 3, side_px, side_px)))
    return elements


def test_a_resnet_50_moves_less_than_six_tenths() -> None:
    """A row at 224 px in bfloat16: the query forward and back, the key forward."""
    elements = norm_elements(224)
    assert sum(elements.values()) == 11_113_984
    ours = sum(
        (norm_bytes_per_element(adds) + 3 + adds) * BF16_BYTES * count
        for adds, count in elements.items()
    )
    theirs = sum(sum(by_torch(adds)) * count for adds, count in elements.items())
    assert ours / 1e6 == pytest.approx(288.9, abs=0.5)
    assert ours < 0.6 * theirs
