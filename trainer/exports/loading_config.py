"""The files that say how to build the network and how to prepare an image for it."""

from pathlib import Path

from trainer.exports import weights
from trainer.exports.base import Export, json_bytes, write_file
from trainer.modalities.image.preprocessing import as_json
from trainer.schema.artifact_names import CONFIG, PREPROCESS, PROCESSOR


def files(export: Export) -> dict[str, str]:
    """Return the files of the network and of its input."""
    names = {
        CONFIG: "the network; timm and transformers read it where timm has such a network",
        PREPROCESS: "the steps from an image file to the network's input",
    }
    if _has_processor(export):
        names[PROCESSOR] = "names the image processor for transformers"
    return names


def write(export: Export, folder: Path) -> None:
    """Write the files. Hugging Face finds its image processor by one of them."""
    write_file(folder, CONFIG, json_bytes(weights.config_of(export)))
    write_file(folder, PREPROCESS, json_bytes(as_json(export.steps)))
    if _has_processor(export):
        processor = {"image_processor_type": "TimmWrapperImageProcessor"}
        write_file(folder, PROCESSOR, json_bytes(processor))


def _has_processor(export: Export) -> bool:
    """Return whether timm's processor, which reads images of 8 bits only, fits the network."""
    return weights.is_timms(weights.config_of(export)) and export.steps.is_plain
