"""One step on several ranks is the step of one process: from the same state, with all tensors.

Longer runs are no measure: one value that falls on the other side of a ReLU is amplified by every
later step, whichever side computes it. So each of twenty states is stepped from anew. In float32
one in a few million values does so even in a single step: the jobs are small, and of SimCLR with
`sync` every such value is found at three sizes of the batch.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from _pytest.mark import ParameterSet
from safetensors.torch import load_file
from torch import Tensor

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.trainer.rank_bodies import (
    STEPS,
    Steps,
    rectified_alone,
    rectified_from_each,
    save_states,
    step_from_each,
)
from tests.support.trainer.rank_processes import run_ranks

ROWS, SPLITS, PARTS = 96, 8, 4
METHODS: dict[str, dict[str, Any]] = {
    "moco_v1": {"name": "moco", "head": "linear"},
    "moco_v2": {"name": "moco", "head": "mlp"},
    "moco_symmetric": {"name": "moco", "head": "mlp", "symmetric": True},
    "simclr_split": {"name": "simclr", "bn": "split", "bn_splits": SPLITS // 2},
    "simclr_sync": {"name": "simclr", "bn": "sync"},
    "supcon": {"name": "supcon", "bn": "split", "bn_splits": SPLITS // 2},
    "triplet": {"name": "triplet", "bn": "split", "bn_splits": SPLITS // 2},
    "triplet_all": {"name": "triplet", "mining": "all", "bn": "split", "bn_splits": SPLITS // 2},
    "siamese": {"name": "siamese", "bn": "split", "bn_splits": SPLITS // 2},
    "byol_split": {"name": "byol", "bn": "split", "bn_splits": SPLITS // 2, "head_hidden": 16},
    "byol_sync": {"name": "byol", "bn": "sync", "head_hidden": 16},
    "moco_v3_sync": {"name": "moco_v3", "bn": "sync", "head_hidden": 16, "queue_rows": 40},
    "nnclr_sync": {"name": "nnclr", "bn": "sync", "head_hidden": 16, "queue_rows": 40},
    "vicreg_sync": {"name": "vicreg", "bn": "sync", "head_hidden": 16},
    "supcon_three": {"name": "supcon", "bn": "split", "bn_splits": SPLITS // 2},
    "byol_three_sync": {"name": "byol", "bn": "sync", "head_hidden": 16},
    "moco_rotation": {"name": "moco", "head": "mlp"},
    "none_sync": {"name": "none", "bn": "sync"},
    "classification": {
        "name": "classification",
        "class_weights": "balanced",
        "bn": "split",
        "bn_splits": SPLITS // 2,
    },
    "classification_frozen": {
        "name": "classification",
        "freeze": True,
        "bn": "split",
        "bn_splits": SPLITS // 2,
    },
}
CLASSES = 2
VIEWS = {"supcon_three": 3, "byol_three_sync": 3}
"""Views of a row, where they are not two."""
LABELED = {"supcon", "triplet", "triplet_all", "siamese", "supcon_three"}
"""Methods whose second views are of partners; others have two views of each row."""
PRETEXTS = {"moco_rotation": ("rotation",), "none_sync": ("rotation",)}
EMBEDDINGS = {"moco": 1, "simclr": 2, "byol": 1, "moco_v3": 4, "nnclr": 4, "vicreg": 2, "none": 1}
EMBEDDINGS |= {"classification": 1}
"""Vectors of a row that every rank gets; of other methods one of each view."""
QUICK = {("moco_v2", 2), ("simclr_sync", 2)}
MOCO = {"queue_rows": 80, "bn": "split", "bn_splits": SPLITS, "shuffle_parts": PARTS, "dim": 16}
TOLERANCE = {"exact": 1e-9, "single": 1e-4}
FLIPS_MAX = {"exact": 0, "single": 1}
"""States of 20 from which a step may differ by more: in float32 a discrete flip was seen."""


def batch_rows(name: str) -> int:
    """Return the rows of a step: few where the statistics of a process have other last bits.

    Where they are of whole groups, 8 in a group: two rows would be divided by half their distance,
    which magnifies the last bits of a value.
    """
    method = METHODS[name]
    return 32 if method["name"] == "moco" or method.get("bn") == "split" else 8


def spec_of(name: str) -> dict[str, Any]:
    method = METHODS[name]
    without = {"moco": MOCO, "none": {}, "classification": {}}
    settings = without.get(method["name"], {"dim": 16})
    return {
        "dataset": "made-up",
        "epochs": 200,
        "batch_rows": batch_rows(name),
        "precision": "fp32",
        "encoder": {"name": "small"},
        "views": {"side_px": 8, "count": VIEWS.get(name, 2)},
        "method": settings | method,
        "auxiliary": [{"name": pretext} for pretext in PRETEXTS.get(name, ())],
        "positives": {"name": "label" if name in LABELED else "self"},
        "optim": {"lr": 0.002 if method["name"] == "vicreg" else 0.05},
        "evaluation": None,
        "signals_every_steps": 100_000,
        "checkpoint_every_s": 86_400.0,
    }


@dataclass(frozen=True)
class Compared:
    """Steps of one process, and of several ranks from the same states; each made once."""

    folder: Path

    def states(self, name: str, precision: str) -> Path:
        """Return the folder of the states of one process."""
        case = self._case(name, precision)
        if not case.states.exists():
            case.states.mkdir()
            save_states(case)
        return case.states

    def on_ranks(self, name: str, precision: str, *, size: int) -> Path:
        """Return the folder of the results of one step from each state on `size` ranks."""
        out = self.folder / f"{name}-on-{size}"
        if not out.exists():
            for each in TOLERANCE:
                self.states(name, each)
            cases = [self._case(name, each) for each in TOLERANCE]
            assert run_ranks(step_from_each, cases, out, size=size) == [0] * size
        return out / str([*TOLERANCE].index(precision))

    def _case(self, name: str, precision: str) -> Steps:
        states = self.folder / f"{name}-{precision}"
        return Steps(spec_of(name), self.folder / "pack", states, exact=precision == "exact")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("steps")
    images, labels = blobs(ROWS, side_px=10, classes=CLASSES)
    write_pack(folder / "pack", images, labels, classes=("a", "b"))
    return Compared(folder)


def cells() -> list[ParameterSet]:
    return [
        pytest.param(name, size, marks=[] if (name, size) in QUICK else pytest.mark.contract)
        for name in METHODS
        for size in (2, 4)
    ]


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize(("name", "size"), cells())
def test_a_step_on_ranks_is_that_of_one_process(
    name: str, size: int, precision: str, compared: Compared
) -> None:
    states = compared.states(name, precision)
    results = compared.on_ranks(name, precision, size=size)
    worst = []
    for number in range(STEPS):
        one = load_file(states / f"{number + 1}.safetensors")
        before = load_file(states / f"{number}.safetensors")
        several = load_file(results / f"{number}.safetensors")
        assert one.keys() == several.keys()
        assert max(apart(one[key], before[key]) for key in one) > 10 * TOLERANCE[precision]
        worst.append(max(apart(several[key], one[key]) for key in one if not is_noise(key)))
    flips = sum(difference > TOLERANCE[precision] for difference in worst)
    assert flips <= FLIPS_MAX[precision], worst


@pytest.mark.contract
def test_a_step_of_a_vit_on_ranks_is_that_of_one_process(tmp_path: Path) -> None:
    """With fixed positions and projection, which no rank may move."""
    images, labels = blobs(ROWS, side_px=8, classes=2)
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    fixed = {"positions": "sin_cos", "patch_projection": "frozen"}
    spec = spec_of("moco_v2") | {
        "encoder": {"name": "vit_tiny", "patch_px": 4, **fixed},
        "method": {"name": "moco", "queue_rows": 80, "dim": 16},
    }
    case = Steps(spec, tmp_path / "pack", tmp_path / "states", exact=True, steps=2)
    case.states.mkdir()
    save_states(case)
    assert run_ranks(step_from_each, [case], tmp_path / "ranks", size=2) == [0, 0]
    for number in range(case.steps):
        before, one = (load_file(case.states / f"{n}.safetensors") for n in (number, number + 1))
        several = load_file(tmp_path / "ranks" / "0" / f"{number}.safetensors")
        assert one.keys() == several.keys()
        assert max(apart(several[key], one[key]) for key in one) <= TOLERANCE["exact"]
        still = {key for key in one if "query" in key and one[key].equal(before[key])}
        assert {"pos_embed", "weight", "bias"} == {key.split(".")[-1] for key in still}
        assert all("pos_embed" in key or "patch_embed.proj" in key for key in still)


@pytest.mark.contract
@pytest.mark.parametrize("rows", [8, 16, 32])
def test_a_step_in_float32_differs_only_where_a_value_crosses_a_relu(
    rows: int, tmp_path: Path
) -> None:
    """With `sync`, whose statistics have other last bits: a crossing is within rounding of 0."""
    case = synced_case(tmp_path, batch_rows=rows)
    save_states(case)
    rectified_alone(case, tmp_path / "alone")
    for body, arguments in ((step_from_each, [case]), (rectified_from_each, case)):
        assert run_ranks(body, arguments, tmp_path / "ranks", size=2) == [0, 0]
    for number in range(STEPS):
        one = load_file(case.states / f"{number + 1}.safetensors")
        several = load_file(tmp_path / "ranks" / "0" / f"{number}.safetensors")
        crossed = crossings(tmp_path, f"{number}.safetensors")
        assert max(crossed, default=0.0) < 1e-5
        assert crossed or max(apart(several[key], one[key]) for key in one) < 1e-5


def synced_case(folder: Path, *, batch_rows: int) -> Steps:
    images, labels = blobs(ROWS, side_px=10, classes=2)
    write_pack(folder / "pack", images, labels, classes=("a", "b"))
    (folder / "states").mkdir()
    spec = spec_of("simclr_sync") | {"batch_rows": batch_rows}
    return Steps(spec, folder / "pack", folder / "states", exact=False)


def crossings(folder: Path, name: str) -> list[float]:
    """Return the values that are above 0 on one side alone, as shares of their layer's largest."""
    alone = load_file(folder / "alone" / name)
    ranks = [load_file(folder / "ranks" / f"rank{rank}" / name) for rank in range(2)]
    crossed = []
    for layer, one in alone.items():
        # Rows of a rank are those of view 0, then those of view 1.
        parts = [values[layer].view(2, -1, *one.shape[1:]) for values in ranks]
        several = torch.cat(parts, dim=1).flatten(0, 1)
        largest = torch.maximum(one, several)
        crossed += (largest[(one > 0) != (several > 0)] / one.max()).tolist()
    return crossed


