"""An exporter is one module and one name: a fake one publishes its file through the front door.

The copy of `trainer/` that it runs in differs in the new module and in `exports/registry.py` alone.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.data.tiny_pack import blobs, write_pack

REPO = Path(__file__).resolve().parents[2]
MODULE = """
import numpy as np
from trainer.exports.base import json_bytes, write_file

def files(export):
    return {"census.json": "the number of rows of each class"}

def write(export, folder):
    counts = np.bincount(export.pack.labels).tolist()
    data = json_bytes(dict(zip(export.facts.labels, counts)))
    write_file(folder, "census.json", data)
"""
NAME = ('    "model_card.exporter",\n', '    "census",\n    "model_card.exporter",\n')


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with one exporter more."""
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPO / "trainer", tmp_path / "src" / "trainer", ignore=hidden)
    exports = tmp_path / "src" / "trainer" / "exports"
    (exports / "census.py").write_text(MODULE)
    registry = (exports / "registry.py").read_text()
    assert NAME[0] in registry
    (exports / "registry.py").write_text(registry.replace(*NAME))
    return tmp_path / "src"


def test_a_module_and_a_name_are_an_exporter(copy: Path, tmp_path: Path) -> None:
    """Its file is summed, told in the event and listed by the card as all others are."""
    images, labels = blobs(40, side_px=16, classes=2)
    write_pack(tmp_path / "pack", images, labels.astype(np.int64), classes=("a", "b"))
    spec = {"dataset": str(tmp_path / "pack"), "epochs": 1, "encoder": {"name": "small"}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "trainer", str(tmp_path / "spec.json"), "--out", str(out)],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    data = (out / "artifacts" / "census.json").read_bytes()
    counts = np.bincount(labels)
    assert json.loads(data) == {"a": int(counts[0]), "b": int(counts[1])}
    sums = (out / "artifacts" / "SHA256SUMS").read_text()
    assert f"{hashlib.sha256(data).hexdigest()}  census.json\n" in sums
    assert "census.json" in done.stdout
    card = (out / "artifacts" / "README.md").read_text()
    assert "| `census.json` | the number of rows of each class |" in card
