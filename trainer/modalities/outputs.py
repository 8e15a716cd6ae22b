"""Contract of what a job publishes about the rows of its modality.

The exports, the model card and the searches for neighbors know rows by this contract alone. What
a modality does not override is left out, or said in general words.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trainer.data.formats import Words
from trainer.data.pack.format import Pack
from trainer.modalities.registry import part_of
from trainer.nn.towers import feature_dim
from trainer.schema.artifact_names import CONFIG
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec
from trainer.util.json_files import json_bytes

Lines = list[tuple[str, str]]
"""Lines of a table of two columns."""


class Trained(Protocol):
    """Encoder to publish, with its job."""

    @property
    def spec(self) -> ResolvedSpec:
        """Job with every value."""

    @property
    def facts(self) -> DatasetFacts:
        """Facts of its dataset."""

    @property
    def pack(self) -> Pack:
        """Dataset that it was trained on."""

    @property
    def encoder(self) -> nn.Module:
        """Encoder in eval mode, fp32."""

    @property
    def head(self) -> nn.Module | None:
        """Head of a classifier; None for an encoder."""


class Link(NamedTuple):
    """Another published file, which this one equals."""

    name: str


class Outputs:
    """Published files and words of a modality. One of each is `OUTPUTS` in its module `outputs`."""

    words: Words
    """Names of a row."""
    weights_meaning = "the weights: fp32"
    """Description of the weights in the card's list of files."""
    encoder_limits = (
        "- The encoder knows rows like those it was trained on. Compare it with simple features on "
        "your own task\n  before you rely on it."
    )
    """Item of the card on what an encoder knows."""
    classifier_limits = (
        "- It answers with one of its classes for every row, also for one that fits none of them. "
        "It knows rows\n  like those it was trained on."
    )
    """Item of the card on what a classifier knows."""

    def network(self, trained: Trained) -> dict[str, bytes]:
        """Return the files that any weights of a run need: they do not depend on the weights.

        `config.json`, which names the modality and the architecture for `moco embed`, is one.
        """
        ours: dict[str, Any] = {
            "modality": trained.spec.views.modality,
            "architecture": trained.spec.encoder.name,
        }
        if trained.head is not None:
            ours["classifier"] = {"classes": list(trained.facts.labels)}
        return {
            CONFIG: json_bytes({"num_features": feature_dim(trained.encoder), "mocoserve": ours})
        }

    def files(self, trained: Trained) -> dict[str, str]:
        """Return the names of the files beside the weights, with meanings for the card."""
        del trained
        return {CONFIG: "the network"}

    def contents(self, trained: Trained) -> Iterator[tuple[str, bytes | Link]]:
        """Yield the files of `files` in the order of writing."""
        yield from self.network(trained).items()

    def inputs(self, trained: Trained) -> dict[str, str]:
        """Return the network's inputs, name -> shape in words such as `[batch, 3, 32, 32]`."""
        del trained
        return {}

    def loading(self, trained: Trained) -> list[str]:
        """Return the card's text on loading the encoder; its code runs in the folder of files."""
        name = trained.spec.encoder.name
        return [f"`encoder.safetensors` has the weights of `{name}`; only mocoserve builds it."]

    def elsewhere(self, trained: Trained) -> str | None:
        """Return the card's text on other packages that take the weights; None without one."""
        del trained
        return None

    def content_lines(self, spec: JobSpec, facts: DatasetFacts) -> Lines:
        """Return the card's lines on the content of rows."""
        del spec, facts
        return []

    def value_lines(self, facts: DatasetFacts) -> Lines:
        """Return the card's lines on the statistics of values."""
        del facts
        return []

    def picture(self, pack: Pack, row: int) -> NDArray[np.uint8] | None:
        """Return a row for display, u8 [height, width, 3]; None for rows that are no pictures."""
        del pack, row
        return None

    def text(self, pack: Pack, row: int) -> str | None:
        """Return the text of a row; None for rows that are no text."""
        del pack, row
        return None


def outputs_of(spec: JobSpec) -> Outputs:
    """Return `trainer.modalities.<name>.outputs.OUTPUTS` of the modality of a job."""
    return cast(Outputs, part_of(spec.views.modality, "outputs").OUTPUTS)
