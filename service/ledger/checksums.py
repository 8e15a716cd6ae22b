"""Check the hashes of checkpoints, artifacts and packs against the records."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.ledger.consistency import Finding
from service.store.full_scan import FullScan, JobIndexes
from service.weights.weights_store import CONTENT, DESCRIPTION, folders, read_description
from trainer.util.atomic_files import MANIFEST, sha256_of

SUMS = "SHA256SUMS"
_RESUME = "It is run from the checkpoint before it; nothing is to do."


def check_files(data_dir: Path, scan: FullScan, *, deep: bool) -> Iterator[Finding]:
    """Yield a finding for every file that differs.

    Of each job the newest checkpoint and the artifacts are read, and all uploaded weights; `deep`
    reads all checkpoints and the packs of datasets too.
    """
    for indexes in scan.jobs.values():
        if indexes.record.kind == "train":
            yield from _checkpoints(data_dir, indexes, deep=deep)
            yield from _artifacts(data_dir, indexes)
        yield from _drafts(data_dir, indexes)
    for dataset in scan.datasets.values():
        if dataset.pack is not None:
            yield from _pack(data_dir, dataset.pack, deep=deep)
    yield from _weights(data_dir)


def _weights(data_dir: Path) -> Iterator[Finding]:
    """Check that uploaded weights are what their descriptions say."""
    hint = "Add the weights again; jobs that began with them have copies of their own."
    for folder in folders(data_dir):
        where = str(folder.relative_to(data_dir))
        record = read_description(folder)
        if record is None:
            yield Finding("bad_weights", where, f"{DESCRIPTION} cannot be read.", hint)
        elif record.status == "ready":
            files = {CONTENT: (record.size_bytes, record.sha256 or "")}
            for name, why in _differing(folder, files):
                yield Finding("bad_weights", f"{where}/{name}", why, hint)


def _checkpoints(data_dir: Path, indexes: JobIndexes, *, deep: bool) -> Iterator[Finding]:
    """Check that the newest checkpoint exists; older ones may have been pruned."""
    record = indexes.record
    is_done = record.status == "succeeded" and not deep
    checkpoints = indexes.checkpoints if deep else indexes.checkpoints[-1:]
    for checkpoint in () if is_done else checkpoints:
        try:
            manifest = (data_dir / checkpoint.path / MANIFEST).read_bytes()
        except OSError:
            if checkpoint.path == record.checkpoint and record.status != "succeeded":
                yield Finding(
                    "no_checkpoint", checkpoint.path, "Its manifest is not there.", _RESUME
                )
            continue
        if hashlib.sha256(manifest).hexdigest() != checkpoint.manifest_sha256:
            yield Finding("bad_checkpoint", checkpoint.path, "Its manifest was changed.", _RESUME)
            continue
        for name, why in _differing(data_dir / checkpoint.path, _listed(manifest)):
            yield Finding("bad_checkpoint", f"{checkpoint.path}/{name}", why, _RESUME)


def _artifacts(data_dir: Path, indexes: JobIndexes) -> Iterator[Finding]:
    record = indexes.record
    if record.status != "succeeded" or record.artifacts_folder is None:
        return
    folder = data_dir / record.artifacts_folder
    files = {file.name: (file.size_bytes, file.sha256) for file in record.artifacts}
    hint = "Restore the file from a backup, or submit the job again: it ends in the same bits."
    for name, why in _differing(folder, files):
        yield Finding("bad_artifact", f"{record.artifacts_folder}/{name}", why, hint)
    if SUMS in files and (folder / SUMS).is_file():
        sums = {row.split(maxsplit=1)[1]: row.split()[0] for row in _rows(folder / SUMS)}
        for name, sha256 in sums.items():
            if name in files and files[name][1] != sha256:
                where = f"{record.artifacts_folder}/{SUMS}"
                yield Finding("bad_artifact", where, f"It says otherwise of {name}.", hint)


def _drafts(data_dir: Path, indexes: JobIndexes) -> Iterator[Finding]:
    """Yield files that an attempt left half-written.

    The draft of the newest attempt is removed by the next one; that of a pack has the report.
    """
    record = indexes.record
    over = record.status == "succeeded"
    for draft in (data_dir / record.folder).glob("attempts/*/**/*.tmp"):
        parts = draft.relative_to(data_dir / record.folder).parts
        is_old = parts[1].isdecimal() and int(parts[1]) < record.attempt
        if (over or is_old) and draft.name != "pack.tmp":
            where = str(draft.relative_to(data_dir))
            yield Finding(
                "orphan", where, "Its attempt is over.", "Remove it; it only takes space."
            )


def _pack(data_dir: Path, pack: str, *, deep: bool) -> Iterator[Finding]:
    hint = "Add the dataset again; jobs that use it cannot run."
    try:
        pack_json: Any = json.loads((data_dir / pack / "pack.json").read_bytes())
        files = {
            name: (row["size_bytes"], row["sha256"]) for name, row in pack_json["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield Finding("bad_pack", pack, "pack.json is not there or not readable.", hint)
        return
    if deep:
        for name, why in _differing(data_dir / pack, files):
            yield Finding("bad_pack", f"{pack}/{name}", why, hint)


def _listed(manifest: bytes) -> dict[str, tuple[int | None, str]]:
    try:
        rows = json.loads(manifest)["files"]
        return {row["name"]: (row["size_bytes"], row["sha256"]) for row in rows}
    except (ValueError, KeyError, TypeError):
        return {}


def _differing(
    folder: Path, files: Mapping[str, tuple[int | None, str]]
) -> Iterator[tuple[str, str]]:
    """Yield (name, reason) for each file without this size and hash."""
    for name, (size_bytes, sha256) in files.items():
        try:
            if size_bytes is not None and (folder / name).stat().st_size != size_bytes:
                yield name, "It has another size."
            elif sha256_of(folder / name) != sha256:
                yield name, "Its bytes were changed."
        except OSError as error:
            yield name, f"{error.strerror}."


def _rows(path: Path) -> list[str]:
    return [row for row in path.read_text("utf-8").splitlines() if len(row.split()) == 2]
