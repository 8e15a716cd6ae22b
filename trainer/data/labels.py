"""Labels from the names of folders."""

from collections.abc import Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray


def labels_of_folders(folders: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Class names in order and the class of each row, int32 [rows]; no names and -1 without.

    `folders` is the path of each row's folder, "" at the top. What all share is left aside (such
    as `train/`). Of the rest the last folder that differs between rows is the class; every row
    must have one.
    """
    none = (), np.full(len(folders), -1, np.int32)
    distinct = sorted(set(folders))
    paths = {folder: [part for part in folder.split("/") if part] for folder in distinct}
    levels = (set(parts) for parts in zip(*paths.values(), strict=False))
    shared = sum(1 for _ in takewhile(lambda parts: len(parts) == 1, levels))
    tails = {folder: parts[shared:] for folder, parts in paths.items()}
    for level in range(1, min((len(tail) for tail in tails.values()), default=0) + 1):
        classes = sorted({tail[-level] for tail in tails.values()})
        if len(classes) >= 2:
            numbers = {name: number for number, name in enumerate(classes)}
            of_folder = {folder: numbers[tail[-level]] for folder, tail in tails.items()}
            return tuple(classes), np.array([of_folder[folder] for folder in folders], np.int32)
    return none
