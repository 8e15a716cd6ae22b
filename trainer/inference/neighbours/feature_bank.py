"""Cached features of the dataset that a probe is compared with, computed once per encoder.

A bank is the file `<sha256 of the encoder>-<rows at most>.safetensors` with `rows` int64 [N],
rising, and `features` float32 [N, D]. It is written atomically. A missing or damaged bank is
recomputed; two processes that do so at once write equivalent files.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray

from trainer.data.pack.format import Pack
from trainer.exports.embeddings import BATCH_ROWS, EMBEDDING
from trainer.inference.feature_extractor import FeatureExtractor
from trainer.inference.neighbours.spec import NeighbourSearchSpec
from trainer.rng.philox import permuted_rows
from trainer.rng.seeds import derived_seed
from trainer.schema.artifact_names import TABLE
from trainer.util.atomic_files import write_synced

GATHER_THREADS = 4
"""Threads that read rows ahead of a network."""
KEPT = 4
"""Banks of one job that are kept, those that were used last."""


class Stopped(Exception):
    """The computation was stopped by `should_stop`."""


@dataclass(frozen=True, slots=True)
class Bank:
    """Features of rows of one pack."""

    rows: NDArray[np.int64]
    """[N], rising."""
    features: NDArray[np.float32]
    """[N, D], not normalised."""


def bank_of(
    spec: NeighbourSearchSpec,
    pack: Pack,
    extractor: Callable[[], FeatureExtractor],
    *,
    should_stop: Callable[[], bool],
) -> Bank:
    """Return the bank of an encoder, kept or new; `extractor` is called if features are missing.

    Raises Stopped, OSError, and what `extractor` raises.
    """
    path = Path(spec.features) / f"{spec.encoder_sha256}-{spec.rows_max}.safetensors"
    bank = _kept(path)
    if bank is not None:
        return bank
    table = Path(spec.encoder) / TABLE
    if spec.checkpoint is None and table.is_file():
        bank = _of_table(table, sample(spec, pack.rows), should_stop)
    else:
        bank = _computed(spec, pack, extractor(), should_stop)
    _keep(path, bank)
    return bank


def sample(spec: NeighbourSearchSpec, rows: int) -> NDArray[np.int64]:
    """Return the rows to search, in the order of computation: the same for every encoder."""
    seed = derived_seed(spec.job.seed, "probe")
    drawn = torch.arange(min(rows, spec.rows_max))
    # By the first rule for good: features that were kept are those of its rows.
    order = permuted_rows(drawn, total=rows, seed=seed, epoch=0, order=1)
    sampled: NDArray[np.int64] = order.numpy()
    return sampled


def _computed(
    spec: NeighbourSearchSpec,
    pack: Pack,
    extractor: FeatureExtractor,
    should_stop: Callable[[], bool],
) -> Bank:
    """Compute features of as many rows as time allows, in random order."""
    order, began_s = sample(spec, pack.rows), time.monotonic()
    rows, values = [], []
    with extractor.loader(threads=GATHER_THREADS) as source:
        for first in range(0, len(order), BATCH_ROWS):
            if should_stop():
                raise Stopped
            batch = order[first : first + BATCH_ROWS]
            values.append(extractor.features(source.whole(torch.from_numpy(batch))).numpy())
            rows.append(batch)
            if time.monotonic() - began_s > spec.features_max_s:
                break
    return _sorted_bank(np.concatenate(rows), np.concatenate(values))


def _of_table(path: Path, sampled: NDArray[np.int64], should_stop: Callable[[], bool]) -> Bank:
    """Return the features of `embeddings.parquet`, which has every row, one row group at a time."""
    rows, values = [], []
    with pq.ParquetFile(path) as table:
        for group in range(table.num_row_groups):
            if should_stop():
                raise Stopped
            read = table.read_row_group(group, columns=["row", EMBEDDING])
            group_rows = read["row"].to_numpy()
            chosen = np.isin(group_rows, sampled)
            rows.append(group_rows[chosen])
            values.append(_matrix(read[EMBEDDING])[chosen])
    return _sorted_bank(np.concatenate(rows), np.concatenate(values))


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return a column of lists of one length as float32 [N, D]."""
    joined = column.combine_chunks()
    flat: NDArray[np.float32] = joined.flatten().to_numpy()
    return flat.reshape(len(joined), -1)


def _sorted_bank(rows: NDArray[np.int64], values: NDArray[np.float32]) -> Bank:
    order = np.argsort(rows)
    return Bank(rows[order], np.ascontiguousarray(values[order]))


def _kept(path: Path) -> Bank | None:
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        rows, features = tensors["rows"], tensors["features"]
    except (OSError, KeyError, safetensors.SafetensorError):
        return None
    if features.ndim != 2 or rows.shape != features.shape[:1]:
        return None
    with suppress(OSError):
        os.utime(path)
    return Bank(rows.numpy(), features.numpy())


def _keep(path: Path, bank: Bank) -> None:
    """Write a bank; if the disk refuses, it only has to be computed again."""
    tensors = {"rows": torch.from_numpy(bank.rows), "features": torch.from_numpy(bank.features)}
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        try:
            write_synced(draft, safetensors.torch.save(tensors))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        others = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
        for old in others[:-KEPT]:
            old.unlink(missing_ok=True)
