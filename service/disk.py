"""The disk of the data folder, as the API tells of it when it refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.problems import Problem
from trainer.files import FULL_DISK


@contextmanager
def disk_told() -> Iterator[None]:
    """Tell of a disk that refuses: Problem `disk_full`, which a user can mend, else `storage`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise Problem("disk_full", "The data folder has no space left.") from None
        raise Problem("storage", f"The disk answered: {error.strerror}.") from error
