"""Artifacts, used by someone who has only torch, torchvision and the folder."""

import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest.mock import Mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from tests.support.system.required_tools import needs
from tests.support.trainer.made_up_export import (
    CPU,
    ROWS,
    SIDE,
    made_up_export,
)
from tests.support.trainer.reference_views import reference_plain
from tests.support.trainer.spec_members import beside
from trainer.exports import embedding_map, network_files, weights
from trainer.exports.atomic_folder import link
from trainer.exports.base import Export
from trainer.exports.model_card import card, exporter
from trainer.exports.publish import publish
from trainer.inference.embedder import load_encoder
from trainer.methods.registry import method_names, part_of
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.encoders.spec import EncoderName
from trainer.modalities.image.packed import image_of
from trainer.modalities.image.preprocessing import from_json
from trainer.modalities.image.random_views import ImageViews
from trainer.modalities.image.spec import image_encoder, resolved_views
from trainer.schema.errors import DivergedError, StorageError
from trainer.schema.events import Published
from trainer.schema.verdicts import of_code
from trainer.spec.added_fields import settled
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

FILES = {
    "README.md",
    "SHA256SUMS",
    "atlas.png",
    "config.json",
    "embeddings.parquet",
    "encoder.pth",
    "encoder.safetensors",
    "preprocess.json",
}


class Done(NamedTuple):
    export: Export
    published: Published
    folder: Path


@pytest.fixture(scope="module", params=["small", "resnet18"])
def done(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Done]:
    folder = tmp_path_factory.mktemp(request.param)
    export = made_up_export(request.param, folder)
    with export.source:
        yield Done(export, publish(export, out=folder / "out"), folder / "out" / "artifacts")


