"""A run that begins with weights: in every tower, with fresh heads, under the hash of the file."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.accel.device import DeviceConfig
from trainer.checkpoint.init_file import InitWeights, keep_copy, read_init
from trainer.engine.build import RunPaths, build_run
from trainer.methods.base import Method
from trainer.schema.errors import SpecError, StorageError
from trainer.spec.job import JobSpec

WORDS = {
    "dataset": "x",
    "encoder": {"name": "small"},
    "method": {"queue_rows": 8, "dim": 8},
    "batch_rows": 8,
}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    images, labels = blobs(16, side_px=8, classes=2)
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    return tmp_path / "pack"


def method_of(pack: Path, *, init: Path | None) -> tuple[Method, dict[str, str]]:
    words = WORDS if init is None else WORDS | {"init_from": {"weights": "w"}}
    paths = RunPaths(out=pack.parent / f"out-{bool(init)}", pack=pack, init=init)
    config = DeviceConfig(device="cpu", threads=1)
    with build_run(JobSpec.model_validate(words), paths, device_config=config) as run:
        return run.method, run.checkpoint_manager.policy.fingerprint


def test_all_towers_begin_with_the_weights_and_heads_are_those_of_any_run(pack: Path) -> None:
    fresh, causes = method_of(pack, init=None)
    state = fresh.state_dict()
    weights = {
        name.removeprefix("query.encoder."): torch.randn(value.shape)
        for name, value in state.items()
        if name.startswith("query.encoder.") and value.is_floating_point()
    }
    init = pack.parent / "w.safetensors"
    safetensors.torch.save_file(weights, init)
    method, begun = method_of(pack, init=init)
    loaded = method.state_dict()
    for name, value in weights.items():
        assert torch.equal(loaded[f"query.encoder.{name}"], value)
        assert torch.equal(loaded[f"key.encoder.{name}"], value)
    assert torch.equal(loaded["query.head.weight"], state["query.head.weight"])
    assert int(loaded["negatives.fill"]) == 0, "only real keys are held against a trained encoder"
    assert begun["init_sha256"] == read_init(init, sha256=None).sha256
    assert "init_sha256" not in causes


def test_a_changed_file_and_a_hostile_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"conv1.weight": torch.zeros(2)}, path)
    known = read_init(path, sha256=None)
    assert isinstance(known, InitWeights)
    assert read_init(path, sha256=known.sha256).sha256 == known.sha256
    with pytest.raises(SpecError, match="the file has the sha256"):
        read_init(path, sha256="0" * 64)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SpecError, match="holds no weights: its tensors have 8 bytes, but 9"):
        read_init(path, sha256=None)
    with pytest.raises(StorageError, match="nowhere cannot be read"):
        read_init(tmp_path / "nowhere", sha256=None)


def test_a_copy_is_made_once_and_outlives_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "out" / "b"
    source.write_bytes(b"first")
    keep_copy(source, target)
    source.write_bytes(b"second")
    keep_copy(source, target)
    source.unlink()
    assert keep_copy(source, target).read_bytes() == b"first"
