"""A job that an older version resolved keeps its rules: constants taken from that version."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.checkpoint.fingerprint import spec_sha256
from trainer.evaluators.knn.spec import KnnSpec
from trainer.optim.schedule import TrainingLength, lr_at
from trainer.rng.philox import permuted_rows
from trainer.spec.added_fields import settled
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.resolved import resolved_part

OLD = json.loads(
    """{"dataset":"made-up","test_dataset":null,"name":null,"epochs":2,"batch_rows":8,
"partial_batch":"keep","seed":0,"precision":"bf16","encoder":{"name":"small","stem":"auto"},
"method":{"name":"moco","queue_rows":25,"momentum":0.99,"temperature":0.1,"dim":16,
"head":"linear","symmetric":false,"bn":"split","bn_splits":8,"mask_own_keys":true,
"negatives_start":"random"},"views":{"side_px":12,"crop_scale":[0.2,1.0],
"crop_ratio":[0.75,1.3333333333333333],"flip_p":0.5,"jitter_p":0.8,"brightness":0.4,
"contrast":0.4,"saturation":0.4,"hue":0.1,"grey_p":0.2,"grey_first":false,"blur_p":0.0,
"blur_sigma_px":[0.1,2.0],"solarize_p":0.0},"optim":{"name":"sgd","lr":0.00375,"momentum":0.9,
"weight_decay":0.0005,"nesterov":false},"schedule":{"name":"cosine","per":"step",
"warmup_epochs":0.5},"evaluation":{"name":"knn","k":200,"temperature":0.1,
"feature":"projection","every_epochs":1,"bank_rows":50000,"test_rows":10000},
"signals_every_steps":2,"checkpoint_every_s":30.0,"checkpoint_every_steps":null,
"keep_checkpoints":2,"profile":false,"pool":"train","retry":{"max_failures":0},"metadata":{}}"""
)
"""Spec of a job in flight, as the ledger of version 0.1.0 holds it."""
OLD_SHA256 = "6f2d4e7c4bd58203c8751e8e499fbab46f6bd01c3ed21e3d38466be01a5c1265"
STORED = json.loads((Path(__file__).parent / "stored_specs.json").read_text())
"""Resolved specs and their hashes, made by the last version before the methods of today."""
OLD_ORDERS = {
    (1, 0, 0): "af5570f5a1810b7a",
    (2, 3, 1): "4cbbd8ca5215b8d1",
    (7, 5, 0): "18bb595daebaf9a1",
    (9, 1, 2): "9f80730c86c34d0e",
    (25, 7, 0): "75c536deea1ba06d",
    (225, 0, 3): "9de21c2706685af9",
    (1797, 1, 4): "4f76336b97a5d3ad",
    (2025, 2, 2): "b92a4301ed076384",
    (5000, 9, 1): "6f7d782c8ebb78e8",
    (65537, 4, 0): "513a13f749d0acd6",
}
"""(rows, seed, epoch) -> the sha256 of the order as little-endian int64, its first 16 digits."""
OLD_RATES = [0, 1 / 3, 2 / 3, 1, 0.9698463103929542, 0.883022221559489, 0.75, 0.5868240888334652]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Fields that have another value than before; what is new is not looked at."""
    found = []
    for name, value in old.items():
        if isinstance(value, dict):
            found += differences(value, new[name])
        elif new[name] != value:
            found.append(name)
    return found


def old_job() -> JobSpec:
    return settled(JobSpec.model_validate_json(json.dumps(OLD)))


def test_an_old_resolved_spec_keeps_every_rule_of_its_version(tmp_path: Path) -> None:
    images, labels = blobs(44, side_px=12, classes=3)
    facts = write_pack(tmp_path / "pack", images, labels, classes=("a", "b", "c"))
    resolved = resolve(old_job(), facts)
    assert resolved.reasons == {}
    spec = resolved.spec
    assert (spec.order, spec.schedule.warmup_from) == (1, 0)
    (knn,) = spec.evaluators
    assert isinstance(knn, KnnSpec)
    assert (knn.k, knn.feature, knn.baselines) == (200, "projection", False)
    assert not differences(OLD, spec.model_dump(mode="json"))


def test_a_new_field_does_not_make_an_old_run_inexact() -> None:
    assert spec_sha256(old_job()) == OLD_SHA256
    newest = old_job().model_copy(update={"order": 2})
    assert spec_sha256(newest) != OLD_SHA256


@pytest.mark.parametrize("stored", STORED)
def test_a_stored_job_has_the_values_and_the_hash_of_its_version(
    stored: dict[str, Any], tmp_path: Path
) -> None:
    images, labels = blobs(300, side_px=32, classes=3)
    facts = write_pack(tmp_path / "pack", images, labels, classes=("a", "b", "c"))
    spec = settled(JobSpec.model_validate_json(json.dumps(stored["spec"])))
    resolved = resolve(spec, facts)
    assert resolved.reasons == {}
    assert not differences(stored["spec"], resolved.spec.model_dump(mode="json"))
    assert spec_sha256(spec) == spec_sha256(resolved.spec) == stored["sha256"]


@pytest.mark.parametrize(("key", "digest"), OLD_ORDERS.items())
def test_the_first_rule_draws_its_old_orders(key: tuple[int, int, int], digest: str) -> None:
    rows, seed, epoch = key
    order = permuted_rows(torch.arange(rows), total=rows, seed=seed, epoch=epoch, order=1)
    data = order.numpy().astype("<i8").tobytes()
    assert hashlib.sha256(data).hexdigest()[:16] == digest


def test_an_old_warm_up_begins_at_0() -> None:
    length = TrainingLength(epochs=2, steps_per_epoch=6)
    schedule = resolved_part(old_job().schedule)
    found = [lr_at(step, spec=schedule, peak=1.0, length=length) for step in range(8)]
    assert found == pytest.approx(OLD_RATES)


def test_a_spec_that_says_what_it_wants_is_left_alone() -> None:
    words = {**OLD, "order": 2, "evaluation": None}
    spec = settled(JobSpec.model_validate_json(json.dumps(words)))
    assert (spec.order, spec.evaluation) == (2, None)


def test_settling_twice_is_settling_once() -> None:
    assert settled(old_job()) == old_job()
