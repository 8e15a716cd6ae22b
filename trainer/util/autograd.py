"""Types of the context that torch passes to forward and backward of our functions."""

from typing import Protocol

from torch import Tensor


class Context(Protocol):
    """Keeps what backward needs of forward. A function adds attributes of its own."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors."""
