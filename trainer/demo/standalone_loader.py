"""Load a downloaded encoder in plain torch, from its files alone."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

Layers = list[dict[str, Any]]


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of the download."""
    found: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return found


def rebuild(layers: Layers) -> nn.Sequential:
    """The network that `config.json` spells out, with fresh weights."""
    made = OrderedDict(
        (layer["name"], getattr(nn, layer["type"])(**layer["args"])) for layer in layers
    )
    return nn.Sequential(made)


def load(folder: Path) -> nn.Sequential:
    """The trained encoder, from `encoder.safetensors`; `encoder.pth` must hold the same.

    Raises RuntimeError if the files do not fit each other.
    """
    encoder = rebuild(read_config(folder)["mocoserve"]["layers"])
    state = load_file(folder / "encoder.safetensors")
    encoder.load_state_dict(state)
    other = torch.load(folder / "encoder.pth", weights_only=True)
    if state.keys() != other.keys() or not all(state[k].equal(other[k]) for k in state):
        raise RuntimeError("encoder.pth and encoder.safetensors differ")
    return encoder.eval()


def untrained(folder: Path, views: Tensor, *, seed: int) -> nn.Sequential:
    """Return the same network with random weights.

    Its batch norms have the statistics of `views`, so only the training is missing.
    """
    torch.manual_seed(seed)
    encoder = rebuild(read_config(folder)["mocoserve"]["layers"])
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over all batches
    with torch.no_grad():
        for batch in torch.split(views, 256):
            encoder(batch)
    return encoder.eval()


def prepared(folder: Path, pictures: list[Image.Image]) -> Tensor:
    """Square pictures as `preprocess.json` asks for them, float32 [N, 3, S, S]."""
    steps = json.loads((folder / "preprocess.json").read_text("utf-8"))["steps"]
    wanted = {step["op"]: step for step in steps}
    side = int(wanted["resize"]["shorter_side_px"])
    resized = [
        picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        for picture in pictures
    ]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in resized]))
    mean, std = (torch.tensor(wanted["normalize"][key])[:, None, None] for key in ("mean", "std"))
    normalised: Tensor = (pixels.permute(0, 3, 1, 2).float() / 255.0 - mean) / std
    return normalised


@torch.no_grad()
def features(encoder: nn.Module, views: Tensor) -> NDArray[np.float32]:
    """[N, D] of `views` [N, 3, S, S]."""
    found = torch.cat([encoder(batch) for batch in torch.split(views, 256)])
    return found.numpy().astype(np.float32)
