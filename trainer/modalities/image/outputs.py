"""Published files and words of a job on images."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.data.pack.format import Pack
from trainer.modalities.image.ingest import IMAGE_FORMATS
from trainer.modalities.image.preprocessing import RGB, as_json
from trainer.modalities.image.published.network_config import (
    config_of,
    has_processor,
    is_convnext,
    is_timms,
    steps_of,
)
from trainer.modalities.image.published.other_packages import other_packages
from trainer.modalities.image.published.snippets import classifying, loading
from trainer.modalities.image.spec import image_views
from trainer.modalities.image.values import row_picture
from trainer.modalities.outputs import Lines, Link, Outputs, Trained
from trainer.nn.state_files import plain_state, safetensors_bytes, timm_state
from trainer.schema.artifact_names import CONFIG, MODEL, PREPROCESS, PROCESSOR, WEIGHTS
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.util.json_files import json_bytes

AGAIN = "`encoder.safetensors` once more, by the name that timm and transformers expect"
RENAMED = "the weights with timm's keys, for timm and transformers"
OF_ENCODER = """\
- The encoder knows images like those it was trained on. Compare it with raw pixels and with an
  ImageNet encoder on your own task before you rely on it."""
OF_CLASSIFIER = """\
- It answers with one of its classes for every image, also for one that shows none of them. It knows
  images like those it was trained on."""


class ImageOutputs(Outputs):
    """Files of networks that timm and transformers load too, cards with code, and pictures."""

    words = IMAGE_FORMATS.words
    weights_meaning = "the weights: fp32, keys of torchvision, of timm for a ViT"
    encoder_limits = OF_ENCODER
    classifier_limits = OF_CLASSIFIER

    def network(self, trained: Trained) -> dict[str, bytes]:
        """Return the network and the steps from a file to its input."""
        return {
            CONFIG: json_bytes(config_of(trained)),
            PREPROCESS: json_bytes(as_json(steps_of(trained))),
        }

    def files(self, trained: Trained) -> dict[str, str]:
        """Return the files of the network and of its input."""
        names = {}
        config = config_of(trained)
        if is_timms(config):
            names[MODEL] = RENAMED if is_convnext(config) else AGAIN
        names |= {
            CONFIG: "the network; timm and transformers read it where timm has such a network",
            PREPROCESS: "the steps from an image file to the network's input",
        }
        if has_processor(config, steps_of(trained)):
            names[PROCESSOR] = "names the image processor for transformers"
        return names

    def contents(self, trained: Trained) -> Iterator[tuple[str, bytes | Link]]:
        """Yield the files, and where timm has the network its weights by the name it expects.

        They are a link to the weights if their keys are the same. Hugging Face finds its image
        processor by one of the files.
        """
        config, steps = config_of(trained), steps_of(trained)
        if is_timms(config) and is_convnext(config):
            yield MODEL, safetensors_bytes(timm_state(plain_state(trained.encoder)))
        elif is_timms(config):
            yield MODEL, Link(WEIGHTS)
        yield from self.network(trained).items()
        if has_processor(config, steps):
            yield PROCESSOR, json_bytes({"image_processor_type": "TimmWrapperImageProcessor"})

    def inputs(self, trained: Trained) -> dict[str, str]:
        """Return the shape of the pixels."""
        channels, side_px = trained.facts.channels, image_views(trained.spec).side_px
        return {"pixels": f"[batch, {channels}, {side_px}, {side_px}]"}

    def loading(self, trained: Trained) -> list[str]:
        """Return how to load the encoder and, if there is one, the classifier."""
        config = config_of(trained)
        parts = [loading(config, steps_of(trained))]
        return [*parts, classifying(config)] if "classifier" in config["mocoserve"] else parts

    def elsewhere(self, trained: Trained) -> str | None:
        """Return code for torchvision's detectors, detectron2 and Ultralytics."""
        return other_packages(config_of(trained), steps_of(trained))

    def content_lines(self, spec: JobSpec, facts: DatasetFacts) -> Lines:
        """Return the sizes and the values of the images."""
        side_px = image_views(spec).side_px
        sides = f"{facts.side_px_min} to {facts.side_px_max} px, median {facts.side_px_median} px"
        return [
            ("stored sides", sides),
            ("network input", f"{side_px} x {side_px} px, {_channels(facts)}"),
            ("values", _values(facts)),
        ]

    def value_lines(self, facts: DatasetFacts) -> Lines:
        """Return the moments of the values."""
        return [("mean, std", f"{_numbers(facts.mean)}, {_numbers(facts.std)}")]

    def picture(self, pack: Pack, row: int) -> NDArray[np.uint8]:
        """Return an image in the range of values that the job sees."""
        return row_picture(pack, row)


def _values(facts: DatasetFacts) -> str:
    """Return the values of files that are read as black and as white."""
    mapping = facts.values
    if mapping is None:
        return "uint8: 0 is black, 255 is white"
    return f"{mapping.source_dtype}: {mapping.low:g} is black, {mapping.high:g} is white"


def _channels(facts: DatasetFacts) -> str:
    if facts.channels == RGB:
        return "RGB"
    return "1 channel" if facts.channels == 1 else f"{facts.channels} channels"


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"


OUTPUTS = ImageOutputs()
