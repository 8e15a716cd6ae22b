"""The encoder of a job's best checkpoint, read when the job ends."""

import logging
from collections.abc import Iterable
from pathlib import Path

from trainer.checkpoint.checkpoint_files import candidates, load
from trainer.checkpoint.encoder_file import STATE, encoder_file
from trainer.schema.errors import CheckpointError
from trainer.util.safetensors_header import BadHeader

log = logging.getLogger(__name__)


def encoder_of_step(step: int, places: Iterable[Path]) -> bytes | None:
    """Return `encoder.safetensors` of an intact checkpoint of a step; None if there is none.

    `places` are checkpoints or folders of them; neighbors of a checkpoint count too.
    """
    for path in candidates(places):
        if int(path.name) != step:
            continue
        try:
            load(path)  # every byte is checked against the manifest
            with (path / STATE).open("rb") as file:
                return b"".join(encoder_file(file).blocks(file))
        except (CheckpointError, BadHeader, OSError) as error:
            log.warning("the best checkpoint: %s", error)
    return None
