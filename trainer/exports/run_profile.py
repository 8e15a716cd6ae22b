"""The time profile of a profiled run: it lies beside the files of the encoder."""

from pathlib import Path

from trainer.exports.base import Export, write_file
from trainer.schema.artifact_names import PROFILE
from trainer.util.json_files import json_bytes


def files(_export: Export) -> dict[str, str]:
    """Return nothing: it differs from run to run, and the model card does not."""
    return {}


def write(export: Export, folder: Path) -> None:
    """Write the profile, if there is one."""
    if export.profile is not None:
        profile = export.profile.model_dump(mode="json", exclude={"type"})
        write_file(folder, PROFILE, json_bytes(profile))
