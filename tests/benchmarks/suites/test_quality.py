"""The slow reference, and what is said of two arms by their seeds."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks.arms.reference_trainer import Trainer
from benchmarks.suites.quality import difference
from tests.support.data.tiny_pack import blobs, write_pack
from trainer.data.pack.format import Pack
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec


def test_welch_by_hand() -> None:
    """1, 2, 3 and 2, 4, 6 have the variances 1 and 4: the error of the difference is sqrt(5/3)."""
    found = difference([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    freedom = (5 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 3) ** 2 / 2)
    assert found.mean == -2.0
    assert found.high - found.mean == pytest.approx(found.mean - found.low)
    assert student((found.high - found.mean) / math.sqrt(5 / 3), freedom) == pytest.approx(0.975)


def student(t: float, freedom: float) -> float:
    """Distribution function of Student's t, by the rule of Simpson."""
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    run_steps = 2000

    def density(x: float) -> float:
        return float(scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2))

    inner = sum((4 if n % 2 else 2) * density(t * n / run_steps) for n in range(1, run_steps))
    return 0.5 + t / run_steps / 3 * (density(0.0) + inner + density(t))


@pytest.fixture
def reference(tmp_path: Path) -> Trainer:
    images, _ = blobs(64, side_px=16, classes=4)
    write_pack(tmp_path / "pack", images)
    pack = Pack.open(tmp_path / "pack")
    spec = JobSpec.model_validate(
        {
            "dataset": "x",
            "encoder": {"name": "small"},
            "epochs": 6,
            "batch_rows": 16,
            "method": {"queue_rows": 24},
        }
    )
    return Trainer(resolve(spec, pack.facts).spec, pack, workers=0)


def test_the_reference_learns(reference: Trainer) -> None:
    first, second, rows = next(iter(reference.loader))
    before = torch.nn.utils.parameters_to_vector(reference.towers.key.parameters()).clone()
    reference._step(first, second, rows)
    after = torch.nn.utils.parameters_to_vector(reference.towers.key.parameters())
    assert 0.0 < float((after - before).norm()) < 0.05 * float(before.norm())
    assert reference.towers.owners.tolist() == [*rows.tolist(), *[-1] * 8]
    assert reference.run() < math.log(25)


def test_its_keys_are_in_the_order_of_their_rows(reference: Trainer) -> None:
    """In eval mode the order in which rows pass through batch norm cannot matter."""
    _, second, _ = next(iter(reference.loader))
    reference.towers.eval()
    with torch.no_grad():
        plain = torch.nn.functional.normalize(reference.towers.key(second), dim=1)
    assert torch.allclose(reference._keys(second), plain, atol=1e-5)


def test_it_refuses_what_it_does_not_know(reference: Trainer, tmp_path: Path) -> None:
    spec = reference.spec.model_copy(
        update={"views": reference.spec.views.model_copy(update={"blur_p": 0.5})}
    )
    with pytest.raises(ValueError, match="neither blur"):
        Trainer(spec, Pack.open(tmp_path / "pack"), workers=0)
