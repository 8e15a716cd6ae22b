"""Classes and splits of rows: from what a source tells, else from the names of folders."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from trainer.data.readers.items import Split, split_named
from trainer.schema.events import DataWarning

NO_CLASS = re.compile(
    r"(images?|imgs?|pics?|pictures?|photos?|frames?|masks?|labels?|annotations?|data|files)"
    r"|(images?|imgs?|pics?|pictures?|photos?|frames?|masks?|data|files|parts?|batch(es)?|shards?"
    r"|chunks?|folders?|dirs?|sets?|volumes?|archives?)[-_ ]?\d+",
    re.IGNORECASE,
)
"""Folders of such names hold parts of a dataset, as in `images_001` of NIH ChestX-ray14."""
MASK_FOLDER = re.compile(r"masks?|segmentations?|ground[-_]?truths?", re.IGNORECASE)
NAMES_SHOWN = 3
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RowLabels:
    """The classes and splits of rows, and what of them should be known."""

    classes: tuple[str, ...]
    numbers: NDArray[np.int32]
    """Class of each row, -1 without one."""
    splits: list[Split | None] | None
    """Split of each row; None where folders tell none."""
    warnings: tuple[DataWarning, ...]


class ClassNames:
    """Names of classes, numbered in the order in which they come."""

    def __init__(self, *, folders_tell: bool = True) -> None:
        """`folders_tell`: use folder names as classes if no other source gives classes."""
        self.folders_tell = folders_tell
        self._numbers: dict[str, int] = {}
        self._is_ordered = False

    def __bool__(self) -> bool:
        """Return whether a class was named."""
        return bool(self._numbers)

    def declare(self, names: Iterable[str]) -> None:
        """Take names in the order that the source gives them."""
        self._is_ordered = self._is_ordered or not self._numbers
        for name in names:
            self.number(name)

    def number(self, name: str | None) -> int:
        """Return the number of a class, -1 for None."""
        return -1 if name is None else self._numbers.setdefault(name, len(self._numbers))

    def sorted(self, numbers: NDArray[np.int32]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Return the names in order and the numbers of rows in it.

        Names that all are whole numbers are in the order of those, others in that of the alphabet,
        unless the source gave an order.
        """
        names = list(self._numbers)
        if not self._is_ordered:
            names.sort(key=int if all(map(_is_whole, names)) else None)
        numbers_of = np.full(len(names) + 1, -1, np.int32)  # The last one is that of -1.
        for index, name in enumerate(names):
            numbers_of[self._numbers[name]] = index
        return tuple(names), numbers_of[numbers]


def labels_of_folders(folders: Sequence[str]) -> RowLabels:
    """Return the classes and splits given by folder names.

    `folders` is the path of each row's folder, "" at the top. A level with only split names gives
    the split. Shared leading folders are ignored. The last folder that differs between rows is the
    class, but for levels such as `images` and `masks`; rows that lie above all class folders have
    no class, as long as they are the fewer.
    """
    counts = Counter(folders)
    paths = {folder: tuple(part for part in folder.split("/") if part) for folder in counts}
    split_level = _split_level(paths, counts)
    splits = None
    if split_level is not None:
        split_of = {folder: _split_at(path, split_level) for folder, path in paths.items()}
        splits = [split_of[folder] for folder in folders]
        paths = {
            folder: path[:split_level] + path[split_level + 1 :] for folder, path in paths.items()
        }
    inside = _below_shared(set(paths.values()))
    class_of, passed_over = _classes(inside)
    numbers_of = {name: number for number, name in enumerate(sorted(set(class_of.values())))}
    number_of = {f: numbers_of.get(class_of.get(path, ""), -1) for f, path in paths.items()}
    outside = sum(count for folder, count in counts.items() if number_of[folder] < 0)
    if 2 * outside >= len(folders):
        numbers_of, number_of, outside = {}, dict.fromkeys(paths, -1), 0
    numbers = np.array([number_of[folder] for folder in folders], np.int32)
    warnings = _warnings(paths, passed_over, outside=outside, rows=len(folders))
    return RowLabels(tuple(numbers_of), numbers, splits, warnings)


def labels_of_rows(
    folders: Sequence[str], numbers: NDArray[np.int32], names: ClassNames
) -> RowLabels:
    """Return the classes of rows: those that the source names, else those of their folders.

    `numbers` are the rows' classes as `names` numbered them.
    """
    if names or not names.folders_tell:
        classes, ordered = names.sorted(numbers)
        return RowLabels(classes, ordered, labels_of_folders(folders).splits, ())
    return labels_of_folders(folders)


def _split_level(paths: dict[str, Path], counts: Counter[str]) -> int | None:
    """Return the first level at which every folder has a split's name and at least two differ."""
    for level in range(max(map(len, paths.values()), default=0)):
        deep = {folder: path[level] for folder, path in paths.items() if len(path) > level}
        splits = {split_named(name) for name in deep.values()}
        most = 2 * sum(counts[folder] for folder in deep) > counts.total()
        if most and len(splits) >= 2 and "train" in splits and None not in splits:
            return level
    return None


def _split_at(path: Path, level: int) -> Split | None:
    return split_named(path[level]) if len(path) > level else None


def _below_shared(paths: set[Path]) -> dict[Path, Path]:
    """Return paths without their shared prefix; rows directly in a shared folder are skipped."""
    while len(paths) > 1:
        shared = _shared(min(paths), max(paths))  # all others are between these two
        if shared not in paths:
            return {path: path[len(shared) :] for path in paths}
        paths = paths - {shared}
    return {}


def _shared(first: Path, last: Path) -> Path:
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return tuple(part for part, _ in alike)


def _classes(tails: dict[Path, Path]) -> tuple[dict[Path, str], list[str]]:
    """Return the class of each path, and the names that were passed over as no classes."""
    passed_over: list[str] = []
    for level in range(1, min(map(len, tails.values()), default=0) + 1):
        class_of = {path: tail[-level] for path, tail in tails.items()}
        names = set(class_of.values())
        if len(names) >= 2 and not all(map(NO_CLASS.fullmatch, names)):
            return class_of, passed_over
        if len(names) >= 2:
            passed_over = sorted(names)
    return {}, passed_over


def _warnings(
    paths: dict[str, Path], passed_over: list[str], *, outside: int, rows: int
) -> tuple[DataWarning, ...]:
    warnings = []
    if outside:
        warnings.append(
            DataWarning(
                code="rows_without_label",
                message=f"{outside} of {rows} rows lie beside the folders of classes: no label.",
                hint="Move them into a folder of their class, or name them in labels.csv.",
            )
        )
    names = {part for path in paths.values() for part in path}
    masks = sorted(name for name in names if MASK_FOLDER.fullmatch(name))
    if masks and names.difference(masks):
        warnings.append(
            DataWarning(
                code="masks_as_rows",
                message=f"The pictures in {masks[0]} are rows like all others.",
                hint=f"If they are masks, add the dataset again with --masks {masks[0]}.",
            )
        )
    if parts := [name for name in passed_over if name not in masks]:
        more = f" and {len(parts) - NAMES_SHOWN} more" if len(parts) > NAMES_SHOWN else ""
        warnings.append(
            DataWarning(
                code="folders_no_classes",
                message=f"Folders named {', '.join(parts[:NAMES_SHOWN])}{more} are not taken for"
                " classes.",
                hint="If they are classes, rename them, or name each file's class in labels.csv.",
            )
        )
    return tuple(warnings)


def _is_whole(name: str) -> bool:
    return name.isascii() and name.isdigit()
