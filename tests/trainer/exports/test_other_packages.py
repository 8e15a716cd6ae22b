"""Recipes of the card for other packages, against their names and shapes or the package itself.

The lists are written from the definitions of the formats: detectron2 has `stem` and `res2` to
`res5`, each convolution with its own `norm`; Ultralytics numbers the children of the network.
"""

import re
import sys
from contextlib import chdir
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from trainer.modalities.image.preprocessing import Preprocessing
from trainer.modalities.image.published.other_packages import other_packages

Shapes = dict[str, tuple[int, ...]]
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
STEPS = Preprocessing(side_px=96, crop="resize", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def config_of(name: str, *, stem: str = "imagenet") -> dict[str, Any]:
    width = 512 if name == "resnet18" else 2048
    return {"num_features": width, "mocoserve": {"architecture": name, "stem": stem}}


def text_of(name: str) -> str:
    text = other_packages(config_of(name), STEPS)
    assert text is not None
    return text


def run(name: str, words: str, folder: Path) -> dict[str, Any]:
    """Run the recipe with these words beside the weights of a network; return its variables."""
    network = torchvision.models.get_model(name)
    network.fc = nn.Identity()
    save_file(network.state_dict(), folder / "encoder.safetensors")
    (code,) = [
        each
        for each in re.findall(r"```python\n(.*?)```", text_of(name), re.DOTALL)
        if words in each
    ]
    scope: dict[str, Any] = {"network": network.eval()}
    with chdir(folder):
        exec(code, scope)
    return scope


def norm(name: str, width: int) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def convolution(name: str, shape: tuple[int, int, int, int]) -> Shapes:
    return {f"{name}.weight": shape} | norm(f"{name}.norm", shape[0])


def detectron2_shapes(name: str) -> Shapes:
    """Return detectron2's names of a ResNet: a stem, then res2 to res5."""
    is_basic = name == "resnet18"
    shapes = convolution("stem.conv1", (64, 3, 7, 7))
    width_in = 64
    for stage, blocks in enumerate(BLOCKS[name]):
        width = 64 * 2**stage
        width_out = width if is_basic else 4 * width
        for block in range(blocks):
            at = f"res{stage + 2}.{block}"
            if is_basic:
                shapes |= convolution(f"{at}.conv1", (width, width_in, 3, 3))
                shapes |= convolution(f"{at}.conv2", (width, width, 3, 3))
            else:
                shapes |= convolution(f"{at}.conv1", (width, width_in, 1, 1))
                shapes |= convolution(f"{at}.conv2", (width, width, 3, 3))
                shapes |= convolution(f"{at}.conv3", (width_out, width, 1, 1))
            if block == 0 and width_in != width_out:
                shapes |= convolution(f"{at}.shortcut", (width_out, width_in, 1, 1))
            width_in = width_out
    return shapes


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_detectron2_gets_its_names_in_a_file_of_tensors(name: str, tmp_path: Path) -> None:
    run(name, "detectron2", tmp_path)
    container = torch.load(tmp_path / "detectron2.pth", weights_only=True)
    shapes = {key: tuple(value.shape) for key, value in container.pop("model").items()}
    assert shapes == detectron2_shapes(name)
    assert container == {"__author__": "mocoserve", "matching_heuristics": True}


def test_detectron2s_config_has_the_input_and_the_depth() -> None:
    (lines,) = re.findall(r"```yaml\n(.*?)```", text_of("resnet18"), re.DOTALL)
    config = yaml.safe_load(lines)
    assert config["INPUT"] == {"FORMAT": "RGB"}
    assert config["MODEL"]["PIXEL_MEAN"] == [127.5, 102.0, 76.5]
    assert config["MODEL"]["PIXEL_STD"] == [51.0, 63.75, 76.5]
    resnets = {"DEPTH": 18, "STRIDE_IN_1X1": False, "RES2_OUT_CHANNELS": 64}
    assert config["MODEL"]["RESNETS"] == resnets


class _Backbone(nn.Module):
    """Ultralytics' module `TorchVision`: the children of a network in a row, without the last."""

    def __init__(self, name: str, weights: None, unwrap: bool, truncate: int) -> None:
        super().__init__()
        assert weights is None
        assert unwrap
        children = list(torchvision.models.get_model(name).children())[:-truncate]
        self.m = nn.Sequential(*children)


def _stand_in(path: str, *, task: str) -> SimpleNamespace:
    """Return what ultralytics builds from a file of layers."""
    assert task == "classify"
    layers = yaml.safe_load(Path(path).read_text())
    ((source, repeats, module, (width, *rest)),) = layers["backbone"]
    assert (source, repeats, module, width) == (-1, 1, "TorchVision", 512)
    assert layers["head"] == [[-1, 1, "Classify", ["nc"]]]
    return SimpleNamespace(model=SimpleNamespace(model=[_Backbone(*rest)]))


def test_ultralytics_gets_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package: Any = ModuleType("ultralytics")
    package.YOLO = _stand_in
    monkeypatch.setitem(sys.modules, "ultralytics", package)
    scope = run("resnet18", "YOLO", tmp_path)
    backbone = scope["yolo"].model.model[0].m.eval()
    numbers = {key.partition(".")[0] for key in scope["state"]}
    assert numbers == {"0", "1", "4", "5", "6", "7"}  # 2 and 3 are ReLU and pooling
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        feature = backbone(images).mean((2, 3))
        torch.testing.assert_close(feature, scope["network"](images))
    assert "AGPL-3.0" in text_of("resnet18")


def test_torchvision_detects_with_the_backbone(tmp_path: Path) -> None:
    scope = run("resnet18", "FasterRCNN", tmp_path)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        feature = scope["backbone"].body.eval()(images)["3"].mean((2, 3))
        torch.testing.assert_close(feature, scope["network"](images), rtol=1e-4, atol=1e-4)
        boxes = scope["detector"].eval()([torch.rand(3, 64, 64)])
    assert set(boxes[0]) == {"boxes", "labels", "scores"}
    assert scope["detector"].transform.image_mean == [0.5, 0.4, 0.3]
    assert all(part.requires_grad for part in scope["backbone"].body.parameters())


@pytest.mark.contract
def test_torchvision_segments_with_the_backbone(tmp_path: Path) -> None:
    scope = run("resnet50", "deeplabv3", tmp_path)
    weights = load_file(tmp_path / "encoder.safetensors")
    state = scope["segmenter"].backbone.state_dict()
    assert state.keys() == weights.keys()
    assert all(state[key].equal(weights[key]) for key in weights)


def test_no_recipe_for_networks_that_the_packages_lack() -> None:
    assert other_packages(config_of("resnet18", stem="cifar"), STEPS) is None
    assert (
        other_packages({"num_features": 256, "mocoserve": {"architecture": "small"}}, STEPS) is None
    )
    grey = Preprocessing(side_px=96, crop="resize", mean=(0.5,), std=(0.2,))
    assert other_packages(config_of("resnet18"), grey) is None
    assert "segmenter" not in text_of("resnet18")
