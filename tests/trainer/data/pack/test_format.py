"""Packs that cannot be read."""

import json
from pathlib import Path

import pytest

from tests.support.data.images import png, write_zip
from tests.support.data.ingest import ingested
from trainer.data.pack.format import Pack
from trainer.schema.errors import DataError, DatasetMissing


def test_a_pack_that_is_gone_or_damaged_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"pack\.json is missing"):
        Pack.open(tmp_path / "nowhere")
    files = {f"{n}.png": png(n, height=10 + n, width=25 - n) for n in range(4)}
    folder = ingested(write_zip(tmp_path / "x.zip", files), tmp_path / "out").pack.folder
    for name in ("pixels.u8", "index.bin", "pack.json"):
        data = (folder / name).read_bytes()
        for damaged in (data[:-1], data[: len(data) // 48 * 24], b""):
            (folder / name).write_bytes(damaged)
            with pytest.raises(DataError, match="damaged"):
                Pack.open(folder)
        (folder / name).unlink()
        with pytest.raises(DatasetMissing, match="is missing"):
            Pack.open(folder)
        (folder / name).write_bytes(data)
    meta = json.loads((folder / "pack.json").read_text())
    for changed in (meta | {"version": 99}, meta | {"facts": {}}, [meta], None):
        (folder / "pack.json").write_text(json.dumps(changed))
        with pytest.raises(DataError, match="damaged"):
            Pack.open(folder)
