"""Annotations beside the images: tables, COCO's JSON, WebDataset's sidecars, masks."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from trainer.data.formats import FileFormats
from trainer.data.labels.coco import read_coco
from trainer.data.labels.tables import LABELS, Annotation, BadTable, beside, is_table, read_table
from trainer.data.readers.item_names import is_hidden, shown_name
from trainer.data.readers.items import (
    BadFile,
    Entry,
    Limits,
    Listing,
    Split,
    split_named,
)
from trainer.data.rows import BadRow

SIDECAR_LABELS = ("label", "cls", "class", "class_name", "category")
"""Keys of a WebDataset sample's JSON that name its class."""
SIDECAR_BYTES = 1 << 20
MASK_SUFFIXES = ("", "_mask", "_seg")
NOTHING = Annotation()


@dataclass(slots=True)
class Annotations:
    """Labels, splits and masks of the files of one listing."""

    by_name: dict[str, Annotation] = field(default_factory=dict)
    """Labels by image name."""
    used: set[str] = field(default_factory=set)
    """Files that were read here, or belong to a row: they are no rows."""
    listed_below: set[str] = field(default_factory=set)
    """Folders with a complete table: a file that it does not name is not a row."""
    lines: list[BadFile] = field(default_factory=list)
    """Lines for the report."""
    are_samples: bool = False
    """True if images have sidecars, as in a shard of WebDataset."""

    def of(self, name: str) -> Annotation | None:
        """Return the labels of a file, or None if it should be in a table and is not."""
        annotation = self.by_name.get(name)
        if annotation is None and any(_lies_in(name, folder) for folder in self.listed_below):
            return None
        return annotation or NOTHING

    def add(self, name: str, annotation: Annotation) -> None:
        """Add labels of a file; earlier values take precedence."""
        earlier = self.by_name.get(name, NOTHING)
        kept = {
            key: value
            for key in Annotation.__slots__
            if (value := getattr(earlier, key)) is not None
        }
        self.by_name[name] = replace(annotation, **kept)

    @property
    def masks(self) -> set[str]:
        """Names of files that are masks of rows."""
        return {annotation.mask for annotation in self.by_name.values() if annotation.mask}


def annotate(
    listing: Listing, limits: Limits, *, formats: FileFormats, masks: str | None
) -> Annotations:
    """Read the labels of a listing's files. `masks` names a folder of masks."""
    names = [name for name in listing.names if not is_hidden(name)]
    notes = Annotations()
    if table_names := {name for name in names if _may_tell(name)}:
        reader = _Reader(names, notes, formats)
        for entry in listing.read(table_names):
            if not isinstance(entry, BadFile):
                reader.read(entry, limits)
        reader.give_sidecars(names)
    if masks:
        _pair_masks(names, masks, notes=notes, formats=formats)
    return notes


class _Reader:
    """Reads files that tell of images, into notes."""

    def __init__(self, names: list[str], notes: Annotations, formats: FileFormats) -> None:
        self._notes, self._files, self._formats = notes, _Files(names, formats), formats
        self._keys = {_key(name) for name in names if formats.has_row_suffix(name)}
        self._sidecars: dict[str, Annotation] = {}

    def read(self, entry: Entry, limits: Limits) -> None:
        """Read one table; a file that cannot be read becomes a line of the report."""
        try:
            if entry.size_bytes > limits.entry_bytes:
                detail = f"{entry.size_bytes} bytes; file_bytes_max is {limits.entry_bytes}"
                raise BadRow("oversize", detail)
            self._take(entry.name, entry.load())
        except (BadTable, BadRow) as bad:
            reason = bad.reason if isinstance(bad, BadRow) else "unreadable"
            self._notes.lines.append(BadFile(entry.name, reason, str(bad)))
        self._notes.used.add(entry.name)

    def give_sidecars(self, names: list[str]) -> None:
        """Assign labels of sidecar files to their samples' images, after all were read."""
        self._notes.are_samples = bool(self._sidecars)
        for name in names if self._sidecars else ():
            if self._formats.has_row_suffix(name) and (
                annotation := self._sidecars.get(_key(name))
            ):
                self._notes.add(name, annotation)
            elif name.lower().endswith(".txt") and _key(name) in self._sidecars:
                self._notes.used.add(name)

    def _take(self, name: str, data: bytes) -> None:
        key = _key(name)
        if is_table(name):
            self._take_table(name, data)
        elif key in self._keys:
            before = self._sidecars.get(key, NOTHING)
            self._sidecars[key] = Annotation(label=_sidecar_label(name, data) or before.label)
        elif name.lower().endswith(".json"):
            self._take_coco(name, data)
        else:
            raise BadTable("it has no image beside it")

    def _take_table(self, name: str, data: bytes) -> None:
        folder, _, base = name.rpartition("/")
        is_labels = base.lower() == LABELS
        for line in read_table(name, data):
            where = f"{name}:{line.number}"
            self._notes.lines += [
                BadFile(where, "bad_cell", f"{fault}; the row is kept without it")
                for fault in line.faults
            ]
            image = self._files.find(folder, line.file)
            if image is not None:
                mask = self._mask(folder, line.annotation.mask, where)
                self._notes.add(image, replace(line.annotation, mask=mask))
            elif not (is_labels and line.number == 1):
                self._miss(where, f"there is no file {_shown(line.file)}")
        if not is_labels:
            self._notes.listed_below.add(folder)

    def _mask(self, folder: str, file: str | None, where: str) -> str | None:
        mask = self._files.find(folder, file) if file else None
        if mask:
            self._notes.used.add(mask)
        elif file:
            self._miss(where, f"there is no mask {_shown(file)}; the row has none")
        return mask

    def _take_coco(self, name: str, data: bytes) -> None:
        try:
            images = list(read_coco(data))
        except BadTable as bad:
            self._notes.lines.append(BadFile(name, "wrong_type", str(bad)))
            return
        folder, _, base = name.rpartition("/")
        split = split_in(base)
        for file, label in images:
            image = self._files.find(folder, file) or self._files.find("", file)
            if image is None:
                self._miss(name, f"there is no file {_shown(file)}")
            else:
                self._notes.add(image, Annotation(label=label, split=split))

    def _miss(self, where: str, detail: str) -> None:
        self._notes.lines.append(BadFile(where, "missing_file", detail))


