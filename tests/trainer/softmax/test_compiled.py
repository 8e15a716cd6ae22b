"""The kernel of the matrix unit, against the definition in float64."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from trainer import tiles
from trainer.compiling import compiled_now
from trainer.crew import Crew
from trainer.hidden import Hidden
from trainer.losses import info_nce
from trainer.softmax import compiled
from trainer.softmax.laid import Laid
from trainer.softmax.share import Share
from trainer.softmax.softmax import softmax_over

CREW = Crew(2)
EMPTY = -2


needs_tiles = pytest.mark.skipif(
    not tiles.are_there(), reason="this CPU has no matrix unit for bfloat16"
)


def unit(count: int, width: int, *, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator), dim=1)


def defined(queries: torch.Tensor, keys: torch.Tensor, hidden: Hidden | None) -> Share:
    logits = queries.double() @ keys.double().T
    if hidden is not None:
        logits = logits.masked_fill(hidden.mask(slice(None)), -torch.inf)
    return Share(logits.logsumexp(1), logits.softmax(1) @ keys.double())


def seen(queries: torch.Tensor, keys: torch.Tensor, hidden: Hidden | None) -> Share:
    found = compiled.seen(queries, Laid(keys, crew=CREW), hidden)
    assert found is not None
    return found


def hides(kind: str, queries: int, count: int) -> Hidden | None:
    """Own rows of which some are there twice, empty slots at both ends and within, or both."""
    if kind == "nothing":
        return None
    rows = torch.arange(count) % max(1, count - 3)
    if kind != "own":
        rows[: count // 3] = rows[count // 2] = rows[count - 1] = EMPTY
    owners = None if kind == "empty" else torch.arange(queries) * 2
    return Hidden(owners, rows, empty=EMPTY)


@needs_tiles
@pytest.mark.parametrize("kind", ["nothing", "own", "empty", "both"])
@pytest.mark.parametrize(
    ("count", "queries", "width"),
    [(9, 1, 32), (32, 32, 64), (100, 5, 96), (257, 33, 128), (1000, 128, 32), (2500, 100, 256)],
)
def test_equals_the_definition(count: int, queries: int, width: int, kind: str) -> None:
    """Of what is rounded to bfloat16 before: weights are too, sums are not. Whole tiles or not."""
    asked, keys = unit(queries, width, seed=0) / 0.2, unit(count, width, seed=1)
    hidden = hides(kind, queries, count)
    found = seen(asked, keys, hidden)
    rounded = (asked * math.log2(math.e)).bfloat16().double() / math.log2(math.e)
    wanted = defined(rounded, keys.bfloat16(), hidden)
    assert found.log_sum.dtype == found.mean.dtype == torch.float32
    assert torch.allclose(found.log_sum.double(), wanted.log_sum, rtol=0.0, atol=3e-6)
    error = (found.mean.double() - wanted.mean).norm() / wanted.mean.norm()
    assert float(error) < 3e-3


@needs_tiles
def test_is_closer_than_a_product_that_rounds_its_logits() -> None:
    asked, keys = unit(64, 128, seed=0) / 0.07, unit(4096, 128, seed=1)
    wanted = defined(asked, keys, None)
    logits = asked.bfloat16() @ keys.bfloat16().T
    rounded = Share(logits.float().logsumexp(1), (logits.softmax(1) @ keys.bfloat16()).float())
    for ours, theirs, true in zip(seen(asked, keys, None), rounded, wanted, strict=True):
        assert (ours - true).norm() < (theirs - true).norm()


@needs_tiles
@pytest.mark.parametrize("threads", [1, 3, 9])
def test_bits_do_not_depend_on_threads(threads: int) -> None:
    asked, keys = unit(70, 64, seed=0) / 0.1, unit(3000, 64, seed=1)
    hidden = hides("both", 70, 3000)
    ours = compiled.seen(asked, Laid(keys, crew=Crew(threads)), hidden)
    assert ours is not None
    for one, other in zip(ours, seen(asked, keys, hidden), strict=True):
        assert torch.equal(one, other)


@needs_tiles
def test_rows_are_told_apart_up_to_two_to_the_32() -> None:
    asked, keys = unit(2, 32, seed=0) / 0.2, unit(40, 32, seed=1)
    rows = torch.arange(40) + 2**32 - 41
    hidden = Hidden(rows[[3, 39]], rows, empty=EMPTY)
    found, wanted = seen(asked, keys, hidden), defined(asked, keys, hidden)
    assert torch.allclose(found.log_sum.double(), wanted.log_sum, rtol=0.0, atol=0.01)
    assert not torch.equal(found.log_sum, seen(asked, keys, None).log_sum)


@needs_tiles
@pytest.mark.parametrize("temperature", [0.02, 0.005])
def test_what_leaves_the_range_is_looked_at_the_other_way(temperature: float) -> None:
    """Logits up to 1 / T: below 0.02 powers of two leave a float32."""
    keys = unit(500, 64, seed=1)
    asked = torch.cat([keys[:3], -keys[:3]]) / temperature
    found = compiled.seen(asked, Laid(keys, crew=CREW), None)
    assert (found is None) == (temperature < 0.01)
    share = softmax_over(asked, Laid(keys, crew=CREW), None)
    wanted = defined(asked, keys.bfloat16(), None)
    assert torch.allclose(share.log_sum.double(), wanted.log_sum, rtol=6e-3)
    assert torch.allclose(share.mean.double(), wanted.mean, atol=0.02)


@needs_tiles
def test_a_query_that_sees_no_negative_has_no_loss_and_no_gradient() -> None:
    query = unit(2, 32, seed=0).requires_grad_()
    hidden = Hidden(None, torch.full((50,), EMPTY), empty=EMPTY)
    negatives = Laid(unit(50, 32, seed=1), crew=CREW)
    loss = info_nce(query, unit(2, 32, seed=2), negatives, temperature=0.1, hidden=hidden)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    assert query.grad is not None
    assert not query.grad.any()


@needs_tiles
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    query = unit(3, 32, seed=0)
    query[1, 4] = bad
    negatives = Laid(unit(50, 32, seed=1), crew=CREW)
    loss = info_nce(query, unit(3, 32, seed=2), negatives, temperature=0.1)
    assert not math.isfinite(float(loss))


@needs_tiles
def test_tiles_are_left_as_another_has_laid_them_out() -> None:
    @compiled_now("void(u1[::1])")
    def lay_out(layout: NDArray[np.uint8]) -> None:
        tiles.set_layout(layout)

    @compiled_now("void(u1[::1])")
    def read(layout: NDArray[np.uint8]) -> None:
        tiles.get_layout(layout)

    theirs, found = np.zeros(64, np.uint8), np.zeros(64, np.uint8)
    theirs[0], theirs[16], theirs[48] = 1, 32, 7  # one tile, of 7 lines of 32 bytes
    negatives = Laid(unit(50, 32, seed=1), crew=Crew(1))
    compiled.seen(unit(3, 32, seed=0), negatives, None)  # what is made once has been made
    lay_out(theirs)
    compiled.seen(unit(3, 32, seed=0), negatives, None)
    read(found)
    lay_out(np.zeros(64, np.uint8))
    assert np.array_equal(found, theirs)


@needs_tiles
def test_the_library_multiplies_on_as_before() -> None:
    asked, keys = unit(128, 128, seed=0) / 0.1, unit(4096, 128, seed=1)
    negatives, (a, b) = Laid(keys, crew=CREW), (unit(300, 200, seed=2), unit(200, 90, seed=3))
    weights, images = unit(64, 32 * 9, seed=4), unit(8 * 32, 14 * 14, seed=5)

    def theirs() -> list[torch.Tensor]:
        convolved = F.conv2d(
            images.view(8, 32, 14, 14).bfloat16(), weights.view(64, 32, 3, 3).bfloat16()
        )
        attended = F.scaled_dot_product_attention(*(b.view(1, 2, 100, 90).bfloat16(),) * 3)
        return [a.bfloat16() @ b.bfloat16(), convolved, attended]

    before, first = theirs(), compiled.seen(asked, negatives, None)
    assert first is not None
    for _ in range(5):
        again = compiled.seen(asked, negatives, None)
        assert again is not None
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        assert all(torch.equal(one, other) for one, other in zip(before, theirs(), strict=True))


def test_without_tiles_nothing_is_compiled() -> None:
    """LLVM ends the process where it finds no such instruction."""
    code = (
        "from trainer import tiles; tiles.are_there = lambda: False\n"
        "from trainer.softmax.kernels import look; assert not look.signatures"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
