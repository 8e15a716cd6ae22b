"""Backward in Python. Torch's engine asks the driver for a GPU's streams, and there is no driver.

See https://github.com/pytorch/pytorch/issues/92627.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor

ACCUMULATE = "torch::autograd::AccumulateGrad"
Node = Any
"""torch.autograd.graph.Node, whose metadata torch's types do not know."""


@torch.no_grad()
def backward(loss: Tensor) -> None:
    """Add the gradients of a loss [] to its leaves, as `Tensor.backward` does."""
    root: Node = loss.grad_fn
    waiting = _edges_into(root)
    gradients: dict[Node, dict[int, Tensor]] = {root: {0: torch.ones_like(loss)}}
    ready = [root]
    while ready:
        node = ready.pop()
        given = gradients.pop(node, {})
        if node.name() == ACCUMULATE:
            _accumulate(node.variable, given.get(0))
            continue
        call = node if callable(node) else node.apply  # a Function in Python has no call
        returned = call(*(given.get(slot) for slot in range(_outputs(node, given))))
        returned = returned if isinstance(returned, tuple) else (returned,)
        for (after, slot), gradient in zip(node.next_functions, returned, strict=False):
            if after is None:
                continue
            if gradient is not None:
                _add(gradients.setdefault(after, {}), slot, _fitted(after, slot, gradient))
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)


def _edges_into(root: Node) -> Counter[Node]:
    """Return of each node how many gradients it must wait for."""
    edges: Counter[Node] = Counter()
    visited, stack = {root}, [root]
    while stack:
        for after, _ in stack.pop().next_functions:
            if after is None:
                continue
            edges[after] += 1
            if after not in visited:
                visited.add(after)
                stack.append(after)
    return edges


def _outputs(node: Node, given: dict[int, Tensor]) -> int:
    metadata = getattr(node, "_input_metadata", None)
    return max(len(metadata), 1) if metadata is not None else max(given, default=0) + 1


def _accumulate(leaf: Tensor, gradient: Tensor | None) -> None:
    if gradient is None:
        return
    if gradient.shape != leaf.shape:
        gradient = gradient.sum_to_size(leaf.shape)
    leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient


def _add(slots: dict[int, Tensor], slot: int, gradient: Tensor) -> None:
    slots[slot] = slots[slot] + gradient if slot in slots else gradient


def _fitted(node: Node, slot: int, gradient: Tensor) -> Tensor:
    """Return a gradient with shape and type of the value that it is of."""
    metadata = getattr(node, "_input_metadata", None)
    if not metadata or slot >= len(metadata):
        return gradient
    shape, dtype = tuple(metadata[slot].shape), metadata[slot].dtype
    if tuple(gradient.shape) != shape:
        gradient = gradient.sum_to_size(shape)
    return gradient if gradient.dtype == dtype else gradient.to(dtype)
