"""Philox against its published vectors and a plain reading; the shuffle against a permutation."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from trainer.rng.philox import _words, permuted_rows, philox, uniforms

# Random123 1.14, kat_vectors, philox4x32 with 10 rounds: four of counter, two of key, four words.
KNOWN_ANSWERS = [
    "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
]


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """The definition of the paper with Python's unbounded integers and `divmod`."""
    x, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * x[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x[2], 2**32)
        x = [high1 ^ x[1] ^ k[0], low1, high0 ^ x[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return x


@pytest.mark.parametrize("line", KNOWN_ANSWERS)
def test_philox_gives_the_published_words(line: str) -> None:
    c0, c1, c2, c3, low, high, *answer = (int(word, 16) for word in line.split())
    seed = low | high << 32
    assert list(philox((c0, c1, c2, c3), seed=seed)) == answer
    t0, t1, t2, t3 = (torch.tensor([c]) for c in (c0, c1, c2, c3))
    assert [int(word) for word in philox((t0, t1, t2, t3), seed=seed)] == answer
    assert plain_philox([c0, c1, c2, c3], [low, high]) == answer


word = st.integers(0, 2**32 - 1)


@given(row=word, epoch=word, view=st.integers(0, 2**32 - 2), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_uniforms_are_philox_words(row: int, epoch: int, view: int, seed: int) -> None:
    drawn = uniforms(torch.tensor([3, row]), seed=seed, epoch=epoch, view=view, count=7)[1]
    key = [seed % 2**32, seed >> 32]
    expected = plain_philox([row, epoch, view, 0], key) + plain_philox([row, epoch, view, 1], key)
    assert drawn.tolist() == [value // 256 / 2**24 for value in expected[:7]]


@given(row=word, epoch=word, view=st.integers(0, 2**32 - 2), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_a_device_draws_the_hosts_words(row: int, epoch: int, view: int, seed: int) -> None:
    """The arithmetic of torch, as on a GPU, against that of numpy."""
    rows, blocks = torch.tensor([3, row]), torch.arange(3)
    host = _words(rows.numpy(), blocks.numpy(), epoch, view, seed=seed)
    for draw_key in (epoch, torch.tensor(epoch)):
        device = _words(rows, blocks, draw_key, view, seed=seed)
        for ours, theirs in zip(device, host, strict=True):
            assert ours.shape == (2, 3)
            assert ours.tolist() == theirs.tolist()


def test_views_are_drawn_together_as_alone() -> None:
    rows, view = torch.tensor([5, 9, 5, 9]), torch.tensor([0, 0, 1, 1])
    together = uniforms(rows, seed=1, epoch=2, view=view, count=6)
    alone = [uniforms(rows[:2], seed=1, epoch=2, view=number, count=6) for number in (0, 1)]
    assert torch.equal(together, torch.cat(alone))
    on_device = _words(rows, torch.arange(2), 2, view[:, None], seed=1)
    on_host = _words(rows.numpy(), torch.arange(2).numpy(), 2, view.numpy()[:, None], seed=1)
    assert [word.tolist() for word in on_device] == [word.tolist() for word in on_host]


def test_uniforms_depend_on_the_row_alone_and_not_on_the_batch() -> None:
    rows = torch.arange(1000)
    whole = uniforms(rows, seed=1, epoch=2, view=0, count=5)
    parts = [uniforms(part, seed=1, epoch=2, view=0, count=5) for part in torch.split(rows, 7)]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(whole[:, :3], uniforms(rows, seed=1, epoch=2, view=0, count=3))
    assert float(whole.min()) >= 0.0
    assert float(whole.max()) < 1.0


def test_uniforms_are_uniform_and_streams_are_apart() -> None:
    """Chi-square over 64 cells (63 degrees of freedom, the bound is the 1e-6 quantile)."""
    rows = torch.arange(20_000)
    streams = [
        uniforms(rows, seed=seed, epoch=epoch, view=view, count=4)
        for seed, epoch, view in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    ]
    for stream in streams:
        counts = torch.histc(stream, bins=64, min=0.0, max=1.0)
        expected = stream.numel() / 64
        assert float(((counts - expected) ** 2 / expected).sum()) < 135.0
    together = torch.cat(streams, dim=1).T
    correlation = torch.corrcoef(together) - torch.eye(len(together))
    assert float(correlation.abs().max()) < 0.04


@pytest.mark.parametrize("rule", [1, 2])
@pytest.mark.parametrize("total", [*range(1, 40), 97, 255, 256, 257, 1797, 4096, 4097, 65_537])
def test_shuffled_is_a_permutation(total: int, rule: int) -> None:
    order = permuted_rows(torch.arange(total), total=total, seed=5, epoch=3, order=rule)
    assert sorted(order.tolist()) == list(range(total))


@given(
    total=st.integers(1, 3000) | st.integers(4097, 6000),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 2**32 - 1),
    rule=st.sampled_from([1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_shuffled_is_a_permutation_for_any_key(
    total: int, seed: int, epoch: int, rule: int
) -> None:
    order = permuted_rows(torch.arange(total), total=total, seed=seed, epoch=epoch, order=rule)
    assert torch.equal(order.sort().values, torch.arange(total))


def test_shuffled_needs_only_the_positions_it_is_asked_for() -> None:
    total = 2**40 + 12_345
    positions = torch.tensor([0, 1, 2, total - 1, total // 2])
    rows = permuted_rows(positions, total=total, seed=1, epoch=1)
    assert len(set(rows.tolist())) == 5
    assert all(0 <= row < total for row in rows.tolist())
    single = [permuted_rows(one, total=total, seed=1, epoch=1) for one in torch.split(positions, 1)]
    assert torch.equal(rows, torch.cat(single))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    """Two random orders of 1,000 rows agree at one position on average."""
    positions = torch.arange(1000)
    orders = [
        permuted_rows(positions, total=1000, seed=seed, epoch=epoch)
        for seed in range(2)
        for epoch in range(4)
    ]
    agreements = [int((a == b).sum()) for a, b in pairwise([torch.arange(1000), *orders])]
    assert max(agreements) < 12


@pytest.mark.parametrize("total", [3, 6, 10])
def test_every_row_comes_to_every_position_equally_often(total: int) -> None:
    """Chi-square of rows by positions over 1,500 epochs, bound far above its mean (total-1)^2."""
    epochs = 1500
    counts = torch.zeros(total, total)
    positions = torch.arange(total)
    for epoch in range(epochs):
        counts[positions, permuted_rows(positions, total=total, seed=9, epoch=epoch)] += 1
    expected = epochs / total
    freedom = (total - 1) ** 2
    assert float(((counts - expected) ** 2 / expected).sum()) < freedom + 6 * (2 * freedom) ** 0.5


def parity(order: list[int]) -> int:
    """1 for an odd permutation: rows less cycles, counted by walking each cycle."""
    seen, cycles = set[int](), 0
    for start in range(len(order)):
        cycles += start not in seen
        row = start
        while row not in seen:
            seen.add(row)
            row = order[row]
    return (len(order) - cycles) % 2


@pytest.mark.parametrize("total", [9, 25, 49, 225, 2025, 4225, 5041])
def test_odd_orders_are_as_likely_as_even_ones(total: int) -> None:
    """Version 1 had only even permutations on a grid of two odd sides.

    200 draws of a fair coin are within 100 +- 35 except once in a million.
    """
    positions = torch.arange(total)
    odd = sum(
        parity(permuted_rows(positions, total=total, seed=3, epoch=epoch).tolist())
        for epoch in range(200)
    )
    assert 65 <= odd <= 135
    old = (
        permuted_rows(positions, total=total, seed=3, epoch=e, order=1).tolist() for e in range(20)
    )
    assert sum(map(parity, old)) == 0, "the fault that the second rule mends"


@pytest.mark.parametrize("total", [2, 3, 4, 5])
def test_all_orders_of_a_few_rows_are_equally_likely(total: int) -> None:
    """Chi-square over all total! orders against the quantile of one in a million."""
    draws = 100 * math.factorial(total)
    positions = torch.arange(total)
    counts = Counter(
        tuple(permuted_rows(positions, total=total, seed=7, epoch=epoch).tolist())
        for epoch in range(draws)
    )
    assert len(counts) == math.factorial(total)
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert chi_square < chi2.ppf(1 - 1e-6, math.factorial(total) - 1)


@pytest.mark.parametrize("total", [7, 64])
def test_each_pair_of_rows_follows_one_another_equally_often(total: int) -> None:
    """Count the successor of each row over 2,000 epochs, each with total - 1 steps."""
    epochs, positions = 2000, torch.arange(total)
    counts = torch.zeros(total, total)
    for epoch in range(epochs):
        order = permuted_rows(positions, total=total, seed=11, epoch=epoch)
        counts[order[:-1], order[1:]] += 1
    assert float(counts.diagonal().sum()) == 0.0
    expected = epochs / total
    apart = counts[~torch.eye(total, dtype=torch.bool)] - expected
    freedom = total * (total - 2)
    assert float((apart**2 / expected).sum()) < chi2.ppf(1 - 1e-6, freedom)
