"""Features of any rows from a downloaded encoder, as a table.

The rows go through what the service does with a dataset: read and cut by the same functions, so a
row that was trained on gets the feature of its `embeddings.parquet`.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.torch
import torch
from torch import nn

from trainer.accel.device import DeviceConfig, deterministic_device
from trainer.data.ingest import DecodedItem, decoded_chunks
from trainer.data.labels.classes import ClassNames, labels_of_rows
from trainer.data.readers.detect import ReadOptions, open_source
from trainer.data.readers.items import BadFile, Item, Limits
from trainer.exports.embeddings import BATCH_ROWS, EMBEDDING, GROUP_ROWS
from trainer.modalities.registry import DEFAULT, MODALITIES, part_of
from trainer.modalities.unpacked import Reader, load_unpacked
from trainer.nn.towers import feature_dim
from trainer.schema.artifact_names import CONFIG, PREPROCESS, WEIGHTS
from trainer.schema.errors import DataError, TrainerError
from trainer.util.atomic_files import storage_errors, sync_folder

TELL_EVERY_S = 2.0


class BadEncoder(TrainerError):
    """Files that are not an encoder exported by mocoserve."""

    code = "bad_encoder"
    hint = "Name a folder that `moco download` made, or the encoder.safetensors in one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """Network with weights and preprocessing."""

    network: nn.Module
    """In eval mode, fp32."""
    reader: Reader[Any]


@dataclass(slots=True)
class Embedded:
    """Result of embedding a set of rows."""

    path: Path
    feature_dim: int
    rows: int = 0
    bad: list[BadFile] = field(default_factory=list)
    """Files that are no rows, with reasons."""
    labels: tuple[str, ...] = ()


def load_encoder(path: Path) -> Encoder:
    """Load the encoder of a folder of artifacts, or of the safetensors file in one.

    Raises BadEncoder.
    """
    folder, weights = (path, path / WEIGHTS) if path.is_dir() else (path.parent, path)
    config, words = _json(folder / CONFIG), _json(folder / PREPROCESS)
    try:
        ours = config.get("mocoserve", {})
        modality, name = ours.get("modality", DEFAULT), ours.get("architecture")
        name = name or config["architecture"]
        if modality not in MODALITIES or name not in part_of(modality, "spec").ENCODER_NAMES:
            raise BadEncoder(f"{folder / CONFIG} names {name!r}, which is no encoder of ours.")
        unpacked = load_unpacked(modality)
        network, reader = unpacked.encoder(folder, config=config, preprocess=words)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadEncoder(f"{folder} has a {CONFIG} or {PREPROCESS} of another kind.") from error
    try:
        network.load_state_dict(safetensors.torch.load_file(weights))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        first = str(error).partition("\n")[0]
        raise BadEncoder(f"{weights} does not hold the weights of a {name}: {first}") from error
    return Encoder(network=network.eval(), reader=reader)


def _json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BadEncoder(f"{path} is not there.") from error
    except (OSError, ValueError) as error:
        raise BadEncoder(f"{path} cannot be read: {error}.") from error
    if not isinstance(fields, dict):
        raise BadEncoder(f"{path} is of another kind.")
    return fields


def embed(
    encoder_path: Path,
    rows_path: Path,
    *,
    out: Path,
    device_config: DeviceConfig,
    tell: Callable[[str], None] = lambda _words: None,
) -> Embedded:
    """Write `out`, a parquet file of name, label and embedding, atomically.

    `rows_path` is a folder, with rows in name order, or an archive. Labels are folder names, null
    without folders. `tell` receives progress messages.

    Raises:
        BadEncoder: these files are no encoder of ours.
        DataError: there is no row that can be used.
        StorageError: the disk refuses.
    """
    encoder = load_encoder(encoder_path)
    with (
        deterministic_device(device_config, precision="fp32") as context,
        _growing(out) as (draft, raw),
    ):
        network = encoder.network.to(context.device)
        reader = encoder.reader
        words = reader.formats.words
        done = Embedded(out, feature_dim(network))
        options = ReadOptions(reader.formats)
        with reader.opened(), open_source(rows_path, Limits(), options) as source:
            items: list[Item] = []
            for batch in _batches(source.items, reader, done, tell):
                with torch.inference_mode():
                    view = reader.view([decoded.row for decoded in batch], context.device)
                    values = network(*view).float().cpu().numpy()
                raw.write(np.ascontiguousarray(values, dtype=np.float32).data)
                items += [decoded.item for decoded in batch]
            if not items:
                raise DataError(
                    f"{rows_path} holds no {words.one} that can be used ({_reasons(done.bad)}).",
                    hint=f"Pass a folder or an archive of {words.many}.",
                )
        done.rows = len(items)
        done.labels, numbers = _labels(items, source.classes)
        _write(draft, raw, items, [done.labels[n] if n >= 0 else None for n in numbers], done)
    return done


@contextmanager
def _growing(out: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """Give a path to write, which becomes `out` at the end, and a file for features until then."""
    draft = out.with_name(f"{out.name}.tmp")
    with storage_errors(out, leftover=draft):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryFile(dir=out.parent) as raw:
                yield draft, raw
            draft.replace(out)
            sync_folder(out.parent)
        finally:
            draft.unlink(missing_ok=True)


def _batches(
    items: Iterator[Item | BadFile],
    reader: Reader[Any],
    done: Embedded,
    tell: Callable[[str], None],
) -> Iterator[list[DecodedItem[Any]]]:
    """Yield batches of rows in item order, with the service's batch size; record bad files."""
    held: list[DecodedItem[Any]] = []
    reported_s = time.monotonic()
    for chunk in decoded_chunks(items, reader.decode):
        for result in chunk:
            if isinstance(result, BadFile):
                done.bad.append(result)
                continue
            held.append(result)
            done.rows += 1
            if len(held) == BATCH_ROWS:
                yield held
                held = []
        if time.monotonic() - reported_s >= TELL_EVERY_S:
            reported_s = time.monotonic()
            tell(f"{done.rows:,} {reader.formats.words.many}, {len(done.bad):,} left out")
    if held:
        yield held


def _labels(items: list[Item], names: ClassNames) -> tuple[tuple[str, ...], list[int]]:
    """Return classes, and that of each row or -1: those of the source, else of the folders."""
    folders = [item.name.rpartition("/")[0] for item in items]
    numbers = np.array([item.label for item in items], np.int32)
    labels = labels_of_rows(folders, numbers, names)
    return labels.classes, labels.numbers.tolist()


def _write(
    path: Path, raw: IO[bytes], items: list[Item], labels: list[str | None], done: Embedded
) -> None:
    schema = pa.schema(
        [
            ("name", pa.string()),
            ("label", pa.string()),
            (EMBEDDING, pa.list_(pa.float32(), done.feature_dim)),
        ]
    )
    raw.seek(0)
    with path.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=["label"]) as writer:
            for first in range(0, len(items), GROUP_ROWS):
                group = slice(first, first + GROUP_ROWS)
                names = [item.name for item in items[group]]
                values = np.frombuffer(raw.read(4 * len(names) * done.feature_dim), np.float32)
                features = pa.FixedSizeListArray.from_arrays(pa.array(values), done.feature_dim)
                columns = [pa.array(names), pa.array(labels[group], pa.string()), features]
                writer.write_table(pa.table(columns, schema=schema))
        file.flush()
        os.fsync(file.fileno())


def _reasons(bad: list[BadFile]) -> str:
    counts: dict[str, int] = {}
    for file in bad:
        counts[file.reason] = counts.get(file.reason, 0) + 1
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"skipped: {reasons}" if reasons else "it is empty"
