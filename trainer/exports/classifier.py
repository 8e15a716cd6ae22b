"""The classifier of a finetune job: its encoder and its head in one file."""

from pathlib import Path

from trainer.exports.base import Export, write_file
from trainer.nn.state_files import plain_state, safetensors_bytes
from trainer.schema.artifact_names import CLASSIFIER


def files(export: Export) -> dict[str, str]:
    """Return the file, if the job trained a classifier."""
    if export.head is None:
        return {}
    return {CLASSIFIER: "the classifier: `encoder.` with the keys of the encoder, and `head.`"}


def write(export: Export, folder: Path) -> None:
    """Write the file, if the job trained a classifier."""
    if export.head is None:
        return
    parts = {"encoder": export.encoder, "head": export.head}
    state = {
        f"{part}.{key}": value
        for part, module in parts.items()
        for key, value in plain_state(module).items()
    }
    write_file(folder, CLASSIFIER, safetensors_bytes(state))
