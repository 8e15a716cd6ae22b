"""Choice of the jobs that use compiled views. Their pixels are tested in test_augment."""

import torch

from trainer.modalities.image.augment.compiled import is_worth_compiling


def test_compiling_pays_for_many_pixels_on_a_cpu_and_follows_from_the_job_alone() -> None:
    cpu = torch.device("cpu")
    assert not is_worth_compiling(rows=1797, epochs=20, side_px=16, row_px=16, device=cpu), (
        "the demo"
    )
    assert is_worth_compiling(rows=10_000, epochs=4, side_px=32, row_px=32, device=cpu)
    assert is_worth_compiling(rows=50_000, epochs=20, side_px=32, row_px=32, device=cpu)
    assert is_worth_compiling(rows=500, epochs=10, side_px=64, row_px=375, device=cpu), (
        "photos are large"
    )
    cuda = torch.device("cuda")
    assert not is_worth_compiling(rows=50_000, epochs=20, side_px=32, row_px=32, device=cuda)
