"""Atomic write of several files: all of them appear, or none."""

import shutil
import tempfile
from pathlib import Path

from trainer.util.atomic_files import sync_folder, write_synced


def write_all(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    """Write `contents`, relative path -> bytes, into `folder`; return the paths in order.

    Every byte is on the disk, beside the folder, before the first name appears: a disk that is
    full or a name that is refused leaves everything as it was. Other files in it are left alone.
    Raises OSError.
    """
    _refuse_folders(folder, contents)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        for name, data in contents.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            write_synced(draft / name, data)
        if folder.exists():
            _move(draft, folder, contents)
        else:
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(folder.parent)
    return [folder / name for name in contents]


def _move(draft: Path, folder: Path, names: dict[str, bytes]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        (draft / name).replace(folder / name)
    sync_folder(folder)


def _refuse_folders(folder: Path, names: dict[str, bytes]) -> None:
    """Raise IsADirectoryError, before any move, for a name that no rename can replace."""
    for name in names:
        if (folder / name).is_dir():
            raise IsADirectoryError(21, "There is a folder of that name", str(folder / name))
