"""The results of the evaluators: figures with intervals, their baselines, and tables."""

from pathlib import Path

from trainer.exports.base import Export, write_file
from trainer.schema.artifact_names import EVALUATION
from trainer.util.json_files import json_bytes


def files(export: Export) -> dict[str, str]:
    """Return the file, unless nothing was measured."""
    if not export.evaluation.evaluators:
        return {}
    return {EVALUATION: "figures of each evaluator with 95 % interval and baselines, and tables"}


def write(export: Export, folder: Path) -> None:
    """Write the file, unless nothing was measured."""
    if files(export):
        write_file(folder, EVALUATION, json_bytes(export.evaluation.model_dump(mode="json")))
