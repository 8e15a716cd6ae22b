"""Any flipped bit in any file of a checkpoint is detected; the run resumes from an older one."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.support.trainer.killed_attempts import End, end, mixed_pack, spec
from trainer.checkpoint import checkpoint_files as checkpoints
from trainer.checkpoint.checkpoint_files import META
from trainer.checkpoint.encoder_file import STATE
from trainer.engine.train import DeviceConfig, RunPaths, train
from trainer.schema.errors import CheckpointError
from trainer.spec.job import JobSpec
from trainer.util.atomic_files import MANIFEST

JOB = JobSpec.model_validate(spec(keep_checkpoints=3, checkpoint_every_steps=4))
FILES = (STATE, META, MANIFEST)
FLIPS, TRUNCATIONS, SAMPLE = 300, 50, 2


@dataclass(frozen=True)
class Kept:
    """A stopped run's checkpoints, and the end of one that was not stopped."""

    pack: Path
    folder: Path
    older: Path
    newer: Path
    expected: End

    def go_on(self, out: Path) -> End:
        """Resume from these checkpoints; return the end of the run."""
        paths = RunPaths(out=out, pack=self.pack, checkpoints=(self.newer,))
        device_config = DeviceConfig(device="cpu", threads=1)
        train(
            JOB, paths, device_config=device_config, emit=lambda _: None, should_stop=lambda: False
        )
        return end(out)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    pack = mixed_pack(tmp_path / "pack")
    device_config, polls = DeviceConfig(device="cpu", threads=1), iter(range(100))
    whole, out = tmp_path / "whole", tmp_path / "cut"
    paths = RunPaths(out=whole, pack=pack)
    train(JOB, paths, device_config=device_config, emit=lambda _: None, should_stop=lambda: False)
    paths = RunPaths(out=out, pack=pack)
    train(
        JOB,
        paths,
        device_config=device_config,
        emit=lambda _: None,
        should_stop=lambda: next(polls) >= 17,
    )
    newer, older, *_ = checkpoints.list_checkpoints(out / "checkpoints")
    return Kept(pack, out / "checkpoints", older, newer, end(whole))


def damages(kept: Kept, seed: int, *, flips: int, cuts: int) -> Iterator[str]:
    """Damage one file after the other, each mended before the next. Every file as often."""
    draw = random.Random(seed)
    for number in range(flips + cuts):
        path = kept.newer / FILES[number % len(FILES)]
        size_bytes, place = path.stat().st_size, draw.randrange(path.stat().st_size)
        with path.open("r+b") as file:
            file.seek(place)
            if number < flips:
                right, bit = file.read(1), draw.randrange(8)
                file.seek(place)
                file.write(bytes([right[0] ^ 1 << bit]))
                file.flush()
                yield f"seed {seed}: bit {bit} of byte {place} of {path.name}"
            else:
                right = file.read()
                file.truncate(place)
                yield f"seed {seed}: {path.name} cut at {place} of {size_bytes}"
            file.seek(place)
            file.write(right)


def check_falls_back(kept: Kept) -> None:
    """To the checkpoint before, which is intact to the bit."""
    found = checkpoints.load_newest([kept.newer])
    assert found is not None
    assert found.path == kept.older.resolve()


def search(kept: Kept, seed: int, *, flips: int, cuts: int, sample: int) -> int:
    """Damage, and see it found each time; for a sample, train on to the same end."""
    older = checkpoints.load(kept.older).state
    found = checkpoints.load(kept.newer)  # which is whole, between two damages
    every = (flips + cuts) // sample
    tried = 0
    for number, damage in enumerate(damages(kept, seed, flips=flips, cuts=cuts)):
        print(damage)  # noqa: T201  # shown by pytest if a check fails
        check_falls_back(kept)
        if number % every == every - 1:
            back = checkpoints.load_newest([kept.newer])
            assert back is not None
            assert all(torch.equal(back.state[name], value) for name, value in older.items())
            out = kept.folder.parent.parent / f"on-{number}"
            assert kept.go_on(out) == kept.expected
            shutil.rmtree(out)
        tried += 1
    again = checkpoints.load(kept.newer)
    assert all(torch.equal(again.state[name], value) for name, value in found.state.items())
    return tried


def test_every_flip_and_every_cut_is_found(kept: Kept) -> None:
    tried = search(kept, 1, flips=FLIPS, cuts=TRUNCATIONS, sample=SAMPLE)
    assert tried == FLIPS + TRUNCATIONS


def test_every_bit_of_the_manifest(kept: Kept) -> None:
    """No other file has a hash of the manifest, so every bit is tried: spaces, names, numbers, own
    hash.
    """
    path = kept.newer / MANIFEST
    right = path.read_bytes()
    for place in range(len(right)):
        for bit in range(8):
            damaged = bytearray(right)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                checkpoints.load(kept.newer)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_ten_thousand_flips(kept: Kept) -> None:
    tried = search(kept, 2026, flips=10_000, cuts=500, sample=20)
    assert tried == 10_500
