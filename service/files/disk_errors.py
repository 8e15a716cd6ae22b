"""Translation of disk errors into service errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import ServiceError
from trainer.util.atomic_files import FULL_DISK


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """Raise ServiceError `disk_full` or `storage` where a disk refuses with an OSError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise ServiceError("disk_full", "No space left in the data folder.") from None
        raise ServiceError("storage", f"Disk error: {error.strerror}.") from error
