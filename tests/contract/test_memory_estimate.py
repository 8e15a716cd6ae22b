"""Estimates of memory beside the tensors that are alive at the peak of a job on the pretend GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.data.tiny_pack import write_pack
from tests.support.pretend_gpu.run import Case, estimated_bytes, run
from trainer.accel.graphs import WARM_UP_CALLS
from trainer.methods.registry import methods_of_more_views

TOLERANCE = 0.1
STEPS = WARM_UP_CALLS + 2
"""One is captured, one replayed."""

MOCO = {"name": "moco", "queue_rows": 4096}
SYMMETRIC = MOCO | {"symmetric": True}
SIMCLR = {"name": "simclr"}
TWO_VIEWS = ("byol", "moco_v3", "nnclr", "vicreg")
ROTATION = {"auxiliary": [{"name": "rotation"}]}
SMALL, RESNET18 = {"name": "small"}, {"name": "resnet18"}


def job(batch_rows: int, side_px: int, **settings: Any) -> dict[str, Any]:  # noqa: ANN401
    """Settings of a job in bf16, unless they say otherwise."""
    basis = {"batch_rows": batch_rows, "views": {"side_px": side_px}, "precision": "bf16"}
    return basis | settings


JOBS = {
    "small": job(256, 32, encoder=SMALL, method=MOCO),
    "small, fp32": job(256, 32, encoder=SMALL, method=MOCO, precision="fp32"),
    "small, symmetric": job(256, 32, encoder=SMALL, method=SYMMETRIC),
    "small, simclr": job(256, 32, encoder=SMALL, method=SIMCLR),
    **{f"small, {name}": job(256, 32, encoder=SMALL, method={"name": name}) for name in TWO_VIEWS},
    **{
        f"resnet18, {name}": job(64, 96, encoder=RESNET18, method={"name": name})
        for name in TWO_VIEWS
    },
    **{
        f"small, {name}, four views": job(256, 32, encoder=SMALL, method={"name": name})
        | {"views": {"side_px": 32, "count": 4}}
        for name in methods_of_more_views()
    },
    **{
        f"{encoder['name']}, classification": job(
            256, 64, encoder=encoder, method={"name": "classification"}, evaluation=None
        )
        for encoder in (SMALL, RESNET18)
    },
    "resnet18": job(128, 96, encoder=RESNET18, method=MOCO),
    "resnet18, symmetric": job(128, 32, encoder=RESNET18, method=SYMMETRIC),
    "resnet18, simclr": job(64, 96, encoder=RESNET18, method=SIMCLR),
    "resnet18, fp32, adamw": job(
        128, 32, encoder=RESNET18, method=MOCO, precision="fp32", optim={"name": "adamw"}
    ),
    "resnet18, lars, in parts": job(
        128, 32, encoder=RESNET18, method=MOCO, optim={"name": "lars", "accumulate_steps": 4}
    ),
    "small, noise": job(256, 32, encoder=SMALL, method=MOCO)
    | {"views": {"side_px": 32, "noise_p": 0.5, "rotation_p": 0.5}},
    "resnet50 at 224 px": job(
        256, 224, encoder={"name": "resnet50"}, method={"name": "moco", "queue_rows": 65_536}
    ),
    "vit_tiny": job(256, 32, encoder={"name": "vit_tiny"}, method=MOCO),
    "vit_tiny, fp32": job(128, 32, encoder={"name": "vit_tiny"}, method=MOCO, precision="fp32"),
    "vit_small, simclr": job(64, 96, encoder={"name": "vit_small"}, method=SIMCLR),
    "convnext_tiny": job(64, 96, encoder={"name": "convnext_tiny"}, method=MOCO),
    "convnext_tiny, fp32": job(
        64, 32, encoder={"name": "convnext_tiny"}, method=MOCO, precision="fp32"
    ),
    "small, rotation alone": job(256, 32, encoder=SMALL, method={"name": "none"}) | ROTATION,
    "small, rotation beside": job(256, 32, encoder=SMALL, method=MOCO) | ROTATION,
    "resnet18, rotation alone": job(128, 96, encoder=RESNET18, method={"name": "none"}) | ROTATION,
    "resnet18, rotation beside": job(128, 96, encoder=RESNET18, method=MOCO) | ROTATION,
    "resnet101": job(64, 96, encoder={"name": "resnet101"}, method=MOCO),
    "wide resnet50": job(32, 32, encoder={"name": "wide_resnet50_2"}, method=MOCO),
}
CELL = "small"


@pytest.mark.timeout(1200)  # seconds alone, minutes on busy cores
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == CELL else pytest.mark.contract) for name in JOBS],
)
def test_the_estimate_is_the_peak_of_a_captured_job(name: str, tmp_path: Path) -> None:
    settings = JOBS[name]
    rows, side_px = 2 * settings["batch_rows"], settings["views"]["side_px"]
    images = np.zeros((rows, side_px, side_px, 3), np.uint8)
    if settings["method"]["name"] == "classification":
        labels = (np.arange(rows) % 2).astype(np.int32)
        write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    else:
        write_pack(tmp_path / "pack", images)
    check(Case(name=name, settings=settings), tmp_path)


@pytest.mark.contract
@pytest.mark.timeout(1200)
def test_the_estimate_is_the_peak_with_photos_of_many_sizes(tmp_path: Path) -> None:
    """They lie flat, and views are cut from windows of their own size."""
    case = Case(name="sizes", settings=job(128, 96, encoder=RESNET18, method=MOCO))
    sizes = [(128, 170), (170, 128)] * 128
    write_pack(tmp_path / "pack", [np.zeros((*size, 3), np.uint8) for size in sizes])
    check(case, tmp_path)


def check(case: Case, folder: Path) -> None:
    result = run(case, folder, steps=STEPS)
    assert result.warnings == []
    assert estimated_bytes(case, folder) == pytest.approx(result.peak_bytes, rel=TOLERANCE)
