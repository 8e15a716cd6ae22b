"""Archives of chosen images, and the packs that jobs read, in the work folder."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.suites.breadth.lab import Lab
from benchmarks.suites.breadth.side_by_side import run_all
from trainer.data.ingest import ingest
from trainer.data.spec import IngestSpec
from trainer.demo import digits
from trainer.modalities.image.ingest import INGEST

Choice = Callable[[str], str | None]
"""Name of a file in an archive -> its name in the new one, None to leave it out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image, and what a table says of it."""

    name: str
    content: bytes
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Images:
    """A set of images, as the archive that a user would upload and as its pack."""

    name: str
    archive: Path
    pack: Path


def images_of(lab: Lab, name: str, entries: Callable[[], Iterable[Entry]]) -> Images:
    """Return the images of this name in the work folder; made once."""
    folder = lab.work / "images" / name
    images = Images(name, folder / f"{name}.zip", folder / "pack")
    if not images.pack.exists():
        make = partial(_make, images, entries)
        if lab.jobs > 1:
            run_all([make], at_once=1)
        else:
            make()
    return images


def _make(images: Images, entries: Callable[[], Iterable[Entry]]) -> None:
    """Write the archive and its pack; the preview of a pack computes with tensors."""
    images.archive.parent.mkdir(parents=True, exist_ok=True)
    write_archive(images.archive, entries())
    spec = IngestSpec(dataset_id=images.name, source=str(images.archive))
    out = images.archive.parent
    ingest(spec, modality=INGEST, out=out, emit=lambda _: None, should_stop=lambda: False)


def write_archive(path: Path, entries: Iterable[Entry]) -> None:
    """Write entries as a zip, with a table where they have columns."""
    rows: list[dict[str, str]] = []
    with zipfile.ZipFile(path, "w") as archive:
        for entry in entries:
            archive.writestr(entry.name, entry.content)
            if entry.columns:
                rows.append({"file": entry.name, **entry.columns})
        if rows:
            archive.writestr("rows.csv", _table(rows))


def _table(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def chosen(path: Path, choice: Choice) -> Iterator[Entry]:
    """Yield the images of an archive that are chosen, in their order."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            new_name = choice(name)
            if new_name is not None and name.endswith((".png", ".jpg")):
                yield Entry(new_name, archive.read(name))


def digit_entries(lab: Lab, choice: Choice = str) -> Iterator[Entry]:
    """Yield scikit-learn's digits that are chosen."""
    path = lab.work / "digits.zip"
    lab.work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        digits.write_zip(path)
    return chosen(path, choice)


def digits_of(lab: Lab, name: str, *, is_chosen: Callable[[int], bool]) -> Images:
    """Return the digits whose numbers are chosen, under a name."""

    def choice(file: str) -> str | None:
        return file if is_chosen(int(file.rpartition("-")[2].partition(".")[0])) else None

    return images_of(lab, name, lambda: digit_entries(lab, choice))


def balanced(path: Path, rows: int) -> Choice:
    """Return the choice of so many images of an archive of class folders, as many of each class."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    last_ranks: dict[str, int] = {}
    ranks = {}
    for name in names:
        label = name.rpartition("/")[0]
        ranks[name] = last_ranks[label] = last_ranks.get(label, -1) + 1
    kept = set(sorted(names, key=lambda name: ranks[name])[:rows])
    return lambda name: name if name in kept else None
