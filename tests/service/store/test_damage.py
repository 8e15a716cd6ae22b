"""A damaged append-only file is set aside, and all that it held is made anew from the disk."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.ledger.store_identity import ensure_identity
from service.store.embedded.server import start_redis
from tests.support.service.job_lives import World
from tests.support.service.redis import opened_store, running_redis

GARBAGE = b"\xffgarbage\x00"
assert len(GARBAGE) == 9


def file(folder: Path, kind: str) -> Path:
    [found] = (path for path in folder.iterdir() if kind in path.name)
    return found


def overwrite(path: Path, where: int, data: bytes = GARBAGE) -> None:
    with path.open("r+b") as opened:
        opened.seek(where)
        opened.write(data)


def first_bytes(folder: Path) -> None:
    overwrite(file(folder, ".incr."), 0)


def a_command_in_the_middle(folder: Path) -> None:
    path = file(folder, ".incr.")
    data = path.read_bytes()
    overwrite(path, data.index(b"*1\r\n$5\r\nMULTI", len(data) // 2))


def a_length_in_the_middle(folder: Path) -> None:
    """Read as a command that is longer than the file, so the server takes the rest for torn."""
    path = file(folder, ".incr.")
    data = path.read_bytes()
    middle = data.index(b"*1\r\n$5\r\nMULTI", len(data) // 2)
    path.write_bytes(data[:middle] + b"*1\r\n$99999999\r\n" + data[middle:])


def the_base(folder: Path) -> None:
    overwrite(file(folder, ".base."), 20)


def the_manifest(folder: Path) -> None:
    overwrite(file(folder, "manifest"), 0)


def no_file(folder: Path) -> None:
    file(folder, ".incr.").unlink()


@pytest.mark.parametrize(
    "damage",
    [first_bytes, a_command_in_the_middle, a_length_in_the_middle, the_base, the_manifest, no_file],
)
def test_a_damaged_file_is_set_aside_and_every_job_is_there_again(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        world = World(store, tmp_path)
        ensure_identity(store, tmp_path)
        done, *others = (world.submit() for _ in range(6))
        world.claim()
        world.checkpoint(done, 10)
        world.complete(done)
        cancelled, *waiting = others
        world.journal.control(cancelled, "cancel")
        wanted = dict.fromkeys(waiting, "queued") | {done: "succeeded", cancelled: "cancelled"}
    damage(tmp_path / "redis" / "appendonlydir")
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        assert server.set_aside is not None
        assert server.set_aside.is_dir()
        ensure_identity(store, tmp_path)
        assert {job.id: job.status for job in store.jobs.list().data} == wanted
    again = start_redis(tmp_path)
    again.stop()
    assert again.set_aside is None
