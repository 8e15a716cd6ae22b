"""The feature of every row, as a table that pandas, polars and DuckDB read."""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.data.pack.format import Pack
from trainer.exports.base import Export
from trainer.modalities.base import Loader, Views
from trainer.modalities.outputs import outputs_of
from trainer.schema.artifact_names import TABLE
from trainer.schema.errors import DivergedError
from trainer.util.failpoints import failpoint

BATCH_ROWS = 256
EMBEDDING = "embedding"
"""Name of the column of features here and in what `moco embed` writes: float32, fixed length."""
GROUP_ROWS = 16_384
"""Rows of one row group: what a reader and the writer hold in memory at once."""


class Features(NamedTuple):
    """Features of consecutive rows."""

    rows: NDArray[np.int64]  # [B]
    values: NDArray[np.float32]  # [B, feature_dim]


def features(
    encoder: nn.Module, source: Loader[Any], views: Views[Any], *, rows: int
) -> Iterator[Features]:
    """The backbone feature of each row, without augmentation, in the order of the rows.

    The batch is fixed: with another one, sums in a kernel may be taken in another order.
    """
    device = next(encoder.parameters()).device
    for first in range(0, rows, BATCH_ROWS):
        batch = torch.arange(first, min(first + BATCH_ROWS, rows))
        with torch.inference_mode():
            view = views.plain(source.whole(batch))
            value = encoder(*(part.to(device) for part in view)).float()
        yield Features(batch.numpy(), value.cpu().numpy())


def files(export: Export) -> dict[str, str]:
    """Return the table."""
    one = outputs_of(export.spec).words.one
    return {TABLE: f"row, name, label and embedding of every {one}: a float32 list of fixed length"}


def write(export: Export, folder: Path) -> None:
    """Write the feature of every row. Raises DivergedError if one is not finite."""
    computed = features(export.encoder, export.source, export.views, rows=export.pack.rows)
    failpoint("publish.mid_write")
    write_parquet(folder / TABLE, _finite(computed, step=export.step), pack=export.pack)


def read_features(path: Path, rows: NDArray[np.int64]) -> Features:
    """Return the features of some rows of a table, in the order of the table."""
    parts = []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["row", EMBEDDING]):
            numbers = batch.column("row").to_numpy()
            column = batch.column(EMBEDDING)
            values = column.flatten().to_numpy().reshape(len(numbers), -1)
            mask = np.isin(numbers, rows)
            parts.append(Features(numbers[mask], values[mask]))
    return joined(parts)


def _finite(computed: Iterable[Features], *, step: int) -> Iterator[Features]:
    """Pass features on. Raises DivergedError for those that finite, huge weights overflow."""
    for batch in computed:
        if not np.isfinite(batch.values).all():
            detail = f"The features of the encoder are not finite after step {step}."
            raise DivergedError(detail, step=step)
        yield batch


def write_parquet(path: Path, found: Iterable[Features], *, pack: Pack) -> None:
    """Write columns row, name, label (null without one) and embedding (float32, fixed length).

    At least one row is needed: the length of the embedding is taken from the first.
    """
    groups = (_table(group, pack) for group in _grouped(found))
    first = next(groups)
    with path.open("xb") as file:
        with pq.ParquetWriter(
            file, first.schema, compression="zstd", use_dictionary=["label"]
        ) as writer:
            for table in chain([first], groups):
                writer.write_table(table)
        file.flush()
        os.fsync(file.fileno())


def _grouped(found: Iterable[Features]) -> Iterator[Features]:
    """Join batches into row groups."""
    held: list[Features] = []
    for batch in found:
        held.append(batch)
        if sum(len(part.rows) for part in held) >= GROUP_ROWS:
            yield joined(held)
            held = []
    if held:
        yield joined(held)


def joined(parts: list[Features]) -> Features:
    """Several batches as one."""
    return Features(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def _table(group: Features, pack: Pack) -> pa.Table:
    dim = group.values.shape[1]
    names = [pack.name(int(row)) for row in group.rows]
    labels = [label_name(pack, int(row)) for row in group.rows]
    values = pa.FixedSizeListArray.from_arrays(pa.array(group.values.reshape(-1)), dim)
    return pa.table(
        {
            "row": pa.array(group.rows),
            "name": pa.array(names, pa.string()),
            "label": pa.array(labels, pa.string()),
            EMBEDDING: values,
        }
    )


def label_name(pack: Pack, row: int) -> str | None:
    """The class of a row in words, if it has one."""
    number = int(pack.labels[row])
    return pack.facts.labels[number] if 0 <= number < len(pack.facts.labels) else None
