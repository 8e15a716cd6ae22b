"""Checkpoints are read back whole or not at all."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.checkpoint import checkpoint_files as checkpoints
from trainer.checkpoint.checkpoint_files import META, Meta
from trainer.checkpoint.encoder_file import STATE
from trainer.schema.errors import CheckpointError, StorageError
from trainer.schema.events import FileRecord
from trainer.util import atomic_files
from trainer.util.atomic_files import MANIFEST

CAUSES = {"code": "a", "threads": "1"}


def state(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    weights = torch.randn(4, 3, 2, 2, generator=generator)
    return {
        "w": weights.contiguous(memory_format=torch.channels_last),
        "n": torch.tensor(step),
        "rows": torch.arange(5),
    }


def save(folder: Path, step: int, *, keep: int = 2) -> checkpoints.Saved:
    return checkpoints.save(folder, state(step), Meta(step=step, fingerprint=CAUSES), keep=keep)


def test_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = save(tmp_path, 7)
    loaded = checkpoints.load(saved.path)
    assert loaded.meta == Meta(step=7, fingerprint=CAUSES)
    assert loaded.state.keys() == state(7).keys()
    assert all(torch.equal(loaded.state[name], value) for name, value in state(7).items())
    assert saved.path.name == "000000007"
    assert {path.name for path in saved.path.iterdir()} == {STATE, META, MANIFEST}
    assert saved.size_bytes == sum(path.stat().st_size for path in saved.path.iterdir())


def test_equal_states_are_equal_files(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a", 7), save(tmp_path / "b", 7)
    assert first.manifest_sha256 == second.manifest_sha256


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (3, 20, 100):
        save(tmp_path, step)
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == [
        "000000100",
        "000000020",
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from([STATE, META, MANIFEST]), where=st.floats(0, 1, exclude_max=True),
       bit=st.integers(0, 7), cut=st.booleans())  # fmt: skip
def test_any_damage_is_found_and_the_one_before_is_taken(
    tmp_path: Path, name: str, where: float, bit: int, cut: bool
) -> None:
    """Truncate any file anywhere, or flip any bit."""
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    path = newer.path / name
    data = bytearray(path.read_bytes())
    place = int(where * len(data))
    if cut:
        data = data[:place]
    else:
        data[place] ^= 1 << bit
    path.write_bytes(data)
    found = checkpoints.load_newest([tmp_path])
    assert found is not None
    assert found.path == older.path
    assert all(torch.equal(found.state[key], value) for key, value in state(1).items())
    save(tmp_path, 2)
    again = checkpoints.load_newest([tmp_path])
    assert again is not None
    assert again.meta.step == 2


def test_none_intact_is_an_error_and_none_at_all_is_not(tmp_path: Path) -> None:
    assert checkpoints.load_newest([tmp_path, tmp_path / "missing"]) is None
    for step in (1, 2):
        (save(tmp_path, step).path / STATE).unlink()
    with pytest.raises(CheckpointError, match=STATE):
        checkpoints.load_newest([tmp_path])


def test_the_neighbours_of_a_removed_checkpoint_count(tmp_path: Path) -> None:
    """The record of jobs may still name one that was removed after a newer one was written."""
    save(tmp_path / "1" / "checkpoints", 4)
    loaded = checkpoints.load_newest([tmp_path / "2", tmp_path / "1" / "checkpoints" / "000000003"])
    assert loaded is not None
    assert loaded.meta.step == 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG])
@pytest.mark.parametrize("fails_at", [STATE, META, MANIFEST])
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fails_at: str
) -> None:
    save(tmp_path, 1)
    whole = atomic_files.write_blocks

    def full(path: Path, blocks: Iterable[bytes | memoryview]) -> FileRecord:
        if path.name == fails_at:
            path.write_bytes(next(iter(blocks)))
            raise OSError(code, os.strerror(code))
        return whole(path, blocks)

    monkeypatch.setattr(checkpoints, "write_blocks", full)
    with pytest.raises(StorageError, match="000000002 could not be written: the disk is full"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["000000001"]
    monkeypatch.undo()
    assert save(tmp_path, 2).path.is_dir()


def test_a_kill_before_the_rename_is_invisible(tmp_path: Path) -> None:
    save(tmp_path, 1)
    leftover = tmp_path / "000000002.tmp"
    leftover.mkdir()
    (leftover / STATE).write_bytes(b"half")
    found = checkpoints.load_newest([tmp_path])
    assert found is not None
    assert found.meta.step == 1
    checkpoints.clean(tmp_path)
    assert not leftover.exists()


def test_files_are_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of fsync and rename is the whole promise, so it is written down here."""
    calls: list[str] = []
    sync, rename = os.fsync, Path.rename

    def noted_sync(handle: int) -> None:
        calls.append("sync " + Path(f"/proc/self/fd/{handle}").resolve().name)
        sync(handle)

    def noted_rename(self: Path, target: Path) -> Path:
        calls.append("rename " + target.name)
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    save(tmp_path / "c", 5)
    assert calls == [
        f"sync {tmp_path.name}",
        f"sync {STATE}",
        f"sync {META}",
        f"sync {MANIFEST}",
        "sync 000000005.tmp",
        "rename 000000005",
        "sync c",
    ]
