"""A modality is one folder and one name: rows of numbers train through the front door.

The copy of `trainer/` that it runs in differs in the new folder and in the line `MODALITIES` of
`modalities/registry.py` alone.
"""

import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.support.data.dataset_facts import made_up_facts
from tests.support.trainer.package_copy import (
    add_member,
    copy_packages,
    evaluate,
    metric_lines,
    train,
    try_to_train,
)

ROWS, LENGTH = 60, 24
FILES = {
    "tones/__init__.py": "",
    "tones/spec.py": """
from typing import ClassVar, Literal
from trainer.modalities.spec import AnyEncoderSpec, AnyViewsSpec

ENCODER_NAMES = ("dense",)

class ViewsSpec(AnyViewsSpec):
    modality: ClassVar[str] = "tones"
    name: Literal["tones"] = "tones"
    noise: float | None = None

class ResolvedViewsSpec(ViewsSpec):
    noise: float

class EncoderSpec(AnyEncoderSpec):
    modality: ClassVar[str] = "tones"
    name: Literal["dense"] = "dense"
    width: int = 16
""",
    "tones/defaults.py": """
RULES = (("views.noise", lambda spec, facts: (0.2, "a fifth of a tone is noise")),)

def settle(spec, facts, *, stated):
    return {}

def check(spec, facts):
    pass

def check_alike(train, test):
    pass

def warnings(spec, facts):
    return ()
""",
    "tones/advice.py": """
def smaller_rows(spec, facts):
    return ""

def faster_reading(facts):
    return ""

def rows_on_device(facts):
    return ""

def cheaper_views(spec):
    return "add less noise"

def smaller_views(spec):
    return ""
""",
    "tones/cost.py": """
from trainer.modalities.cost import RowCost

def cost(spec, facts):
    return RowCost(parameters=1000, macs=1000.0, activations=16.0, view_values=24)
""",
    "tones/outputs.py": """
from trainer.data.formats import Words
from trainer.modalities.outputs import Outputs

class ToneOutputs(Outputs):
    words = Words(one="tone", a="a tone", many="tones", content="samples")

OUTPUTS = ToneOutputs()
""",
    "tones/modality.py": """
import json
from typing import NamedTuple
import numpy as np
import torch
from torch import nn
from trainer.rng.philox import uniforms
from trainer.schema.events import DatasetFacts
from trainer.timing.phase_timer import NullTimer

class Tones(NamedTuple):
    values: torch.Tensor

    def narrowed(self):
        return Tones(self.values.bfloat16())

class RawTones(NamedTuple):
    values: torch.Tensor

    def tensors(self):
        return (self.values,)

    def with_tensors(self, tensors):
        return RawTones(*tensors)

class TonePack:
    split = None

    def __init__(self, folder):
        self.facts = DatasetFacts.model_validate(json.loads((folder / "pack.json").read_text()))
        self.values = torch.from_numpy(np.load(folder / "tones.npy"))
        self.labels = np.load(folder / "labels.npy")
        self.rows = len(self.values)

    def name(self, row):
        return f"tone {row}"

    def rows_of(self, split):
        return np.arange(self.rows)

class ToneLoader:
    is_resident = True

    def __init__(self, pack, device):
        self.pack, self.device, self.timer = pack, device, NullTimer()

    def raw(self, rows, *, sent=None):
        return RawTones(self.pack.values[rows].to(self.device))

    def whole(self, rows):
        return self.raw(rows)

    def prefetch(self, rows):
        pass

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

class ToneViews:
    fallback_reason = None

    def __init__(self, noise):
        self.noise = noise

    def random(self, raw, rows, *, seed, epoch):
        length = raw.values.shape[1]
        draws = [uniforms(rows, seed=seed, epoch=epoch, view=v, count=length) for v in (0, 1)]
        return tuple(Tones(raw.values + self.noise * (draw - 0.5)) for draw in draws)

    def plain(self, raw):
        return Tones(raw.values)

    def raw_features(self, view):
        return view.values

class Dense(nn.Sequential):
    def __init__(self, length, width):
        super().__init__(nn.Linear(length, width), nn.ReLU(), nn.Linear(width, width))
        self.feature_dim = width

class ToneModality:
    def open_pack(self, folder, spec, *, like=None):
        return TonePack(folder)

    def decoder(self, *datasets):
        return ""

    def loader(self, pack, context, *, threads, like=None):
        return ToneLoader(pack, context.device)

    def accelerator(self, spec, facts, context):
        return None

    def views(self, spec, facts, context, *, accelerator=None):
        return ToneViews(spec.views.noise)

    def encoder(self, spec, *, accelerator=None):
        return Dense(24, spec.encoder.width)

MODALITY = ToneModality()
""",
}
ESTIMATE = """
import sys
from trainer.schema.events import DatasetFacts
from trainer.spec.cost import estimate
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
facts = DatasetFacts.model_validate_json(sys.argv[2])
spec = resolve(JobSpec.model_validate_json(sys.argv[1]), facts).spec
print(estimate(spec, facts).flops_per_row)
"""
LINE = ('MODALITIES = ("image",)\n', 'MODALITIES = ("image", "tones")\n')


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the trainer and add a modality."""
    copy = copy_packages(tmp_path, "trainer")
    add_member(copy / "trainer" / "modalities", FILES, LINE)
    return copy


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Tones of two pitches, as the modality keeps them."""
    draw = np.random.default_rng(0)
    labels = np.arange(ROWS, dtype=np.int32) % 2
    phase = draw.uniform(0, 6, ROWS)[:, None]
    tones = np.sin(np.arange(LENGTH) * (0.4 + 0.8 * labels[:, None]) + phase)
    facts = made_up_facts(modality="tones", rows=ROWS, labels=("low", "high"), label_rows=(30, 30))
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "pack.json").write_text(facts.model_dump_json())
    np.save(folder / "tones.npy", tones.astype(np.float32))
    np.save(folder / "labels.npy", labels)
    return folder


