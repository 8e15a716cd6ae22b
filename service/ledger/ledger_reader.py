"""Reading of ledgers. Lines that cannot be read are reported, never guessed."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from pydantic import TypeAdapter, ValidationError

from service.ledger.entries import (
    ATTEMPT_LINE,
    JOB_LINE,
    LEDGER,
    MEMBERS,
    VERSION,
    AnyLine,
    AttemptLine,
    CheckpointSaved,
    JobLine,
    JobSubmitted,
)
from service.ledger.journaled_store import DELETED
from service.ledger.replay import JobLedger
from service.store.store_errors import Misconfigured
from trainer.util.atomic_files import MANIFEST


class NewerLine(Exception):
    """A line was written by a version that forbids older ones to read it."""

    def __init__(self, number: int, version: int) -> None:
        super().__init__(f"line {number} has version {version}")
        self.number, self.version = number, version


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of a job or of a dataset, with all its ledgers."""

    name: str
    """Name of the folder: the id of the job or dataset."""
    path: str
    """Relative to the data folder."""
    lines: tuple[JobLine, ...]
    attempts: dict[int, tuple[AttemptLine, ...]]
    damaged: tuple[str, ...]
    """`path:line` of each line that cannot be read, the last of a file excepted."""

    def job_ledgers(self) -> tuple[JobLedger, ...]:
        """Return the jobs submitted here, in order; several ingests may share a dataset."""
        submitted = [line for line in self.lines if isinstance(line, JobSubmitted)]
        return tuple(JobLedger(line, self.lines, self.attempts) for line in submitted)


def folder_names(data_dir: Path, kind: str) -> list[str]:
    """Return the folders under `jobs` or `datasets`, sorted, without those being removed."""
    try:
        with os.scandir(data_dir / kind) as entries:
            names = [entry.name for entry in entries if not entry.name.endswith(DELETED)]
    except FileNotFoundError:
        return []
    return sorted(names)


def read_folders(data_dir: Path, kind: str, names: list[str] | None = None) -> Iterator[Folder]:
    """Yield every folder of a kind, or those of these names that still exist."""
    for name in folder_names(data_dir, kind) if names is None else names:
        if (data_dir / kind / name).is_dir():
            yield read_folder(data_dir, f"{kind}/{name}")


def read_folder(data_dir: Path, path: str) -> Folder:
    """Read one folder. A missing file has no lines."""
    lines, damaged = _read(data_dir, f"{path}/{LEDGER}", JOB_LINE)
    attempts: dict[int, tuple[AttemptLine, ...]] = {}
    for number in _numbers(data_dir / path / "attempts"):
        attempt_lines, bad = _read(data_dir, f"{path}/attempts/{number}/{LEDGER}", ATTEMPT_LINE)
        attempts[number] = attempt_lines
        damaged += bad
    for member in _members(data_dir / path):
        attempt_lines, bad = _read(data_dir, f"{path}/{MEMBERS}/{member}/{LEDGER}", ATTEMPT_LINE)
        number = int(member.parent.name)
        attempts[number] = attempts.get(number, ()) + attempt_lines
        damaged += bad
    return Folder(path.rpartition("/")[2], path, lines, attempts, damaged)


def _members(folder: Path) -> Iterator[PurePath]:
    """Yield `<attempt>/<node rank>` of each further worker of a gang, in order."""
    for attempt in _numbers(folder / MEMBERS):
        for rank in _numbers(folder / MEMBERS / str(attempt)):
            yield PurePath(str(attempt), str(rank))


def checkpoint_exists(data_dir: Path, line: CheckpointSaved) -> bool:
    """Return whether the checkpoint is complete and was not removed since."""
    return os.path.exists(data_dir / line.path / MANIFEST)


def parse(data: bytes, kind: TypeAdapter[AnyLine]) -> tuple[tuple[AnyLine, ...], tuple[int, ...]]:
    """Return the lines of a file, and the numbers of those that cannot be read.

    A last line without its end was cut short by a crash before anyone acted upon it.

    Raises:
        NewerLine: a line says that this version must not read it.
    """
    lines: list[AnyLine] = []
    damaged: list[int] = []
    for number, row in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            line = kind.validate_json(row)
        except ValidationError:
            line = None
            damaged.append(number)
        version = line.version if line else _version_of(row)
        if version > VERSION:
            raise NewerLine(number, version)
        lines += [line] if line else []
    return tuple(lines), tuple(damaged)


def _read(
    data_dir: Path, path: str, kind: TypeAdapter[AnyLine]
) -> tuple[tuple[AnyLine, ...], tuple[str, ...]]:
    try:
        data = (data_dir / path).read_bytes()
    except OSError:
        return (), ()
    try:
        lines, damaged = parse(data, kind)
    except NewerLine as newer:
        raise Misconfigured(
            f"Line {newer.number} of {data_dir / path} has version {newer.version}; this mocoserve "
            f"reads up to {VERSION}. Start the newer mocoserve that wrote it, or restore a backup."
        ) from newer
    return lines, tuple(f"{path}:{number}" for number in damaged)


def _version_of(row: bytes) -> int:
    """Return the version of a line of an unknown kind; 0 if it is no line."""
    try:
        return int(json.loads(row)["version"])
    except (ValueError, KeyError, TypeError):
        return 0


def _numbers(folder: Path) -> list[int]:
    try:
        with os.scandir(folder) as entries:
            return sorted(int(entry.name) for entry in entries if entry.name.isdecimal())
    except OSError:
        return []
