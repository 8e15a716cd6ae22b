"""Files of the encoder in a checkpoint, for a job that has not published one.

The API makes them while it answers: the weights are ranges of bytes of the checkpoint's file, read
twice, once for their sha256; what describes the network was written when the attempt began.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from service.errors import ServiceError
from service.files.safe_open import open_inside
from service.store.records import CheckpointRecord
from trainer.checkpoint.encoder_file import STATE, EncoderFile, encoder_file
from trainer.schema.artifact_names import CONFIG, NETWORK, PREPROCESS, WEIGHTS
from trainer.schema.events import FileRecord
from trainer.util.safetensors_header import BadHeader

DESCRIBED = (CONFIG, PREPROCESS)
"""Files beside the weights."""


@dataclass(frozen=True, slots=True)
class OpenEncoder:
    """The weights of a checkpoint, to be sent. Close its file."""

    file: BinaryIO
    encoder: EncoderFile
    record: FileRecord

    def blocks(self) -> Iterator[bytes]:
        """Yield the weights; then the file is closed."""
        with self.file:
            yield from self.encoder.blocks(self.file)


def open_encoder(data_dir: Path, checkpoint: CheckpointRecord) -> OpenEncoder:
    """Open the weights of a checkpoint. Raises FileNotFoundError, ServiceError `storage`."""
    file = open_inside(data_dir, f"{checkpoint.path}/{STATE}")
    try:
        encoder = encoder_file(file)
        sha256 = encoder.sha256(file)
    except BadHeader as error:
        file.close()
        detail = f"The checkpoint of step {checkpoint.step} is damaged: {error}."
        raise ServiceError("storage", detail) from None
    return OpenEncoder(
        file, encoder, FileRecord(name=WEIGHTS, size_bytes=encoder.size_bytes, sha256=sha256)
    )


def open_described(data_dir: Path, checkpoint: CheckpointRecord, name: str) -> BinaryIO:
    """Open a file that describes the network. Raises FileNotFoundError for older attempts too."""
    attempt = PurePosixPath(checkpoint.path).parent.parent
    return open_inside(data_dir, f"{attempt}/{NETWORK}/{name}")
