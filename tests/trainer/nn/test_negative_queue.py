"""The ring against a plain deque."""

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.nn.negative_queue import EMPTY, RANDOM_SLOT, NegativeQueue


@given(st.integers(1, 13), st.lists(st.integers(1, 30), max_size=12))
def test_holds_the_newest_rows_like_a_deque(capacity: int, batches: list[int]) -> None:
    """Keys, their rows and their ages, for any K and any batch, larger than K included."""
    queue = NegativeQueue(capacity, 2, start="empty", seed=0)
    oracle: deque[tuple[int, int]] = deque(maxlen=capacity)
    serial = 0
    for push, count in enumerate(batches):
        numbers = torch.arange(serial, serial + count)
        queue.push(torch.stack([numbers, -numbers], 1).float(), numbers + 100)
        oracle.extend((number, push) for number in numbers.tolist())
        serial += count
    filled = queue.rows != EMPTY
    found = list(zip(queue.keys[filled, 0].tolist(), queue.rows[filled].tolist(), strict=True))
    assert sorted(found) == sorted((float(n), n + 100) for n, _ in oracle)
    assert int(queue.fill) == len(oracle) == queue.valid_rows()
    assert int(queue.pointer) == serial % capacity
    oldest = len(batches) - min((push for _, push in oracle), default=len(batches))
    assert queue.oldest_age_steps() == oldest


def test_slots_are_overwritten_in_order() -> None:
    queue = NegativeQueue(4, 1, start="empty", seed=0)
    queue.push(torch.tensor([[1.0], [2.0], [3.0]]), torch.arange(3))
    queue.push(torch.tensor([[4.0], [5.0]]), torch.arange(2))
    assert queue.keys[:, 0].tolist() == [5.0, 2.0, 3.0, 4.0]


def test_a_random_start_is_unit_vectors_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = NegativeQueue(64, 16, start="random", seed=5)
    torch.manual_seed(2)
    again = NegativeQueue(64, 16, start="random", seed=5)
    other = NegativeQueue(64, 16, start="random", seed=6)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.keys, again.keys)
    assert not torch.equal(first.keys, other.keys)
    assert first.keys.norm(dim=1).allclose(torch.ones(64))
    assert (first.rows == RANDOM_SLOT).all()
    assert first.valid_rows() == 64
    assert first.oldest_age_steps() == 0


def test_all_of_its_state_is_saved() -> None:
    queue = NegativeQueue(5, 3, start="random", seed=0)
    queue.push(torch.randn(7, 3), torch.arange(7))
    copy = NegativeQueue(5, 3, start="random", seed=9)
    copy.load_state_dict(queue.state_dict())
    for each in (queue, copy):
        each.push(torch.ones(2, 3), torch.arange(2))
    assert all(torch.equal(a, b) for a, b in zip(queue.buffers(), copy.buffers(), strict=True))


@pytest.mark.parametrize("start", ["random", "empty"])
@pytest.mark.parametrize("masked", [True, False])
def test_hides_own_older_keys_and_empty_slots(start: str, masked: bool) -> None:
    queue = NegativeQueue(4, 2, start="empty" if start == "empty" else "random", seed=0)
    queue.push(torch.ones(2, 2), torch.tensor([7, 8]))
    mask = queue.mask_for(torch.tensor([7, 9]) if masked else None)
    if mask is None:
        assert start == "random"
        assert not masked
        return
    empty = start == "empty"
    expected = [[masked, False, empty, empty], [False, False, empty, empty]]
    assert mask.columns(slice(0, 4)).expand(2, 4).tolist() == expected
    assert mask.columns(slice(1, 3)).expand(2, 2).tolist() == [row[1:3] for row in expected]
