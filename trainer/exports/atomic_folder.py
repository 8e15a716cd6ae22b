"""A folder that appears whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    """Write `SHA256SUMS` as `sha256sum -c` reads it; return a record of every file, it included."""
    records = [record_of(path) for path in sorted(folder.iterdir())]
    lines = "".join(f"{record.sha256}  {record.name}\n" for record in records)
    write_synced(folder / SUMS, lines.encode())
    return (*records, record_of(folder / SUMS))