def _python_blocks(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def test_every_file_is_there_with_its_size_and_hash(done: Done) -> None:
    assert done.published.folder == "artifacts"
    assert {file.name for file in done.published.files} == FILES
    assert {path.name for path in done.folder.iterdir()} == FILES
    assert [path.name for path in done.folder.parent.iterdir()] == ["artifacts"]
    for file in done.published.files:
        assert (done.folder / file.name).stat().st_size == file.size_bytes


@needs("sha256sum")
def test_sha256sum_agrees(done: Done) -> None:
    said = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"],
        cwd=done.folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert sorted(said.splitlines()) == [f"{name}: OK" for name in sorted(FILES - {"SHA256SUMS"})]


def test_the_cards_code_loads_the_encoder_without_mocoserve(done: Done, tmp_path: Path) -> None:
    """A fresh interpreter runs the card's own blocks; its features must be those of the table."""
    load, prepare = _python_blocks(done.folder)[:2]
    for row in range(3):
        Image.fromarray(image_of(done.export.pack, row)).save(tmp_path / f"{row}.png")
    check = f"""
import sys, PIL.Image, warnings
images = [preprocess(PIL.Image.open(r"{tmp_path}/" + f"{{row}}.png")) for row in range(3)]
with torch.no_grad():
    found = encoder(torch.stack(images))
plain = torch.load("encoder.pth", weights_only=True)
safe = load_file("encoder.safetensors")
assert plain.keys() == safe.keys() and all(torch.equal(plain[key], safe[key]) for key in safe)
assert not any(name.split(".")[0] in ("trainer", "service", "worker") for name in sys.modules)
torch.save(found, r"{tmp_path}/found.pt")
"""
    subprocess.run(
        [sys.executable, "-I", "-c", load + "\n" + prepare + "\n" + check],
        cwd=done.folder,
        check=True,
    )
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    table = pq.read_table(done.folder / "embeddings.parquet")
    expected = np.stack(table["embedding"].to_numpy()[:3])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_cards_code_prepares_images_as_they_were_trained_on(tmp_path: Path) -> None:
    """Images that are not square, through the card's transform and through Views.plain."""
    with (export := made_up_export("small", tmp_path, height=23)).source:
        publish(export, out=tmp_path / "out")
        ours = export.views.plain(export.source.whole(torch.arange(ROWS))).pixels
    scope: dict[str, Any] = {"torch": torch}
    exec(_python_blocks(tmp_path / "out" / "artifacts")[1], scope)
    theirs = torch.stack(
        [scope["preprocess"](Image.fromarray(image_of(export.pack, row))) for row in range(ROWS)]
    )
    torch.testing.assert_close(ours[:, :2], theirs[:, :2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours[:, 2], theirs[:, 2], rtol=0, atol=1e-3)


def test_the_table_holds_every_row_in_order(done: Done) -> None:
    table = pq.read_table(done.folder / "embeddings.parquet").to_pydict()
    assert list(table) == ["row", "name", "label", "embedding"]
    assert table["row"] == list(range(ROWS))
    assert table["name"][3] == "000003.png"
    assert table["label"] == ["dark", "light"] * 19 + ["dark", None]
    assert {len(row) for row in table["embedding"]} == {256 if _small(done) else 512}


def test_the_config_names_nothing_that_timm_lacks(done: Done) -> None:
    config = json.loads((done.folder / "config.json").read_text())
    assert not {"architecture", "pretrained_cfg"} & config.keys()
    assert (config["num_classes"], config["num_features"]) == (0, 256 if _small(done) else 512)
    assert config["mocoserve"]["architecture"] == done.export.spec.encoder.name
    assert ("layers" in config["mocoserve"]) == _small(done)
    assert config["mocoserve"].get("stem") == (None if _small(done) else "cifar")


def test_the_steps_are_stated_in_order(done: Done) -> None:
    steps = json.loads((done.folder / "preprocess.json").read_text())["steps"]
    by_op = {step["op"]: step for step in steps}
    assert list(by_op) == [
        "upright", "to_rgb", "shrink", "scale", "resize", "center_crop", "normalize",
    ]  # fmt: skip
    assert by_op["shrink"]["shorter_side_px_max"] == 256
    assert by_op["resize"]["shorter_side_px"] == SIDE
    assert by_op["normalize"]["mean"] == list(done.export.facts.mean)
    assert by_op["normalize"]["std"] == [*done.export.facts.std[:2], 0.001]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vit_tiny"])
def test_timm_loads_the_folder_where_it_has_the_network(name: EncoderName, tmp_path: Path) -> None:
    """Through the card's own block, and with timm's idea of the input."""
    with (export := made_up_export(name, tmp_path, side=96)).source:
        publish(export, out=tmp_path / "out")
    folder = tmp_path / "out" / "artifacts"
    with contextlib.chdir(folder):
        scope: dict[str, Any] = {"torch": torch}
        exec("\n".join(_python_blocks(folder)[:3]), scope)
    encoder = scope["encoder"]
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), export.encoder(images), rtol=1e-4, atol=1e-5)
    wanted = encoder.pretrained_cfg
    assert (list(wanted["input_size"]), wanted["crop_pct"]) == ([3, 96, 96], 1.0)
    assert list(wanted["mean"]) == list(export.facts.mean)
    assert (folder / "model.safetensors").samefile(folder / "encoder.safetensors")
    architecture = "vit_tiny_patch16_224" if name == "vit_tiny" else name
    assert json.loads((folder / "config.json").read_text())["architecture"] == architecture


@pytest.mark.parametrize(("name", "side"), [("convnext_tiny", 32), ("vit_tiny", 16)])
def test_the_cards_code_loads_every_family(name: EncoderName, side: int, tmp_path: Path) -> None:
    """As moco embed does."""
    with (export := made_up_export(name, tmp_path, side=side)).source:
        folder = tmp_path / "files"
        folder.mkdir()
        for part in (weights, network_files, exporter):
            part.write(export, folder)
    scope: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(_python_blocks(folder)[0], scope)
    images = torch.randn(2, 3, side, side)
    ours = load_encoder(folder).network
    with torch.no_grad():
        expected = export.encoder(images)
        for network in (scope["encoder"], ours):
            torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_a_disk_without_hard_links_gets_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    monkeypatch.setattr(Path, "hardlink_to", Mock(side_effect=OSError(95, "not supported")))
    link(tmp_path / "file", tmp_path / "name")
    assert (tmp_path / "name").read_bytes() == b"weights"