@pytest.mark.parametrize(("name", "size"), cells())
def test_bytes_of_a_step(name: str, size: int, compared: Compared) -> None:
    """At most 1.01 x (gradients + running statistics + keys + rows), whatever sync adds apart."""
    results = compared.on_ranks(name, "single", size=size)
    state = load_file(compared.states(name, "single") / "1.safetensors")
    is_frozen = METHODS[name].get("freeze", False)
    exchanged_bytes = sum(
        state[key].nbytes for key in state if is_exchanged(key, is_frozen=is_frozen)
    )
    needed = exchanged_bytes + gathered_bytes(name, size)
    for step in json.loads((results / "traffic.json").read_text()):
        assert needed <= step["reduced"] + step["gathered"] <= 1.01 * needed
        assert ("statistics" in step) == name.endswith("_sync")


def is_noise(key: str) -> bool:
    """Return whether a tensor is 0 but for rounding.

    The mean of what a batch norm has centered, and the gradient of VICReg's last bias, which all of
    its terms subtract.
    """
    return key.endswith(("predictor.1.running_mean", "momentum_buffer.tower.head.6.bias"))


def is_exchanged(key: str, *, is_frozen: bool) -> bool:
    """Return whether a tensor's size is that of what all ranks sum: a gradient, or a statistic.

    Statistics of a frozen encoder stay as they are.
    """
    is_statistic = "running_" in key and not is_frozen
    return key.startswith("optimizer.momentum_buffer") or is_statistic


def gathered_bytes(name: str, size: int) -> int:
    """Return the bytes of vectors in float32 and rows in int64 that a rank adds.

    The symmetric loss of MoCo has the keys of both views, each with its row.
    """
    method = METHODS[name]["name"]
    # Without a head, the vector of a row is the feature; a classifier has one number a class.
    dims = {"none": 256, "classification": CLASSES}
    dim_bytes, row_bytes = 4 * dims.get(method, 16), 8
    times = 2 if name == "moco_symmetric" else 1
    vectors = times * EMBEDDINGS.get(method, VIEWS.get(name, 2))
    return batch_rows(name) // size * (vectors * dim_bytes + times * row_bytes)


def apart(a: Tensor, b: Tensor) -> float:
    """Return the largest difference relative to the largest value; whole numbers must be equal."""
    if not a.is_floating_point():
        return 0.0 if a.equal(b) else float("inf")
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))
