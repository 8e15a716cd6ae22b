"""Write the files of a trained encoder.

Every file is a pure function of the run, except for the profile of a profiled run.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from trainer.data.pack.format import Pack
from trainer.exports import embedding_map, embeddings, weights
from trainer.exports.atomic_folder import atomic_folder, link, write_sums
from trainer.exports.model_card.card import card
from trainer.exports.model_card.sparklines import Line
from trainer.modalities.base import Loader, Views
from trainer.modalities.image.preprocessing import Preprocessing, as_json, preprocessing
from trainer.modalities.image.values import row_picture
from trainer.schema.artifact_names import (
    CONFIG,
    MODEL,
    PREPROCESS,
    PROCESSOR,
    PROFILE,
    TABLE,
    WEIGHTS,
)
from trainer.schema.errors import DivergedError
from trainer.schema.events import DatasetFacts, Profiled, Published
from trainer.spec.resolved import ResolvedSpec
from trainer.util.atomic_files import write_synced
from trainer.util.failpoints import failpoint

FOLDER = "artifacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Files to publish."""

    spec: ResolvedSpec
    reasons: dict[str, str]
    facts: DatasetFacts
    encoder: nn.Module
    """In eval mode, fp32; images [B, 3, side, side] -> features [B, feature_dim]."""
    source: Loader[Any]
    views: Views[Any]
    pack: Pack
    history: list[Line]
    """The lines of metrics.jsonl."""
    exact: bool
    step: int
    profile: Profiled | None = None
    """Profile of the run, published next to its files but not part of them."""


def publish(export: Export, *, out: Path) -> Published:
    """Write `out/artifacts` whole or not at all, and name its files with size and sha256.

    Raises StorageError if the disk refuses, DivergedError if features are not finite.
    """
    state = weights.plain_state(export.encoder)
    steps = preprocessing(export.spec, export.facts)
    config = weights.config(export.spec, export.encoder, steps)
    with atomic_folder(out / FOLDER) as folder:
        chosen = _write_embeddings(export, folder / TABLE)
        for name, data in {
            WEIGHTS: weights.safetensors_bytes(state),
            "encoder.pth": weights.torch_bytes(state),
            CONFIG: _json(config),
            PREPROCESS: _json(as_json(steps)),
            "README.md": _card(export, config, steps).encode(),
            "atlas.png": _atlas(export, chosen),
            **_processor(config, steps),
            **_profile(export),
        }.items():
            failpoint("publish.mid_write")
            write_synced(folder / name, data)
        if weights.is_timms(config):
            link(folder / WEIGHTS, folder / MODEL)
        files = write_sums(folder)
    return Published(folder=FOLDER, files=files)


def _processor(config: dict[str, Any], steps: Preprocessing) -> dict[str, bytes]:
    """Return the file by which Hugging Face finds the image processor; timm's is in the config.

    It reads images of 8 bits only.
    """
    if not weights.is_timms(config) or not steps.is_plain:
        return {}
    return {PROCESSOR: _json({"image_processor_type": "TimmWrapperImageProcessor"})}


def _write_embeddings(export: Export, path: Path) -> embeddings.Features:
    """Write every row's feature; return those of the rows that the map shows."""
    wanted = embedding_map.sample(export.pack.rows)
    kept: list[embeddings.Features] = []
    found = embeddings.features(export.encoder, export.source, export.views, rows=export.pack.rows)
    finite = _finite(found, step=export.step)
    embeddings.write_parquet(path, _tapped(finite, wanted, kept), pack=export.pack)
    return embeddings.joined(kept)


def _finite(found: Iterable[embeddings.Features], *, step: int) -> Iterator[embeddings.Features]:
    """Pass features on. Raises DivergedError for those that finite, huge weights overflow."""
    for batch in found:
        if not np.isfinite(batch.values).all():
            detail = f"The features of the encoder are not finite after step {step}."
            raise DivergedError(detail, step=step)
        yield batch


def _tapped(
    found: Iterable[embeddings.Features],
    wanted: NDArray[np.int64],
    kept: list[embeddings.Features],
) -> Iterator[embeddings.Features]:
    """Pass all features on, and keep a copy of the wanted rows."""
    for batch in found:
        mask = np.isin(batch.rows, wanted)
        kept.append(embeddings.Features(batch.rows[mask], batch.values[mask]))
        yield batch


def _card(export: Export, config: dict[str, Any], steps: Preprocessing) -> str:
    return card(
        export.spec,
        export.facts,
        reasons=export.reasons,
        history=export.history,
        config=config,
        steps=steps,
        step=export.step,
        exact=export.exact,
    )


def _profile(export: Export) -> dict[str, bytes]:
    if export.profile is None:
        return {}
    return {PROFILE: _json(export.profile.model_dump(mode="json", exclude={"type"}))}


def _atlas(export: Export, chosen: embeddings.Features) -> bytes:
    name = export.spec.name or PurePath(export.spec.dataset).name
    shown, rows = len(chosen.rows), export.pack.rows
    return embedding_map.draw(
        [Image.fromarray(row_picture(export.pack, int(row))) for row in chosen.rows],
        embedding_map.flatten(chosen.values, seed=export.spec.seed),
        labels=[embeddings.label_name(export.pack, int(row)) for row in chosen.rows],
        title=name,
        note=f"{shown:,} of {rows:,} images; the encoder finds near ones alike",
    )


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