def test_a_job_in_flight_keeps_its_old_preprocessing(tmp_path: Path) -> None:
    """Resolved before there was a choice: the square is cut first, and the card says so."""
    with (export := made_up_export("small", tmp_path, height=23)).source:
        old = export.spec.model_dump(mode="json")
        del old["views"]["evaluation_crop"]
        stored = settled(JobSpec.model_validate_json(json.dumps(old)))
        spec = resolve(stored, export.facts).spec
        assert resolved_views(spec).evaluation_crop == "square"
        views = ImageViews(
            ImageAugmenter(
                resolved_views(spec), mean=export.facts.mean, std=export.facts.std, device=CPU
            )
        )
        publish(replace(export, spec=spec, views=views), out=tmp_path / "out")
        ours = views.plain(export.source.whole(torch.arange(ROWS))).pixels
    scope: dict[str, Any] = {"torch": torch}
    exec(_python_blocks(tmp_path / "out" / "artifacts")[1], scope)
    images = [Image.fromarray(image_of(export.pack, row)) for row in range(ROWS)]
    theirs = torch.stack([scope["preprocess"](image) for image in images])
    torch.testing.assert_close(ours[:, :2], theirs[:, :2], rtol=1e-4, atol=1e-4)
    steps = json.loads((tmp_path / "out" / "artifacts" / "preprocess.json").read_text())
    assert from_json(steps).crop == "square"
    first = torch.from_numpy(image_of(export.pack, 0).copy()).permute(2, 0, 1)
    cut_first = reference_plain(first, side_px=SIDE)[:2]
    mean, std = (torch.tensor(m)[:2, None, None] for m in (export.facts.mean, export.facts.std))
    torch.testing.assert_close(ours[0, :2], (cut_first - mean) / std, rtol=1e-4, atol=1e-4)


def test_the_layers_of_the_small_encoder_rebuild_it(done: Done) -> None:
    config = json.loads((done.folder / "config.json").read_text())
    if "layers" not in config["mocoserve"]:
        pytest.skip("a ResNet is named, not spelled out")
    chain = nn.Sequential()
    for layer in config["mocoserve"]["layers"]:
        chain.append(getattr(nn, layer["type"])(**layer["args"]))
    state = torch.load(done.folder / "encoder.pth", weights_only=True)
    chain.load_state_dict(dict(zip(chain.state_dict(), state.values(), strict=True)))
    images = torch.randn(2, 3, SIDE, SIDE)
    torch.testing.assert_close(chain.eval()(images), done.export.encoder(images))


def test_publishing_twice_gives_the_same_bytes(done: Done, tmp_path: Path) -> None:
    """Another process of the same run differs in speed only, and speed is in no file."""
    slower = [line | {"rows_per_s": 1.0, "data_s": 7.0} for line in done.export.history]
    again = made_up_export(image_encoder(done.export.spec).name, tmp_path, history=slower)
    with again.source:
        assert publish(again, out=tmp_path / "out").files == done.published.files
        assert publish(again, out=tmp_path / "out").files == done.published.files


def test_the_atlas_shows_every_row_once(done: Done) -> None:
    """Each thumbnail, made here from the pixels, is found in the picture at exactly one place."""
    picture = np.asarray(Image.open(done.folder / "atlas.png"))
    assert picture.shape == (1600, 1600, 3)
    size = embedding_map.THUMB_PX
    edge = (embedding_map.CELL_PX - size) // 2 - 1
    columns = (
        embedding_map.MARGIN_PX + edge + embedding_map.CELL_PX * np.arange(embedding_map.COLUMNS)
    )
    lines = embedding_map.HEADER_PX + edge + embedding_map.CELL_PX * np.arange(embedding_map.LINES)
    shown = [picture[y : y + size, x : x + size].tobytes() for x in columns for y in lines]
    for row in range(ROWS):
        thumb = np.asarray(
            embedding_map.thumbnail(Image.fromarray(image_of(done.export.pack, row)))
        )
        assert shown.count(thumb.tobytes()) == 1