def spec_of(pack: Path, method: str = "moco") -> dict[str, Any]:
    return {
        "dataset": str(pack),
        "epochs": 3,
        "method": {"name": method},
        "views": {"name": "tones"},
        "encoder": {"name": "dense"},
        "signals_every_steps": 1,
        "checkpoint_every_steps": 2,
    }


@pytest.mark.parametrize("method", ["moco", pytest.param("simclr", marks=pytest.mark.contract)])
def test_a_folder_and_a_name_are_a_modality(
    copy: Path, pack: Path, tmp_path: Path, method: str
) -> None:
    out = tmp_path / "out"
    train(copy, spec_of(pack, method), out)
    lines = metric_lines(out)
    assert [line for line in lines if "knn_top1" in line]
    assert [line for line in lines if "knn_top1_raw" in line]
    weights = load_file(out / "artifacts" / "encoder.safetensors")
    assert weights["0.weight"].shape == (16, LENGTH)
    assert (out / "artifacts" / "embeddings.parquet").stat().st_size > 0
    with Image.open(out / "artifacts" / "atlas.png") as atlas:
        assert len(atlas.convert("RGB").getcolors(1 << 22) or ()) > 2, "dots of two labels"
    card = (out / "artifacts" / "README.md").read_text()
    assert "A tone encoder (dense, embeddings of 16 numbers)" in card
    assert "has the weights of `dense`; only mocoserve builds it" in card
    told, recipe, files = re.split("## (?:Recipe|Limits)", card)  # rules have reasons of images
    assert recipe
    assert not re.search(r"\bimages?\b|\bpx\b|Pillow", told + files)


def test_exports_of_images_are_refused_for_other_rows(
    copy: Path, pack: Path, tmp_path: Path
) -> None:
    refused = try_to_train(copy, spec_of(pack) | {"exports": ["timm"]}, tmp_path / "out")
    assert "timm: it takes encoders for image, this one is for tones" in refused.stderr


def test_its_cost_is_estimated_and_a_job_profiled(copy: Path, pack: Path, tmp_path: Path) -> None:
    spec = spec_of(pack) | {"test_dataset": str(pack), "profile": True, "epochs": 8}
    del spec["views"], spec["encoder"]  # filled by the modality of the dataset
    assert "profiled" in train(copy, spec, tmp_path / "out")
    flops = evaluate(copy, ESTIMATE, json.dumps(spec), (pack / "pack.json").read_text())
    assert flops == 2 * 1000 * (3 + 1), "queries forward and twice that backward, keys forward"


def test_it_is_killed_and_resumed_to_the_same_bits(copy: Path, pack: Path, tmp_path: Path) -> None:
    train(copy, spec_of(pack), tmp_path / "whole")
    failpoints = "train.step=SIGKILL@6"
    killed = try_to_train(copy, spec_of(pack), tmp_path / "cut", failpoints=failpoints)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "Resuming from the checkpoint" in train(copy, spec_of(pack), tmp_path / "cut")
    for name in ("encoder.safetensors", "embeddings.parquet"):
        whole, cut = (tmp_path / run / "artifacts" / name for run in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()


def test_an_encoder_of_another_modality_is_refused(copy: Path, pack: Path, tmp_path: Path) -> None:
    spec = spec_of(pack) | {"encoder": {"name": "small"}}
    refused = try_to_train(copy, spec, tmp_path / "out")
    assert "small is an encoder for image, but the dataset is tones" in refused.stderr
    assert not (tmp_path / "out" / "artifacts").exists()
