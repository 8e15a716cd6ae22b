"""An exporter is one module and one name: a fake one publishes its file through the front door.

The copy of `trainer/` that it runs in differs in the new module and in `exports/registry.py` alone.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.trainer.package_copy import add_member, copy_packages, train

MODULE = """
import numpy as np
from trainer.exports.base import write_file
from trainer.util.json_files import json_bytes

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
    """Copy the package and add an exporter."""
    copy = copy_packages(tmp_path, "trainer")
    add_member(copy / "trainer" / "exports", {"census.py": MODULE}, NAME)
    return copy


def test_a_module_and_a_name_are_an_exporter(copy: Path, tmp_path: Path) -> None:
    """Its file is in the checksums, the event and the list of the card, as all others are."""
    images, labels = blobs(40, side_px=16, classes=2)
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    spec = {"dataset": str(tmp_path / "pack"), "epochs": 1, "encoder": {"name": "small"}}
    out = tmp_path / "out"
    printed = train(copy, spec, out)

    data = (out / "artifacts" / "census.json").read_bytes()
    counts = np.bincount(labels)
    assert json.loads(data) == {"a": int(counts[0]), "b": int(counts[1])}
    sums = (out / "artifacts" / "SHA256SUMS").read_text()
    assert f"{hashlib.sha256(data).hexdigest()}  census.json\n" in sums
    assert "census.json" in printed
    card = (out / "artifacts" / "README.md").read_text()
    assert "| `census.json` | the number of rows of each class |" in card