def test_the_card_tells_data_result_recipe_and_reasons(done: Done) -> None:
    text = (done.folder / "README.md").read_text()
    assert "`method.queue_rows` | 10" not in text
    for words in (
        "# A|B job", "| images | 40 |", "0 rejected files",
            "**Healthy.** Loss 4.495 (chance 4.500)",
            "| this encoder | 80.0% |", "| raw input | 60.0% |", "| untrained encoder | 40.0% |",
            "| majority class | 25.0% |", "(k = 5, cosine)",
        f"| `views.crop_scale` | {_crop(done)} | {done.export.reasons['views.crop_scale']} |",
        "60 optimizer steps", "▁", "squares", "Guessing has a loss of 4.5",
    ):  # fmt: skip
        assert words in text
    assert "/some/where" not in text
    assert "rows_per_s" not in text
    assert all(len(line) <= 240 for line in text.splitlines() if not line.startswith("|"))


def test_the_card_says_when_raw_pixels_do_as_well(done: Done) -> None:
    below = [{**line, "knn_top1": 0.55} for line in done.export.history]
    text = card.card(replace(done.export, history=below, reasons={}), files={})
    assert "**No better than raw input.** kNN top-1 55.0% (raw input 60.0%," in text
    assert of_code("no_better_than_raw").advice in text


@pytest.mark.parametrize(
    ("precision", "words"),
    [("bf16", "in bf16; embeddings"), ("fp32", "IEEE fp32, never in TF32"), (None, "")],
)
def test_the_card_tells_what_a_gpu_computed_in(
    done: Done, precision: Literal["bf16", "fp32"] | None, words: str
) -> None:
    text = card.card(replace(done.export, gpu_precision=precision, reasons={}), files={})
    assert words in text
    assert ("fp32" in text) == (precision is not None)


@pytest.mark.parametrize(
    ("changes", "used"),
    [
        ({}, False),
        ({"positives": {"name": "label"}}, True),
        ({"batching": {"rows_per_label": 4}}, True),
    ],
)
def test_the_card_says_whether_labels_were_used(
    done: Done, changes: dict[str, Any], used: bool
) -> None:
    sent = JobSpec.model_validate({**done.export.spec.model_dump(), **changes})
    spec = resolve(sent, done.export.facts).spec
    text = card.card(replace(done.export, spec=spec, reasons={}), files={})
    words = ("pretrained with labels", "for training and evaluation", "never for training")
    assert [word in text for word in words] == [used, used, not used]


@pytest.mark.parametrize("method", method_names())
def test_the_card_says_how_to_read_the_loss_of_its_method(done: Done, method: str) -> None:
    words = done.export.spec.model_dump(exclude={"kind", "evaluation"})
    changes = {"method": {"name": method}, **beside(method)}
    sent = JobSpec.model_validate(words | changes)
    spec = resolve(sent, done.export.facts).spec
    text = card.card(replace(done.export, spec=spec, reasons={}), files={})
    assert " ".join(part_of(method, "spec").READING.split()) in " ".join(text.split())
    assert ("rises at first" in text) == (method in ("moco", "nnclr"))
    assert "Guessing has a loss of 4.5" in text


def test_a_full_disk_leaves_the_files_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = made_up_export("small", tmp_path)
    out = tmp_path / "out"
    before = publish(export, out=out).files

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.exports.base.write_synced", full)
    with pytest.raises(StorageError, match="artifacts could not be written: the disk is full"):
        publish(export, out=out)
    export.source.close()
    assert [path.name for path in out.iterdir()] == ["artifacts"]
    assert {path.name for path in (out / "artifacts").iterdir()} == {f.name for f in before}


def test_features_that_overflow_are_a_run_that_diverged(tmp_path: Path) -> None:
    """Finite weights can be so large that no feature is."""
    export = made_up_export("small", tmp_path)
    with torch.no_grad():
        for value in export.encoder.parameters():
            value.mul_(1e30)
    with pytest.raises(DivergedError, match=f"not finite after step {export.step}"):
        publish(export, out=tmp_path / "out")
    export.source.close()
    assert not list((tmp_path / "out").glob("*"))


def test_a_png_is_a_png(done: Done) -> None:
    picture = Image.open(io.BytesIO((done.folder / "atlas.png").read_bytes()))
    picture.verify()
    assert picture.format == "PNG"


def _crop(done: Done) -> str:
    return "0.2 to 1" if _small(done) else "0.08 to 1"


def _small(done: Done) -> bool:
    return done.export.spec.encoder.name == "small"
