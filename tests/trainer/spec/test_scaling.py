"""Scaling of a batch against figures worked out by hand."""

import pytest

from trainer.spec.scaling import StepWork, communication_share, gpus_limit, sent_bytes

RESNET50 = StepWork(
    batch_rows=2048,
    flops_per_row=4 * 2 * 4.0625e9,  # 4 passes, 2 flops a multiply-add: 32.5 Gflop, 4,000 rows/s
    gradient_bytes=112e6,  # 28 M parameters with the head
    row_bytes=520,  # 128 numbers of 4 bytes, and the row as an int64
)


def share(step_ms: float, sent_mb: float, gb_per_s: float) -> float:
    communication_ms = sent_mb / gb_per_s
    return communication_ms / (communication_ms + step_ms)


@pytest.mark.parametrize(
    ("batch_rows", "gpus", "expected"),
    [
        (256, 1, 0.0),
        # 256 rows a GPU take 64 ms. Ring of 8: 2 x 7/8 x 112 MB = 196 MB, and 7/8 of 1.06 MB.
        (2048, 8, share(64.0, 196.0 + 0.93, 400.0)),
        # The ring of 128 over the network: 2 x 127/128 x 112 MB = 222.25 MB.
        (32_768, 128, share(64.0, 222.25 + 16.91, 40.0)),
        # 32 rows a GPU take 8 ms.
        (4096, 128, share(8.0, 222.25 + 2.11, 40.0)),
    ],
)
def test_shares_are_those_by_hand(batch_rows: int, gpus: int, expected: float) -> None:
    work = RESNET50._replace(batch_rows=batch_rows)
    assert communication_share(work, gpus) == pytest.approx(expected, rel=1e-3)


def test_efficiencies_of_the_design() -> None:
    """One node scales to .99, sixteen to .92 at 256 rows a GPU and to .6 at 32 rows a GPU."""
    assert 1 - communication_share(RESNET50, 8) == pytest.approx(0.99, abs=0.005)
    many = RESNET50._replace(batch_rows=32_768, row_bytes=0)
    assert 1 - communication_share(many, 128) == pytest.approx(0.92, abs=0.005)
    small = RESNET50._replace(batch_rows=4096)
    assert 1 - communication_share(small, 128) == pytest.approx(0.59, abs=0.005)


def test_one_gpu_sends_nothing_and_two_send_the_gradients_once() -> None:
    assert sent_bytes(RESNET50, 1) == 0
    assert sent_bytes(RESNET50, 2) == pytest.approx(112e6 + 2048 * 520 / 2)


@pytest.mark.parametrize(
    ("batch_rows", "expected"),
    [
        # Beyond one node a ring takes at least 5.3 ms, a fifth of 26.5 ms: 85 rows a GPU.
        (256, 8),
        (2048, 16),
        (4096, 32),
        (32_768, 256),
    ],
)
def test_the_limit_is_the_largest_world_under_a_fifth(batch_rows: int, expected: int) -> None:
    assert gpus_limit(RESNET50._replace(batch_rows=batch_rows)) == expected


@pytest.mark.parametrize(("batch_rows", "expected"), [(2, 1), (6, 3), (14, 7), (4096, 1024)])
def test_every_gpu_has_two_rows(batch_rows: int, expected: int) -> None:
    work = StepWork(batch_rows, flops_per_row=1e12, gradient_bytes=1.0, row_bytes=0.0)
    assert gpus_limit(work) == expected
