"""`python -m trainer embed`, against the features that the training itself wrote."""

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.data.digits import write_digits
from trainer.__main__ import main

Told = tuple[str, str]
"""Text written to stdout and to stderr."""


def run(*arguments: str, code: int = 0) -> Told:
    """`python -m trainer`, without the seconds that another process needs to load torch."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as talk:
        assert main([*arguments, "--device", "cpu", "--threads", "1"]) == code
    return out.getvalue(), talk.getvalue()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty digits, a photo larger than the service keeps, an oblong one, and two bad files."""
    folder = write_digits(tmp_path_factory.mktemp("images"), first=0, count=40)
    noise = np.random.default_rng(0).integers(0, 256, (700, 400, 3), np.uint8)
    Image.fromarray(noise).resize((400, 700)).save(folder / "3" / "large.jpg", quality=80)
    Image.fromarray(noise[:20, :90]).save(folder / "4" / "oblong.png")
    (folder / "5" / "broken.png").write_bytes(b"\x89PNG no more")
    (folder / "5" / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module", params=["small", "resnet18"])
def trained(
    request: pytest.FixtureRequest, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The artifacts of a short run on the images."""
    out = tmp_path_factory.mktemp("run")
    spec = {
        "dataset": str(images),
        "encoder": {"name": request.param},
        "epochs": 1,
        "batch_rows": 16,
        "views": {"side_px": 16},
    }
    (out / "spec.json").write_text(json.dumps(spec))
    run(str(out / "spec.json"), "--out", str(out / "x"))
    return out / "x" / "artifacts"


def features(table: pa.Table) -> dict[str, NDArray[Any]]:
    """Return the embedding of each name."""
    names, values = table["name"].to_pylist(), table["embedding"].to_pylist()
    return {name: np.array(value, np.float32) for name, value in zip(names, values, strict=True)}


@pytest.mark.slow
def test_features_are_those_of_the_training(trained: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.parquet"
    told = json.loads(run("embed", str(trained), str(images), "-o", str(out), "--json")[0])
    assert (told["object"], told["rows"], told["path"]) == ("embedding", 42, str(out))
    assert {(file["name"], file["reason"]) for file in told["bad_files"]} == {
        ("5/broken.png", "unreadable"),
        ("5/notes.txt", "wrong_type"),
    }
    table = pq.read_table(out)
    assert table.column_names == ["name", "label", "embedding"]
    published = pq.read_table(trained / "embeddings.parquet")
    assert table.schema.field("embedding").type == published.schema.field("embedding").type
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), told["feature_dim"])
    names = table["name"].to_pylist()
    assert names == sorted(names)
    assert table["label"].to_pylist() == [name.split("/")[0] for name in names]
    ours, theirs = features(table), features(published)
    assert ours.keys() == theirs.keys()
    assert max(np.abs(ours[name] - theirs[name]).max() for name in ours) <= 1e-5
    assert [path.name for path in out.parent.iterdir()] == ["out.parquet"]


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["small"], indirect=True)
def test_what_cannot_be_embedded_is_told_and_leaves_nothing(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    out.write_text("of an earlier run")
    (tmp_path / "empty").mkdir()
    for name in ("config", "weights", "other"):
        shutil.copytree(trained, tmp_path / name)
    (tmp_path / "config" / "config.json").write_text("{}")
    weights = tmp_path / "weights" / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    config = json.loads((trained / "config.json").read_text())
    changed = json.dumps({**config, "mocoserve": {"architecture": "resnet18", "stem": "cifar"}})
    (tmp_path / "other" / "config.json").write_text(changed)
    for encoder, source, words in (
        (trained, tmp_path / "empty", "no image"),
        (trained, tmp_path / "nowhere", "does not exist.\n  next: Check the path"),
        (tmp_path / "nowhere", images, "config.json"),
        (tmp_path / "config", images, "of another kind"),
        (weights, images, "does not hold the weights"),
        (tmp_path / "other", images, "does not hold the weights of a resnet18"),
    ):
        told = run("embed", str(encoder), str(source), "-o", str(out), code=1)[1]
        assert words in told
        assert "next: " in told
        assert out.read_text() == "of an earlier run"
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["small"], indirect=True)
def test_one_flat_folder_by_the_weights_alone(trained: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "flat.parquet"
    weights = str(trained / "encoder.safetensors")
    said, _ = run("embed", weights, str(images / "1"), "-o", str(out))
    table = pq.read_table(out)
    assert f"{len(table)} rows of 256 features, 0 files skipped" in said
    assert set(table["label"].to_pylist()) == {None}
