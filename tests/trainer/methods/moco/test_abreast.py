"""Queries and keys that are made side by side are those that are made one after the other."""

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch

from trainer.abreast import Abreast
from trainer.crew import Crew
from trainer.method import Method, load_method
from trainer.spec import JobSpec

ROWS, SIDE_PX, STEPS, THREADS = 32, 16, 3, 2
First = TypeVar("First")
Second = TypeVar("Second")
METHOD = {"queue_rows": 64, "momentum": 0.9, "temperature": 0.2, "head": "mlp"}


class InTurns(Abreast):
    """In the same threads, but never two things at a time."""

    def both(
        self, first: Callable[[], First], second: Callable[[], Second]
    ) -> tuple[First, Second]:
        one, _ = super().both(first, lambda: None)
        _, other = super().both(lambda: None, second)
        return one, other


def ended(spec: JobSpec, abreast: Abreast) -> str:
    """Digest of all state and all gradients after some steps."""
    method = load_method(spec, bf16=spec.precision == "bf16", crew=Crew(THREADS))
    method.abreast = abreast
    digest = hashlib.sha256()
    for step in range(STEPS):
        advance(method, step)
        for value in [*method.learning().values(), *method.state_dict().values()]:
            kept = value if value.grad is None else value.grad
            digest.update(kept.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def advance(method: Method, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    first, second = (torch.randn(ROWS, 3, SIDE_PX, SIDE_PX, generator=generator) for _ in range(2))
    outcome = method.loss(first, second, torch.arange(ROWS), step=step)
    method.zero_grad()
    outcome.loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    with torch.no_grad():
        for value in method.learning().values():
            assert value.grad is not None
            value.add_(value.grad, alpha=-0.1)
    method.after_step(outcome)


@pytest.mark.parametrize("encoder", ["small", "resnet18"])
@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"precision": "bf16", "method": {**METHOD, "symmetric": True}},
        {"precision": "fp32"},
        {"precision": "fp32", "method": {**METHOD, "bn": "plain"}},
    ],
    ids=["bf16", "symmetric", "fp32", "plain"],
)
def test_a_step_side_by_side_has_the_same_bits(encoder: str, changes: dict[str, Any]) -> None:
    """Beside the same threads in turns: a product of all threads may be summed otherwise."""
    sent = {"dataset": "x", "encoder": {"name": encoder}, "method": METHOD, **changes}
    spec = JobSpec.model_validate(sent | {"views": {"side_px": SIDE_PX}})
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with Abreast(THREADS) as abreast, InTurns(THREADS) as in_turns:
            assert ended(spec, abreast) == ended(spec, in_turns)
    finally:
        torch.set_num_threads(before)
