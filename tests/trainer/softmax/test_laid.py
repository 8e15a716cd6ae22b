"""Negatives in two orders, against numpy."""

import numpy as np
import pytest
import torch

from trainer import tiles
from trainer.crew import Crew
from trainer.softmax import laid
from trainer.softmax.laid import Laid


def random(count: int, width: int, *, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_a_block_is_what_a_tile_takes() -> None:
    assert laid.BLOCK == tiles.SIDE


@pytest.mark.parametrize("count", [1, 32, 75])
def test_both_orders_hold_the_same(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after some of them were written over."""
    monkeypatch.setattr(tiles, "are_there", lambda: True)
    keys, slots = random(count, 64, seed=0), torch.randperm(count)[: (count + 1) // 2]
    negatives = Laid(keys, crew=Crew(1))
    for _ in range(2):
        wanted = keys.bfloat16()
        assert torch.equal(negatives.keys, wanted)
        assert negatives.across is not None
        padded = np.zeros((-(-count // 32) * 32, 64), np.float32)
        padded[:count] = wanted.float().numpy()
        for block, across in enumerate(negatives.across.float().numpy()):
            assert np.array_equal(across, padded[32 * block : 32 * block + 32].T)
        assert negatives.nbytes == 2 * 2 * padded.size
        keys[slots] = random(len(slots), 64, seed=1)
        negatives.write(slots, keys[slots])


@pytest.mark.parametrize(
    ("width", "crew", "has_tiles"), [(64, False, True), (40, True, True), (64, True, False)]
)
def test_only_what_compiled_code_takes_lies_across(
    width: int, crew: bool, has_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "are_there", lambda: has_tiles)
    negatives = Laid(random(50, width, seed=0), crew=Crew(1) if crew else None)
    assert negatives.across is None
    negatives.write(torch.tensor([49]), torch.ones(1, width))
    assert torch.equal(negatives.keys[49], torch.ones(width, dtype=torch.bfloat16))
    assert negatives.nbytes == 2 * 64 * width
