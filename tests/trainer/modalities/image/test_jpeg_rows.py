"""Rows kept as JPEG: the pixels that Pillow decodes, and trainings that see no difference."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.data.images import picture, write_zip
from tests.support.data.ingest import Ingested, ingested
from tests.support.data.tiny_pack import write_pack
from trainer.accel.device import DeviceConfig, DeviceContext
from trainer.checkpoint.fingerprint import fingerprint
from trainer.data.pack.format import Pack
from trainer.engine.train import RunPaths, train
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.packed import image_of
from trainer.schema.errors import DataError
from trainer.schema.events import Event
from trainer.spec.job import JobSpec

CPU = torch.device("cpu")
SIZES = [(40 + n % 3, 50 - n % 4) for n in range(24)]


def sent(tmp_path: Path, sizes: list[tuple[int, int]] = SIZES) -> Path:
    files: dict[str, bytes] = {}
    for number, (height, width) in enumerate(sizes):
        file = io.BytesIO()
        picture(number, height=height, width=width).save(file, "PNG")
        files[f"{'ab'[number % 2]}/{number:03d}.png"] = file.getvalue()
    return write_zip(tmp_path / "x.zip", files)


def kept(tmp_path: Path) -> Ingested:
    return ingested(sent(tmp_path), tmp_path / "jpeg", store_as="jpeg")


def jpegs(pack: Pack) -> list[bytes]:
    """Cut out of the file by where each ends."""
    data = (pack.folder / "rows.jpeg").read_bytes()
    return [b"\xff\xd8" + part for part in data.split(b"\xff\xd8")[1:]]


def test_rows_are_the_jpegs_that_pillow_writes_of_the_pixels(tmp_path: Path) -> None:
    found = kept(tmp_path)
    assert not (found.pack.folder / "pixels.u8").exists()
    assert found.facts.stored_as == "jpeg"
    for row, jpeg in enumerate(jpegs(found.pack)):
        number = int(found.pack.name(row)[2:5])
        height, width = SIZES[number]
        expected = io.BytesIO()
        picture(number, height=height, width=width).save(expected, "JPEG", quality=90)
        assert jpeg == expected.getvalue()
        assert np.array_equal(image_of(found.pack, row), np.asarray(Image.open(io.BytesIO(jpeg))))


def test_facts_are_those_of_the_pixels_that_are_trained_on(tmp_path: Path) -> None:
    found = kept(tmp_path)
    pixels = np.concatenate([image_of(found.pack, row).reshape(-1, 3) for row in range(24)]) / 255
    assert found.facts.mean == pytest.approx(pixels.mean(0), rel=1e-9)
    assert found.facts.std == pytest.approx(pixels.std(0), rel=1e-9)
    as_pixels = ingested(sent(tmp_path), tmp_path / "pixels").facts
    assert as_pixels.stored_as == "pixels"
    assert found.facts.sha256 != as_pixels.sha256
    assert found.facts.labels == as_pixels.labels == ("a", "b")


def test_photos_take_a_tenth_of_the_disk(tmp_path: Path) -> None:
    """Photos are smooth: made here of few waves, at 256 px."""
    draw = np.random.default_rng(0)
    grid = np.mgrid[:256, :320] / 40
    files = {}
    for number in range(8):
        image = np.zeros((256, 320, 3))
        for down, across, at, *colour in draw.normal(size=(6, 6)):
            image += np.sin(down * grid[0] + across * grid[1] + at)[..., None] * colour
        file = io.BytesIO()
        Image.fromarray((128 + 20 * image).clip(0, 255).astype(np.uint8)).save(file, "PNG")
        files[f"{number}.png"] = file.getvalue()
    found = ingested(write_zip(tmp_path / "x.zip", files), tmp_path / "out", store_as="jpeg")
    assert found.facts.size_bytes < 8 * 256 * 320 * 3 / 10


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("threads", [0, 4])
def test_a_source_decodes_the_rows_asked_for(tmp_path: Path, threads: int, prefetch: bool) -> None:
    """Also where all have one size: nothing is resident, since nothing is pixels."""
    same = ingested(sent(tmp_path, [(12, 9)] * 24), tmp_path / "same", store_as="jpeg").pack
    assert same.facts.same_size
    for pack in (kept(tmp_path).pack, same):
        with PackLoader(pack, device=CPU, threads=threads) as source:
            for rows in ([5, 1, 23], [7] * 9):
                if prefetch:
                    source.prefetch(torch.tensor(rows))
                batch = source.raw(torch.tensor(rows))
                for place, row in enumerate(rows):
                    height, width = pack.size(row)
                    image = batch.pixels[place, :, :height, :width].permute(1, 2, 0).numpy()
                    assert np.array_equal(image, image_of(pack, row))


def test_a_training_ends_with_the_bits_of_one_on_the_same_pixels(tmp_path: Path) -> None:
    pack = kept(tmp_path).pack
    write_pack(
        tmp_path / "pixels",
        [np.array(image_of(pack, row)) for row in range(pack.rows)],
        pack.labels.copy(),
        classes=("a", "b"),
    )
    weights = {}
    for name, folder in (("jpeg", pack.folder), ("pixels", tmp_path / "pixels")):
        events: list[Event] = []
        train(
            spec(),
            RunPaths(tmp_path / f"out {name}", folder),
            device_config=DeviceConfig(device="cpu", threads=1),
            emit=events.append,
            should_stop=lambda: False,
        )
        [encoder] = (tmp_path / f"out {name}").rglob("encoder.safetensors")
        weights[name] = encoder.read_bytes()
    assert weights["jpeg"] == weights["pixels"]


def spec() -> JobSpec:
    words = {
        "dataset": "made-up",
        "epochs": 2,
        "batch_rows": 8,
        "encoder": {"name": "small"},
        "method": {"queue_rows": 16, "dim": 16},
        "views": {"side_px": 16},
    }
    return JobSpec.model_validate_json(json.dumps(words))


def test_a_row_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    pack = kept(tmp_path).pack
    sizes = [len(jpeg) for jpeg in jpegs(pack)]
    path = pack.folder / "rows.jpeg"
    data = bytearray(path.read_bytes())
    data[sizes[0] : sizes[0] + 40] = bytes(40)
    path.write_bytes(data)
    damaged = Pack.open(pack.folder)
    image_of(damaged, 0)
    with pytest.raises(DataError, match="row 1 cannot be decoded") as told:
        image_of(damaged, 1)
    assert "Add the dataset again" in told.value.next_step
    with PackLoader(damaged, device=CPU) as source, pytest.raises(DataError, match="row 1 "):
        source.raw(torch.tensor([0, 1, 2]))


def test_a_pack_cut_short_is_told_when_it_is_opened(tmp_path: Path) -> None:
    pack = kept(tmp_path).pack
    path = pack.folder / "rows.jpeg"
    path.write_bytes(path.read_bytes()[: -len(jpegs(pack)[-1])])
    with pytest.raises(DataError, match=r"rows\.jpeg has \d+ bytes, and its last row none"):
        Pack.open(pack.folder)


def test_what_decodes_is_a_cause_of_the_result(tmp_path: Path) -> None:
    facts = {"jpeg": kept(tmp_path).facts, "pixels": ingested(sent(tmp_path), tmp_path / "p").facts}
    context = DeviceContext(device=CPU, bf16=False)
    causes = {
        name: fingerprint(spec(), context=context, facts=one, test_facts=None)["decoder"]
        for name, one in facts.items()
    }
    assert causes["pixels"] == ""
    assert causes["jpeg"].startswith("libjpeg")
