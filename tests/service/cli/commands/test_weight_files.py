"""`moco weights add | ls | rm`."""

from pathlib import Path

import safetensors.torch
import torch

from tests.support.client.moco_command import Moco, answer
from trainer.modalities.image.encoders.parameter_shapes import parameter_shapes
from trainer.modalities.image.encoders.spec import EncoderSpec


def test_added_listed_and_deleted(moco: Moco, tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    path.write_bytes(safetensors.torch.save({"conv1.weight": torch.ones(40, 50)}))
    added = moco("weights", "add", str(path))
    assert (added.exit_code, added.stdout) == (0, "resnet\n"), added.output
    assert "moco submit -d DATASET --encoder ENCODER --init-from resnet" in added.stderr
    assert "no known encoder" in added.stderr
    listed = answer(moco("weights", "ls", "--json"))["data"]
    weights = next(it for it in listed if it["name"] == "resnet")
    assert (weights["status"], weights["tensors"], weights["parameters"]) == ("ready", 1, 2000)
    asked = moco("weights", "rm", "resnet")
    assert (asked.exit_code, asked.stdout) == (2, "")
    assert "--yes" in asked.stderr
    deleted = moco("weights", "rm", "resnet", "--yes")
    assert deleted.stdout.startswith("resnet deleted, 7.9 KiB"), deleted.output
    gone = moco("weights", "rm", "resnet", "--yes")
    assert gone.exit_code == 102
    assert "moco weights ls" in gone.stderr


def test_the_encoder_that_weights_fit_is_told(moco: Moco, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    shapes = parameter_shapes(EncoderSpec(name="small", channels=3), side_px=32)
    path.write_bytes(safetensors.torch.save({key: torch.ones(it) for key, it in shapes.items()}))
    added = moco("weights", "add", str(path))
    assert "They fit small" in added.stderr
    assert "moco submit -d DATASET --init-from mine" in added.stderr
    assert "small" in moco("weights", "ls").stdout


def test_a_name_like_an_id_is_refused(moco: Moco, tmp_path: Path) -> None:
    path = tmp_path / "job_7.safetensors"
    path.write_bytes(safetensors.torch.save({"a": torch.ones(2)}))
    refused = moco("weights", "add", str(path))
    assert refused.exit_code == 2, refused.output
    assert "--name" in refused.stderr
