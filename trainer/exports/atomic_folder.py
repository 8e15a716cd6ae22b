"""A folder that appears whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.schema.artifact_names import is_artifact_name
from trainer.schema.events import FileRecord
from trainer.util.atomic_files import record_of, remove, storage_errors, sync_folder, write_synced
from trainer.util.failpoints import failpoint

SUMS = "SHA256SUMS"


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill; it gets the name `folder` only once every byte is on disk.

    A folder of that name from an earlier attempt is replaced. After an error the old folder
    remains. Raises StorageError on a disk error.
    """
    growing = folder.with_name(folder.name + ".tmp")
    remove(growing)
    with storage_errors(folder, leftover=growing):
        growing.mkdir(parents=True)
        yield growing
        for inner in (path for path in growing.iterdir() if path.is_dir()):
            sync_folder(inner)
        sync_folder(growing)
        remove(folder)
        failpoint("publish.pre_rename")
        growing.rename(folder)
        failpoint("publish.post_rename")
        sync_folder(folder.parent)


def link(file: Path, name: Path) -> None:
    """Hard-link a file; copy it if the file system has no hard links."""
    try:
        name.hardlink_to(file)
    except OSError:
        write_synced(name, file.read_bytes())


def write_sums(folder: Path) -> tuple[FileRecord, ...]:
    """Write `SHA256SUMS` as `sha256sum -c` reads it; return a record of every file, it included.

    Files may lie one folder deeper. Raises ValueError for another name.
    """
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    records = [_record(path, name=path.relative_to(folder).as_posix()) for path in paths]
    lines = "".join(f"{record.sha256}  {record.name}\n" for record in records)
    write_synced(folder / SUMS, lines.encode())
    return (*records, record_of(folder / SUMS))


def _record(path: Path, *, name: str) -> FileRecord:
    if not is_artifact_name(name):
        raise ValueError(f"{name!r} cannot be the name of a file to download")
    return record_of(path).model_copy(update={"name": name})
