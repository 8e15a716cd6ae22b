"""Content of uploaded weights, from the header of their file alone."""

from functools import lru_cache
from pathlib import Path

from service.errors import ServiceError
from service.files.safe_open import open_inside
from service.weights.weights_store import WeightsRecord
from trainer.modalities.image.encoders.fitting_encoders import FittingEncoder, fitting_encoder
from trainer.util.safetensors_header import WEIGHTS_DTYPES, BadHeader, read_header

KNOWN_MAX = 256
"""Weights whose encoder is kept in memory: finding it takes some tens of milliseconds."""


def shapes_of(data_dir: Path, record: WeightsRecord) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of weights that are ready. Raises ServiceError `storage`."""
    try:
        with open_inside(data_dir, record.path) as file:
            header = read_header(file, size_bytes=record.size_bytes or 0, dtypes=WEIGHTS_DTYPES)
    except (BadHeader, OSError) as error:
        detail = f"The weights {record.name} cannot be read: {error}."
        raise ServiceError("storage", detail) from None
    return {name: entry.shape for name, entry in header.tensors.items()}


def encoder_of(data_dir: Path, record: WeightsRecord) -> FittingEncoder | None:
    """Return the encoder that weights fit; None for none, or while they are not ready.

    None also if their file cannot be read: the list must show the others. A job of them is told so.
    """
    if record.status != "ready":
        return None
    try:
        return known_encoder(data_dir, record)
    except ServiceError:
        return None


@lru_cache(maxsize=KNOWN_MAX)
def known_encoder(data_dir: Path, record: WeightsRecord) -> FittingEncoder | None:
    """Return the encoder that weights that are ready fit. Raises ServiceError `storage`."""
    return fitting_encoder(shapes_of(data_dir, record))
