import hashlib
from pathlib import Path

import pytest

from trainer.schema.errors import StorageError
from trainer.schema.events import Checkpointed, FileRecord, Published
from worker.attempt.verify_files import is_checkpoint_whole, verify_published


def made(folder: Path, **files: bytes) -> Published:
    folder.mkdir(parents=True)
    records = []
    for name, data in files.items():
        (folder / name).write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        records.append(FileRecord(name=name, size_bytes=len(data), sha256=sha256))
    return Published(folder=folder.name, files=tuple(records))


def test_what_is_as_announced_passes(tmp_path: Path) -> None:
    published = made(tmp_path / "artifacts", a=b"x" * 3_000_000, b=b"")
    assert verify_published(tmp_path, published) == tmp_path / "artifacts"


@pytest.mark.parametrize("change", [b"", b"xxy", b"xxxx"])
def test_a_file_that_is_not_as_announced_is_named(tmp_path: Path, change: bytes) -> None:
    published = made(tmp_path / "artifacts", a=b"xxx")
    (tmp_path / "artifacts" / "a").write_bytes(change)
    with pytest.raises(StorageError, match="artifacts/a is not what the run wrote"):
        verify_published(tmp_path, published)


def test_a_missing_file_and_a_way_out_are_refused(tmp_path: Path) -> None:
    published = made(tmp_path / "out" / "artifacts", a=b"xxx")
    (tmp_path / "out" / "artifacts" / "a").rename(tmp_path / "a")
    with pytest.raises(StorageError):
        verify_published(tmp_path / "out", published)
    record = published.files[0].model_copy(update={"name": "../../a"})
    with pytest.raises(StorageError, match="leads out"):
        verify_published(tmp_path / "out", published.model_copy(update={"files": (record,)}))


def test_a_checkpoint_counts_if_its_manifest_is_the_announced_one(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "000000005"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(b"{}")
    sha256 = hashlib.sha256(b"{}").hexdigest()
    told = Checkpointed(step=5, path="checkpoints/000000005", manifest_sha256=sha256, size_bytes=2)
    assert is_checkpoint_whole(tmp_path, told)
    assert not is_checkpoint_whole(tmp_path, told.model_copy(update={"manifest_sha256": "0"}))
    assert not is_checkpoint_whole(
        tmp_path, told.model_copy(update={"path": "checkpoints/000000004"})
    )
    assert not is_checkpoint_whole(
        tmp_path / "checkpoints", told.model_copy(update={"path": "../.."})
    )
