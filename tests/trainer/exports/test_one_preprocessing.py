"""One preprocessing: the card's code, the table, `moco embed`, neighbors, torchvision, timm and
Hugging Face give large originals the same embedding, through the real packages."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tests.support.data.natural_images import write_pictures
from trainer.__main__ import main
from trainer.accel.device import DeviceContext
from trainer.data.ingest import run_ingest
from trainer.data.pack.format import Pack
from trainer.data.spec import IngestSpec
from trainer.inference.feature_extractor import load_extractor
from trainer.inference.neighbours.spec import NeighbourSearchSpec
from trainer.modalities.image.ingest import INGEST
from trainer.modalities.image.query_image import decode_upload
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

Values = NDArray[np.float32]
"""Embeddings [N, D]."""
SAME, ALIKE = 1e-4, 0.999
"""Largest difference as a share of the length; least cosine similarity."""


@dataclass(frozen=True)
class Trained:
    """A run that is over."""

    spec: JobSpec
    pictures: list[Path]
    pack: Path
    artifacts: Path
    side_px: int

    @property
    def published(self) -> Values:
        table = pq.read_table(self.artifacts / "embeddings.parquet")
        assert table["name"].to_pylist() == [path.name for path in self.pictures]
        return np.stack(table["embedding"].to_numpy())


def command(*words: str) -> None:
    """`python -m trainer`, without the seconds that another process needs to load torch."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert main([*words, "--device", "cpu"]) == 0


def train(
    folder: Path, *, encoder: str, side_px: int, count: int, store_as: str = "pixels"
) -> Trained:
    """Train for two epochs on pictures of 300 to 1,200 px."""
    suffix = "jpg" if store_as == "jpeg" else "png"
    pictures = write_pictures(folder / "pictures", count, suffix=suffix)
    ingest = IngestSpec.model_validate(
        {"dataset_id": "ds", "source": str(folder / "pictures"), "store_as": store_as}
    )
    run_ingest(
        ingest, modality=INGEST, out=folder, emit=lambda _event: None, should_stop=lambda: False
    )
    asked = {
        "dataset": str(folder / "pack"),
        "encoder": {"name": encoder},
        "epochs": 2,
        "batch_rows": 8,
        "views": {"side_px": side_px},
    }
    (folder / "spec.json").write_text(json.dumps(asked))
    command(str(folder / "spec.json"), "--out", str(folder / "run"))
    spec = JobSpec.model_validate_json(json.dumps(asked))
    pack = Pack.open(folder / "pack")
    resolved = resolve(spec, pack.facts).spec
    return Trained(resolved, pictures, folder / "pack", folder / "run" / "artifacts", side_px)


def apart(found: Values, expected: Values) -> float:
    """The largest difference of an embedding, as a share of its length."""
    return float(
        (np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max()
    )


def alike(found: Values, expected: Values) -> float:
    """The least cosine similarity."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


def python_blocks(folder: Path) -> list[str]:
    """Return the blocks of the card's section on loading."""
    text = (folder / "README.md").read_text().split("## Load it\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def by_the_card(trained: Trained, *, packages: bool, out: Path) -> dict[str, Values]:
    """A fresh interpreter runs the card's blocks in the folder, without mocoserve or a network."""
    blocks = python_blocks(trained.artifacts)
    assert len(blocks) == (4 if packages else 2)
    names = [str(path) for path in trained.pictures]
    card = f"""
found = {{}}
paths = {names!r}
with torch.no_grad():
    found["card"] = torch.cat([encoder(preprocess(Image.open(path))[None]) for path in paths])
"""
    others = """
images = [Image.open(path) for path in paths]
with torch.no_grad():
    found["timm"] = torch.cat([encoder(transform(image)[None]) for image in images])
    found["transformers"] = torch.cat(
        [model(**processor(image, return_tensors="pt")).pooler_output for image in images]
    )
"""
    end = f"""
import sys
assert not any(name.split(".")[0] in ("trainer", "service", "mocoserve") for name in sys.modules)
torch.save(found, {str(out)!r})
"""
    code = [blocks[0], blocks[1], card, *([*blocks[2:], others] if packages else []), end]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    subprocess.run(
        [sys.executable, "-I", "-c", "\n".join(code)], cwd=trained.artifacts, env=env, check=True
    )
    return {name: value.numpy() for name, value in torch.load(out, weights_only=True).items()}


def by_moco_embed(trained: Trained, out: Path) -> Values:
    return by_moco_embed_of(trained.artifacts, trained.pictures[0].parent, out)


def by_moco_embed_of(artifacts: Path, images: Path, out: Path) -> Values:
    command("embed", str(artifacts), str(images), "-o", str(out))
    return np.stack(pq.read_table(out)["embedding"].to_numpy())


def by_a_probe(trained: Trained) -> Values:
    spec = NeighbourSearchSpec(
        job=trained.spec, encoder=str(trained.artifacts), encoder_sha256="0" * 64, features="none"
    )
    pack = Pack.open(trained.pack)
    extractor = load_extractor(spec, pack, DeviceContext(device=torch.device("cpu"), bf16=False))
    images = [decode_upload(path, pack.facts) for path in trained.pictures]
    return torch.cat([extractor.features_of(image) for image in images]).numpy()


@torch.no_grad()
def by_torchvision(trained: Trained) -> Values:
    """torchvision's network and transforms; how large `Resize` makes a file, it says itself."""
    network = torchvision.models.resnet18()
    if trained.side_px <= 64:
        network.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        network.maxpool = torch.nn.Identity()
    network.load_state_dict(load_file(trained.artifacts / "encoder.safetensors"), strict=False)
    network.fc = torch.nn.Identity()
    steps = {
        step["op"]: step
        for step in json.loads((trained.artifacts / "preprocess.json").read_text())["steps"]
    }
    normalize = v2.Normalize(steps["normalize"]["mean"], steps["normalize"]["std"])
    limits = (steps["shrink"]["shorter_side_px_max"], steps["shrink"]["longer_side_px_max"])
    inputs = []
    for path in trained.pictures:
        image: Any = Image.open(path)
        width, height = v2.Resize(trained.side_px)(image).size
        ratio = min(limits[0] / min(image.size), limits[1] / max(image.size))
        if ratio < 1.0:
            stored = [round(ratio * image.height), round(ratio * image.width)]
            how = v2.InterpolationMode(steps["shrink"]["filter"].split(",")[0])
            image = F.resize(image, stored, interpolation=how)
        pixels = F.to_dtype(F.to_image(image), torch.float32, scale=True)
        pixels = F.center_crop(F.resize(pixels, [height, width]), [trained.side_px] * 2)
        inputs.append(normalize(pixels))
    found: Values = network.eval()(torch.stack(inputs)).numpy()
    return found


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((10, 64), id="64px"),
        pytest.param((16, 96), id="96px"),
        pytest.param((200, 64), id="200-at-64px", marks=pytest.mark.large),
        pytest.param((200, 96), id="200-at-96px", marks=pytest.mark.large),
    ],
)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    count, side_px = request.param
    folder = tmp_path_factory.mktemp("run")
    return train(folder, encoder="resnet18", side_px=side_px, count=count)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_ways_give_one_embedding(trained: Trained, tmp_path: Path) -> None:
    published, is_timms = trained.published, trained.side_px > 64
    found = by_the_card(trained, packages=is_timms, out=tmp_path / "card.pt")
    found["moco embed"] = by_moco_embed(trained, tmp_path / "embed.parquet")
    found["probe"] = by_a_probe(trained)
    found["torchvision"] = by_torchvision(trained)
    for name in ("card", "moco embed", "probe", "torchvision"):
        assert apart(found[name], published) <= SAME, name
    if is_timms:
        assert alike(found["timm"], published) >= ALIKE
        assert alike(found["transformers"], published) >= ALIKE
        assert apart(found["transformers"], found["timm"]) <= SAME