def _shown(file: str) -> str:
    return shown_name(file)[:200]


def split_in(name: str) -> Split | None:
    """Return the split that one word of a file's name names, such as `instances_val2017.json`."""
    words = re.findall(r"[a-z]+", name.lower())
    splits = {split for word in words if (split := split_named(word))}
    return splits.pop() if len(splits) == 1 else None


class _Files:
    """Lookup of files named in tables: by path, else by a unique base name."""

    def __init__(self, names: list[str], formats: FileFormats) -> None:
        self._names, self._formats = set(names), formats
        self._by_base: dict[str, list[str]] | None = None

    def find(self, folder: str, file: str) -> str | None:
        """Return the name of the file that a table in `folder` calls `file`."""
        if not file:
            return None
        name = beside(f"{folder}/", file)
        if name in self._names:
            return name
        base = file.replace("\\", "/").rpartition("/")[2]
        matches = [name for name in self._bases().get(base, ()) if _lies_in(name, folder)]
        return matches[0] if len(matches) == 1 else None

    def _bases(self) -> dict[str, list[str]]:
        if self._by_base is None:
            self._by_base = defaultdict(list)
            for name in self._names:
                base = name.rpartition("/")[2]
                self._by_base[base].append(name)
                if self._formats.has_row_suffix(name) and "." in base:
                    self._by_base[base.rpartition(".")[0]].append(name)
        return self._by_base


def _lies_in(name: str, folder: str) -> bool:
    return not folder or name.startswith(f"{folder}/")


def _key(name: str) -> str:
    """Return the key of a WebDataset sample: the path up to the first dot of the base name."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _may_tell(name: str) -> bool:
    return is_table(name) or name.lower().endswith((".cls", ".json"))


def _sidecar_label(name: str, data: bytes) -> str | None:
    if len(data) > SIDECAR_BYTES:
        raise BadTable(f"it has more than {SIDECAR_BYTES} bytes, too many for one image's label")
    try:
        text = data.decode()
        if name.lower().endswith(".cls"):
            return " ".join(text.split()) or None
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadTable("it is not what the sidecar of an image should be") from error
    values = (record.get(key) for key in SIDECAR_LABELS) if isinstance(record, dict) else ()
    return next((str(value) for value in values if isinstance(value, str | int)), None)


def _pair_masks(names: list[str], folder: str, *, notes: Annotations, formats: FileFormats) -> None:
    """Pair each image with the mask of the same relative path and stem."""
    masks: dict[str, str] = {}
    for name in names:
        if (rest := _without(name, folder)) is not None:
            masks[rest.rpartition(".")[0] or rest] = name
            notes.used.add(name)
    unpaired = set(masks.values())
    for name in names:
        if name in notes.used or not formats.has_row_suffix(name):
            continue
        mask = next((masks[key] for key in _mask_keys(name) if key in masks), None)
        if mask:
            unpaired.discard(mask)
            notes.add(name, Annotation(mask=mask))
    notes.lines += [
        BadFile(name, "missing_file", "a mask of no image: none has its place and name")
        for name in sorted(unpaired)
    ]


def _without(name: str, folder: str) -> str | None:
    """Return the name without the mask folder, None if it is not in one."""
    inside = f"/{name}"
    part = f"/{folder.strip('/')}/"
    before, separator, after = inside.partition(part)
    return f"{before}/{after}".strip("/") if separator else None


def _mask_keys(name: str) -> Iterator[str]:
    """Yield possible paths of an image's mask, below the folder that holds both folders."""
    stem = name.rpartition(".")[0] or name
    parts = stem.split("/")
    for left_out in range(len(parts)):
        kept = parts if not left_out else parts[: left_out - 1] + parts[left_out:]
        for suffix in MASK_SUFFIXES:
            yield "/".join(kept) + suffix
