"""Python that takes the weights into other packages: torchvision's, detectron2 and Ultralytics.

Only ResNets as ImageNet has them, of RGB, fit. Sources of the names: MoCo's own converter for
detectron2, and the modules of Ultralytics and torchvision. None of these packages is needed here.
"""

from typing import Any

from trainer.modalities.image.preprocessing import RGB, Preprocessing

DILATED = ("resnet50", "resnet101")
"""Networks that torchvision's segmentation models are built on."""
BASIC = ("resnet18", "resnet34")
"""Networks of two convolutions a block: 64 channels after the first stage, 512 at the end."""


def other_packages(config: dict[str, Any], steps: Preprocessing) -> str | None:
    """Return Markdown whose code blocks run in the folder of the files; None if nothing fits."""
    name = config["mocoserve"]["architecture"]
    is_usual = config["mocoserve"].get("stem") == "imagenet" and steps.channels == RGB
    if not is_usual or "resnet" not in name:
        return None
    words = {"name": name, "mean": list(steps.mean), "std": list(steps.std)}
    parts = [DETECTION.format(**words)]
    if name in DILATED:
        parts.append(SEGMENTATION.format(name=name))
    parts += [_detectron2(name, steps), YOLO.format(name=name, width=config["num_features"])]
    return "\n\n".join(parts)


def _detectron2(name: str, steps: Preprocessing) -> str:
    is_wide = name.startswith("wide_resnet")
    depth = name.removeprefix("wide_resnet").removesuffix("_2").removeprefix("resnet")
    resnets = [f"DEPTH: {depth}", "STRIDE_IN_1X1: False"]
    if name in BASIC:
        resnets.append("RES2_OUT_CHANNELS: 64")
    if is_wide:
        resnets.append("WIDTH_PER_GROUP: 128")
    return DETECTRON2.format(
        resnets=", ".join(resnets),
        mean=[round(255 * value, 3) for value in steps.mean],
        std=[round(255 * value, 3) for value in steps.std],
    )


DETECTION = """Object detection with torchvision; the backbone loads strictly:

```python
from safetensors.torch import load_file
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

backbone = resnet_fpn_backbone(backbone_name="{name}", weights=None, trainable_layers=5)
backbone.body.load_state_dict(load_file("encoder.safetensors"))
detector = FasterRCNN(backbone, num_classes=2, image_mean={mean}, image_std={std})
```"""
SEGMENTATION = """Segmentation with torchvision:

```python
from safetensors.torch import load_file
from torchvision.models.segmentation import deeplabv3_{name}

segmenter = deeplabv3_{name}(weights=None, weights_backbone=None, num_classes=2)
segmenter.backbone.load_state_dict(load_file("encoder.safetensors"))
```"""
DETECTRON2 = """detectron2 has other names for the weights. This writes them to a file for it:

```python
import re

import torch
from safetensors.torch import load_file


def detectron2_name(key):
    key = key if key.startswith("layer") else "stem." + key
    key = re.sub(r"^layer(\\d)", lambda stage: f"res{{int(stage[1]) + 1}}", key)
    key = re.sub(r"\\bbn(\\d)", r"conv\\1.norm", key)
    return key.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


weights = load_file("encoder.safetensors")
model = {{detectron2_name(key): value for key, value in weights.items()}}
container = {{"model": model, "__author__": "mocoserve", "matching_heuristics": True}}
torch.save(container, "detectron2.pth")
```

Its config then says:

```yaml
MODEL:
  WEIGHTS: detectron2.pth
  PIXEL_MEAN: {mean}
  PIXEL_STD: {std}
  BACKBONE: {{FREEZE_AT: 0}}
  RESNETS: {{{resnets}}}
INPUT: {{FORMAT: RGB}}
```"""
YOLO = """Ultralytics can classify with the network as its backbone. These weights do not fit its
detectors, which are other networks. Its own preprocessing has no mean and std, so train all layers.
Ultralytics is licensed under AGPL-3.0:

```python
from pathlib import Path

from safetensors.torch import load_file
from ultralytics import YOLO

Path("encoder-cls.yaml").write_text(
    "nc: 2\\n"
    "backbone:\\n"
    "  - [-1, 1, TorchVision, [{width}, {name}, null, True, 2]]\\n"
    "head:\\n"
    "  - [-1, 1, Classify, [nc]]\\n"
)
yolo = YOLO("encoder-cls.yaml", task="classify")
places = {{"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}}
state = {{}}
for key, value in load_file("encoder.safetensors").items():
    part, _, rest = key.partition(".")
    state[f"{{places[part]}}.{{rest}}"] = value
yolo.model.model[0].m.load_state_dict(state)
```"""