@pytest.mark.slow
def test_a_network_that_timm_lacks_is_not_named(trained: Trained) -> None:
    config = json.loads((trained.artifacts / "config.json").read_text())
    names = {path.name for path in trained.artifacts.iterdir()}
    ours = {"architecture": "resnet18", "stem": "cifar" if trained.side_px <= 64 else "imagenet"}
    assert config["mocoserve"] == ours
    if trained.side_px <= 64:
        assert not {"architecture", "pretrained_cfg", "model_type"} & config.keys()
        assert not {"model.safetensors", "preprocessor_config.json"} & names
        return
    model, plain = (
        trained.artifacts / name for name in ("model.safetensors", "encoder.safetensors")
    )
    assert model.samefile(plain)
    assert {"model.safetensors", "preprocessor_config.json"} <= names


@pytest.mark.slow
def test_rows_kept_as_jpeg_are_nearly_their_originals(tmp_path: Path) -> None:
    trained = train(tmp_path, encoder="small", side_px=64, count=12, store_as="jpeg")
    published = trained.published
    found = by_the_card(trained, packages=False, out=tmp_path / "card.pt")
    found["moco embed"] = by_moco_embed(trained, tmp_path / "embed.parquet")
    found["probe"] = by_a_probe(trained)
    for name, values in found.items():
        assert alike(values, published) >= ALIKE, name
    assert apart(found["card"], found["moco embed"]) <= SAME


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
def test_the_card_prepares_deep_values(channels: int, tmp_path: Path) -> None:
    """Arrays of 16 bits, larger than they are stored: the card reads them as numpy does."""
    draw = np.random.default_rng(7)
    values = draw.integers(900, 1300, (10, 45, 60, channels)).astype(np.uint16)
    np.save(tmp_path / "scans.npy", values)
    ingest = IngestSpec(dataset_id="ds", source=str(tmp_path / "scans.npy"), side_px_max=32)
    run_ingest(
        ingest,
        modality=INGEST,
        out=tmp_path,
        emit=lambda _event: None,
        should_stop=lambda: False,
    )
    asked = {
        "dataset": str(tmp_path / "pack"),
        "encoder": {"name": "small"},
        "epochs": 1,
        "batch_rows": 5,
        "views": {"side_px": 16, "jitter_p": 0.0, "grey_p": 0.0},
    }
    (tmp_path / "spec.json").write_text(json.dumps(asked))
    command(str(tmp_path / "spec.json"), "--out", str(tmp_path / "run"))
    artifacts = tmp_path / "run" / "artifacts"
    published = np.stack(pq.read_table(artifacts / "embeddings.parquet")["embedding"].to_numpy())
    scope: dict[str, Any] = {}
    with contextlib.chdir(artifacts):
        exec("\n".join(python_blocks(artifacts)[:2]), scope)
    with torch.no_grad():
        inputs = torch.stack([scope["preprocess"](one) for one in values])
        found = scope["encoder"](inputs).numpy()
    assert alike(found, published) >= ALIKE
    assert apart(found, published) <= 10 * SAME  # the sums of the first shrinking are rounded
    assert json.loads((artifacts / "config.json").read_text())["in_chans"] == channels
    assert by_moco_embed_of(artifacts, tmp_path / "scans.npy", tmp_path / "embed.parquet") == (
        pytest.approx(published, abs=1e-4 * float(np.abs(published).max()))
    )
