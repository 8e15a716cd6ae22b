"""Images that all arms share: in folders by class, and as a pack."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainer.data.ingest import ingest
from trainer.data.readers.folder import open_folder
from trainer.data.readers.items import BadFile, Limits, Listing
from trainer.data.readers.zip import open_zip
from trainer.data.spec import IngestSpec
from trainer.demo import digits
from trainer.modalities.image.formats.magic import SUFFIXES
from trainer.modalities.image.ingest import INGEST

CLASS_NAME = re.compile(r"\w[\w.-]{0,63}")
ONE_CLASS = "all"


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One set of images, as a folder and as a pack."""

    name: str
    folder: Path
    """Holds one folder for each class."""
    pack: Path
    rows: int
    """Rows of the pack, without duplicates and damaged files."""


def prepare_images(
    data: Path | None, out: Path, *, rows: int | None = None, side_px_max: int = 256
) -> ImageSet:
    """Extract a zip or a folder into `out`, or scikit-learn's digits if there is none.

    `rows` limits the number of images, balanced over classes. Files get new names: names in an
    archive are never used as paths.
    """
    out.mkdir(parents=True, exist_ok=True)
    if data is None:
        data = out / "digits.zip"
        digits.write_zip(data)
    opener = open_folder if data.is_dir() else open_zip
    with opener(data, Limits()) as listing:
        _write_class_folders(listing, out / "images", rows)
    spec = IngestSpec(
        dataset_id=data.stem, source=str(out / "images"), format="folder", side_px_max=side_px_max
    )
    facts = ingest(spec, modality=INGEST, out=out, emit=lambda _: None, should_stop=lambda: False)
    return ImageSet(data.stem, out / "images", out / "pack", facts.rows)


def balanced_subset(names: Sequence[str], rows: int | None) -> list[str]:
    """Return at most `rows` of the names, balanced over classes, in their original order."""
    if rows is None:
        return list(names)
    by_class: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_class[class_name(name)].append(name)
    ranks = {name: index for group in by_class.values() for index, name in enumerate(group)}
    chosen = set(sorted(names, key=lambda name: ranks[name])[:rows])
    return [name for name in names if name in chosen]


def class_name(name: str) -> str:
    """Return the name of a file's folder, if it is a valid folder name here."""
    folder = PurePosixPath(name).parent.name
    return folder if CLASS_NAME.fullmatch(folder) else ONE_CLASS


def _write_class_folders(listing: Listing, out: Path, rows: int | None) -> None:
    images = [name for name in listing.names if _suffix(name) in SUFFIXES]
    chosen = {name: number for number, name in enumerate(balanced_subset(images, rows))}
    for entry in listing.entries():
        if isinstance(entry, BadFile) or entry.name not in chosen:
            continue
        folder = out / class_name(entry.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{chosen[entry.name]:07d}.{_suffix(entry.name)}").write_bytes(entry.load())


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower().removeprefix(".")
