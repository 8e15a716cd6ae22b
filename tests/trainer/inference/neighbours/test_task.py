"""Neighbors by a real encoder, against numpy on the published table."""

import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load

from tests.support.data.images import encoded, picture
from tests.support.service.api import facts
from trainer.accel.device import DeviceConfig
from trainer.data.ingest import ingest
from trainer.data.pack.format import Pack
from trainer.data.spec import IngestSpec
from trainer.demo.digits import enlarged, file_name, images
from trainer.engine.train import RunPaths, train
from trainer.inference.neighbours import feature_bank
from trainer.inference.neighbours.search import chosen_rows
from trainer.inference.neighbours.spec import NeighbourSearchSpec
from trainer.inference.neighbours.task import run_probe
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.modalities.image.ingest import INGEST
from trainer.modalities.image.packed import image_of
from trainer.modalities.image.query_image import BYTES_MAX, decode_upload
from trainer.schema.errors import BadProbe, EncoderNotFound, SpecError, TrainerError
from trainer.schema.events import Event, Published
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

ROWS = 150
Loose: TypeAlias = Any
MACHINE = DeviceConfig(device="cpu", threads=1)


@dataclass(frozen=True)
class Trained:
    """A job that has ended, with a checkpoint of its middle."""

    folder: Path
    files: Path
    """The digits as they were sent."""
    pack: Path
    spec: JobSpec

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def table(self) -> tuple[list[str], NDArray[np.float32]]:
        """Names and features that the run published, in the order of the rows."""
        found = pq.read_table(self.artifacts / "embeddings.parquet")
        assert found["row"].to_pylist() == list(range(ROWS))
        return found["name"].to_pylist(), np.stack(found["embedding"].to_numpy())

    def probe(self, features: Path, **changes: Loose) -> NeighbourSearchSpec:
        fields: dict[str, Any] = {
            "job": self.spec,
            "encoder": str(self.artifacts),
            "encoder_sha256": "a" * 64,
            "features": str(features),
        }
        return NeighbourSearchSpec(**(fields | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    base = tmp_path_factory.mktemp("probed")
    pixels, labels = images()
    for row in range(ROWS):
        path = base / "files" / file_name(row, int(labels[row]))
        path.parent.mkdir(parents=True, exist_ok=True)
        enlarged(pixels[row]).save(path)
    spec = IngestSpec(dataset_id="d", source=str(base / "files"))
    facts = ingest(spec, modality=INGEST, out=base, emit=lambda _: None, should_stop=lambda: False)
    job = JobSpec(
        dataset="digits",
        encoder=EncoderSpec(name="small"),
        epochs=2,
        batch_rows=32,
        evaluation=None,
        checkpoint_every_steps=4,
        keep_checkpoints=4,
    )
    resolved = resolve(job, facts).spec
    paths = RunPaths(out=base / "run", pack=base / "pack")
    train(resolved, paths, device_config=MACHINE, emit=lambda _: None, should_stop=lambda: False)
    return Trained(base / "run", base / "files", base / "pack", resolved)


def asked(trained: Trained, spec: NeighbourSearchSpec, out: Path) -> dict[str, Any]:
    """Run a search and return its result; every file has its declared hash."""
    told: list[Event] = []
    ended = run_probe(
        spec,
        out=out,
        pack=trained.pack,
        device_config=MACHINE,
        emit=told.append,
        should_stop=lambda: False,
    )
    assert ended.outcome == "succeeded"
    (published,) = [event for event in told if isinstance(event, Published)]
    folder = out / published.folder
    assert {file.name for file in published.files} == {path.name for path in folder.iterdir()}
    found: dict[str, Any] = json.loads((folder / "neighbours.json").read_text())
    return found


def brute(values: NDArray[np.float32], row: int) -> list[tuple[int, float]]:
    """All other rows by the cosine with `row`, largest first, in double precision."""
    unit = values.astype(np.float64)
    unit /= np.sqrt((unit**2).sum(1))[:, None]
    similar = unit @ unit[row]
    order = sorted((other for other in range(len(unit)) if other != row), key=lambda o: -similar[o])
    return [(other, float(similar[other])) for other in order]


def same(found: list[dict[str, Any]], expected: list[tuple[int, float]]) -> None:
    """The same neighbours; two whose similarities float32 cannot tell apart may change places."""
    similar = dict(expected)
    assert len({one["row"] for one in found}) == len(found)
    for one, (row, best) in zip(found, expected, strict=False):
        assert one["similarity"] == pytest.approx(best, abs=2e-5)
        assert one["row"] == row or similar[one["row"]] == pytest.approx(best, abs=2e-5)


def test_neighbours_of_rows_are_those_of_brute_force(trained: Trained, tmp_path: Path) -> None:
    names, values = trained.table()
    spec = trained.probe(tmp_path / "features", rows=(0, 7, 149), k=20)
    answer = asked(trained, spec, tmp_path)
    assert (answer["rows"], answer["searched_rows"], answer["checkpoint"]) == (ROWS, ROWS, None)
    assert [one["row"] for one in answer["probes"]] == [0, 7, 149]
    for one in answer["probes"]:
        assert len(one["neighbours"]) == 20
        same(one["neighbours"], brute(values, one["row"]))
        for near in one["neighbours"]:
            assert near["name"] == names[near["row"]]
            assert near["label"] == near["name"].split("/")[0]


def test_an_uploaded_copy_of_a_row_finds_that_row_first(trained: Trained, tmp_path: Path) -> None:
    names, values = trained.table()
    spec = trained.probe(tmp_path / "features", image=str(trained.files / names[42]), k=3)
    (probe,) = asked(trained, spec, tmp_path)["probes"]
    assert (probe["row"], probe["label"]) == (None, None)
    first, *others = probe["neighbours"]
    assert first["row"] == 42
    assert first["similarity"] == pytest.approx(1.0, abs=1e-5)
    same(others, brute(values, 42))


def test_a_checkpoint_is_looked_through_and_its_features_are_kept(
    trained: Trained, tmp_path: Path
) -> None:
    """Cached features serve row queries even after the checkpoint was deleted."""
    steps = sorted(int(path.name) for path in (trained.folder / "checkpoints").iterdir())
    middle, last = (f"{steps[at]:09d}" for at in (0, -1))
    answers = []
    for number, name in enumerate((middle, last)):
        spec = trained.probe(
            tmp_path / "features",
            encoder=str(trained.folder / "checkpoints" / name),
            checkpoint=int(name),
            encoder_sha256=f"{number}" * 64,
            rows=(3,),
        )
        answers.append(asked(trained, spec, tmp_path / name))
    assert [answer["checkpoint"] for answer in answers] == [int(middle), int(last)]
    assert answers[0]["probes"] != answers[1]["probes"]
    _, values = trained.table()
    same(answers[1]["probes"][0]["neighbours"], brute(values, 3))
    gone = spec.model_copy(update={"encoder": str(tmp_path / "gone")})
    assert asked(trained, gone, tmp_path / "again")["probes"] == answers[1]["probes"]
    with pytest.raises(EncoderNotFound, match="step"):
        asked(trained, gone.model_copy(update={"encoder_sha256": "f" * 64}), tmp_path / "new")


def test_a_damaged_store_of_features_is_computed_anew(trained: Trained, tmp_path: Path) -> None:
    spec = trained.probe(tmp_path / "features", rows=(5,))
    first = asked(trained, spec, tmp_path / "1")
    (kept,) = (tmp_path / "features").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    assert asked(trained, spec, tmp_path / "2") == first
    assert kept.read_bytes() == whole


def test_of_a_large_dataset_a_sample_is_searched_and_said_so(
    trained: Trained, tmp_path: Path
) -> None:
    """The sample is the same for every encoder; rows outside it can be queries too."""
    _, values = trained.table()
    newest = max((trained.folder / "checkpoints").iterdir())
    last = {"encoder": str(newest), "checkpoint": int(newest.name), "encoder_sha256": "c" * 64}
    samples = []
    for number, changes in enumerate(({}, last)):
        features = tmp_path / f"features-{number}"
        spec = trained.probe(features, rows=tuple(range(12)), rows_max=60, **changes)
        answer = asked(trained, spec, tmp_path / str(number))
        assert answer["searched_rows"] == 60
        assert answer["note"] == "60 of 150 images were searched: a random sample, for speed."
        (kept,) = features.iterdir()
        rows = load(kept.read_bytes())["rows"].tolist()
        samples.append(rows)
        assert not set(range(12)) <= set(rows)
        for one in answer["probes"]:
            expected = [pair for pair in brute(values, one["row"]) if pair[0] in rows]
            same(one["neighbours"], expected)
    assert samples[0] == samples[1] == sorted(set(samples[0]))


def test_features_stop_when_the_time_is_up(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_bank, "BATCH_ROWS", 32)
    newest = max((trained.folder / "checkpoints").iterdir())
    spec = trained.probe(
        tmp_path / "features",
        encoder=str(newest),
        checkpoint=int(newest.name),
        features_max_s=1e-9,
    )
    answer = asked(trained, spec, tmp_path)
    assert answer["searched_rows"] == 32
    assert answer["note"].startswith("32 of 150 images")


def test_a_probe_that_is_stopped_leaves_nothing(trained: Trained, tmp_path: Path) -> None:
    ended = run_probe(
        trained.probe(tmp_path / "features"),
        out=tmp_path,
        pack=trained.pack,
        device_config=MACHINE,
        emit=lambda _: None,
        should_stop=lambda: True,
    )
    assert (ended.outcome, ended.code) == ("stopped", "stopped")
    assert list(tmp_path.iterdir()) == []


def test_the_rows_that_are_chosen_stand_for_the_labels(trained: Trained, tmp_path: Path) -> None:
    pack = Pack.open(trained.pack)
    chosen = chosen_rows(pack, among=np.arange(ROWS))
    assert len(set(chosen)) == 8
    assert len({int(pack.labels[row]) for row in chosen}) == 8
    answer = asked(trained, trained.probe(tmp_path / "features"), tmp_path)
    assert [one["row"] for one in answer["probes"]] == chosen


def test_the_pictures_show_what_was_found(trained: Trained, tmp_path: Path) -> None:
    answer = asked(trained, trained.probe(tmp_path / "f", rows=(9, 10), k=4), tmp_path)
    side, pack = answer["tile_px"], Pack.open(trained.pack)
    tiles = np.asarray(Image.open(tmp_path / "answer" / "tiles.png"))
    assert tiles.shape == (2 * side, 5 * side, 3)
    near = answer["probes"][1]["neighbours"][2]["row"]
    cell = tiles[side : 2 * side, 3 * side : 4 * side]
    assert (cell == np.kron(image_of(pack, near), np.ones((3, 3, 1), np.uint8))).all()
    with Image.open(tmp_path / "answer" / "sheet.png") as sheet:
        assert sheet.width > tiles.shape[1]


def test_a_row_that_is_not_there_is_refused(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="row 150 is none of the 150 rows"):
        asked(trained, trained.probe(tmp_path / "features", rows=(150,)), tmp_path)
    assert not (tmp_path / "answer").exists()


def huge_png() -> bytes:
    """A few bytes that ask for 900 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")


def animated(kind: str) -> bytes:
    file = io.BytesIO()
    picture(1).save(file, kind, save_all=True, append_images=[picture(2)])
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"hello", "no picture"),
        (encoded(picture(1))[:60], "cut off|damaged"),
        (b"\xff\xd8\xff" + bytes(50), "damaged"),
        (huge_png(), "too large"),
        (animated("PNG"), "animated"),
        (animated("WEBP"), "animated"),
        (animated("TIFF"), "several pictures"),
        (animated("GIF"), "animated"),
        (b"BM" + bytes(BYTES_MAX), "20000002 bytes"),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_with_its_reason(
    data: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(BadProbe, match=words) as refused:
        decode_upload(tmp_path / "image", facts())
    assert isinstance(refused.value, TrainerError)
    assert refused.value.next_step


def test_an_image_that_can_be_used_is_upright_rgb(tmp_path: Path) -> None:
    turned = Image.fromarray(np.full((10, 20), 7, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "image.jpg", exif=exif)
    found = decode_upload(tmp_path / "image.jpg", facts())
    assert (found.height, found.width, len(found.pixels)) == (20, 10, 600)
