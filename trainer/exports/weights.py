"""The weights of the encoder."""

from pathlib import Path

from trainer.exports.base import Export, write_file
from trainer.modalities.outputs import outputs_of
from trainer.nn.state_files import plain_state, safetensors_bytes, torch_bytes
from trainer.schema.artifact_names import WEIGHTS


def files(export: Export) -> dict[str, str]:
    """Return the files of the weights."""
    return {
        WEIGHTS: outputs_of(export.spec).weights_meaning,
        "encoder.pth": "the same weights for `torch.load(..., weights_only=True)`",
    }


def write(export: Export, folder: Path) -> None:
    """Write the weights."""
    state = plain_state(export.encoder)
    write_file(folder, WEIGHTS, safetensors_bytes(state))
    write_file(folder, "encoder.pth", torch_bytes(state))
