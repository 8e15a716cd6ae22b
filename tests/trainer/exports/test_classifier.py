"""The download of a finetune job is a classifier: its file, its config, and the card's code."""

import json
import re
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.accel.device import DeviceConfig
from trainer.engine.train import RunPaths, train
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.spec.job import JobSpec

ROWS, SIDE_PX = 40, 16
CLASSES = ("cat", "dog", "owl")
DEVICE = DeviceConfig(device="cpu", threads=1, loader_threads=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files of a short job."""
    root = tmp_path_factory.mktemp("job")
    images, labels = blobs(ROWS, side_px=SIDE_PX, classes=len(CLASSES))
    write_pack(root / "pack", images, labels, classes=CLASSES)
    words = {"kind": "finetune", "dataset": "animals", "epochs": 1, "batch_rows": 8}
    words |= {"encoder": {"name": "small"}, "method": {"head": "mlp"}}
    train(
        JobSpec.model_validate(words),
        RunPaths(root / "out", root / "pack"),
        device_config=DEVICE,
        emit=lambda _: None,
        should_stop=lambda: False,
    )
    return root / "out" / "artifacts"


def code_of(folder: Path) -> str:
    """Return all code of the section that loads the files."""
    section = (folder / "README.md").read_text().partition("## Load it\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))


def probabilities(folder: Path, pixels: Tensor) -> Any:  # noqa: ANN401  # numpy
    """Return the answers for prepared pixels, the head by hand."""
    state = load_file(folder / "classifier.safetensors")
    encoder = build_encoder(EncoderSpec(name="small"), side_px=SIDE_PX).eval()
    encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
    with torch.no_grad():
        features = encoder(pixels).double().numpy()
    head = {name: value.double().numpy() for name, value in state.items() if "head" in name}
    hidden = np.maximum(features @ head["head.0.weight"].T + head["head.0.bias"], 0.0)
    odds = np.exp(hidden @ head["head.2.weight"].T + head["head.2.bias"])
    return odds / odds.sum(1, keepdims=True)


def test_the_file_has_the_encoder_and_the_head(folder: Path) -> None:
    state, encoder = (
        load_file(folder / f"{name}.safetensors") for name in ("classifier", "encoder")
    )
    of_encoder = {key: value for key, value in state.items() if key.startswith("encoder.")}
    assert {key.removeprefix("encoder.") for key in of_encoder} == set(encoder)
    assert all(torch.equal(value, encoder[key[8:]]) for key, value in of_encoder.items())
    assert state["head.2.bias"].shape == (len(CLASSES),)
    classifier = json.loads((folder / "config.json").read_text())["mocoserve"]["classifier"]
    assert classifier["classes"] == list(CLASSES)
    assert "classifier.safetensors" in (folder / "SHA256SUMS").read_text()


def test_the_code_of_the_card_classifies_an_image(folder: Path) -> None:
    scope: dict[str, Any] = {}
    with chdir(folder):
        exec(code_of(folder), scope)
    image = Image.fromarray(blobs(1, side_px=SIDE_PX, classes=3)[0][0])
    answers = scope["classify"](image)
    assert tuple(answers) == CLASSES
    expected = probabilities(folder, scope["preprocess"](image)[None])
    np.testing.assert_allclose([*answers.values()], expected[0], rtol=1e-5)


def test_the_card_is_that_of_a_classifier(folder: Path) -> None:
    text = " ".join((folder / "README.md").read_text().split())
    assert "An image classifier (small, 3 classes), trained with labels by mocoserve; its" in text
    assert "its encoder began with random weights" in text
    assert "Evaluator `classifier`:" in text
    assert "one of its classes for every image" in text
    assert "never for training" not in text
