"""Facts of a dataset that exists only in a test."""

from typing import Any

from trainer.schema.events import DatasetFacts


def made_up_facts(*, side_px: int = 32, **changes: Any) -> DatasetFacts:  # noqa: ANN401
    """Return the facts of 50,000 unlabelled square images; `changes` are other fields."""
    fields: dict[str, Any] = {
        "rows": 50_000,
        "bad_files": 0,
        "duplicates": 0,
        "side_px_min": side_px,
        "side_px_median": side_px,
        "side_px_max": side_px,
        "same_size": True,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
        "size_bytes": 1,
        "sha256": "0" * 64,
    }
    return DatasetFacts(**(fields | changes))
