"""The encoder, and the head of a classifier, as an ONNX file.

It is published only if it computes what torch computes.
"""

import copy
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.exports.base import Export, write_file
from trainer.modalities.outputs import outputs_of
from trainer.schema.artifact_names import ONNX
from trainer.schema.errors import SpecError

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT = "pixels"
EMBEDDING, LOGITS = "embedding", "logits"
"""Outputs: features of the encoder and, of a classifier, those of its head."""
OPSET = 18
"""Oldest operator set that torch writes without conversion: most runtimes have it."""
TOLERANCE = 1e-4
"""Largest difference from torch, as a share of the largest number where that is above 1."""
ROWS = 3
"""Rows of the dataset that both compute: all at once, then the first alone."""

Values = NDArray[np.float32]


class Classifier(nn.Module):
    """Encoder and head in one network, which gives features and logits."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [N, D] and logits [N, classes] of images [N, C, S, S]."""
        features = self.encoder(pixels)
        return features, self.head(features)


def files(export: Export) -> dict[str, str]:
    """Return the file."""
    shape = outputs_of(export.spec).inputs(export)[INPUT]
    what, more = "encoder", ""
    if export.head is not None:
        what, more = "classifier", f" and `{LOGITS}`, in the order of the classes in `config.json`"
    return {ONNX: f"the {what} for ONNX runtimes: `{INPUT}` {shape} to `{EMBEDDING}`{more}"}


def write(export: Export, folder: Path) -> None:
    """Write the file. Raises SpecError if it does not compute what torch computes."""
    network = export.encoder
    if export.head is not None:
        network = Classifier(network, export.head)
    network = copy.deepcopy(network).cpu().eval()
    rows = torch.arange(min(ROWS, export.pack.rows))
    pixels = export.views.plain(export.source.whole(rows))[0].cpu()
    model = exported(network, pixels)
    check_parity(model, network, pixels)
    write_file(folder, ONNX, model.SerializeToString(deterministic=True))


def exported(network: nn.Module, pixels: Tensor) -> "ModelProto":
    """Return a network in eval mode on the CPU as ONNX, for any number of rows.

    Its outputs are EMBEDDING and, of a Classifier, LOGITS.

    The same weights give the same bytes: notes on where a node comes from, which have paths of
    this machine, are removed.
    """
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own parts use what torch calls deprecated
        program: Any = torch.onnx.export(
            network,
            (pixels.expand(2, *pixels.shape[1:]) if len(pixels) == 1 else pixels,),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            input_names=[INPUT],
            output_names=list(_outputs(network)),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    return _without_notes(program.model_proto)


def _without_notes(model: "ModelProto") -> "ModelProto":
    """Remove all metadata of a model, its graph and its nodes, in place."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
    for node in graph.node:
        node.ClearField("doc_string")
    return model


def check_parity(model: "ModelProto", network: nn.Module, pixels: Tensor) -> None:
    """Raise SpecError unless a model gives the outputs of a network for `pixels` [N, C, S, S].

    onnxruntime computes them if it is installed, else the reference of the package onnx.
    """
    names = _outputs(network)
    run = _runtime(model, names)
    for rows in (pixels, pixels[:1]):
        with torch.no_grad():
            outputs = network(rows)
        expected = outputs if isinstance(outputs, tuple) else (outputs,)
        for name, given, wanted in zip(names, run(rows.numpy()), expected, strict=True):
            _check_output(name, given, wanted.numpy())


def _check_output(name: str, given: Values, wanted: Values) -> None:
    difference = float(np.abs(given - wanted).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise SpecError(
            f"onnx: {name} of the file differs from that of the network by {difference:.2g}, so "
            "it was not published; leave onnx out",
            field="exports",
        )


def _outputs(network: nn.Module) -> tuple[str, ...]:
    return (EMBEDDING, LOGITS) if isinstance(network, Classifier) else (EMBEDDING,)


def _runtime(model: "ModelProto", names: tuple[str, ...]) -> Callable[[Values], list[Values]]:
    """Return what computes the outputs of these names."""
    if find_spec("onnxruntime") is None:
        from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - an extra

        evaluator: Any = ReferenceEvaluator(model)
        return lambda pixels: list(evaluator.run(list(names), {INPUT: pixels}))
    import onnxruntime  # noqa: PLC0415 - an extra

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda pixels: list(session.run(list(names), {INPUT: pixels}))


def loading(export: Export) -> str:
    """Return the card's text on the file; its code runs where the files are, after that above."""
    return LOADING if export.head is None else f"{LOADING}\n\n{CLASSIFYING}"


LOADING = """An ONNX runtime needs neither torch nor this network's code; `pixels` are any number of
prepared images:

```python
import onnxruntime

session = onnxruntime.InferenceSession("encoder.onnx")


def embed(pixels):
    return session.run(["embedding"], {"pixels": pixels})[0]
```"""
CLASSIFYING = """The same file gives the logits of the classes, in the order of `config.json`:

```python
import json
from pathlib import Path

import numpy as np

classes = json.loads(Path("config.json").read_text())["mocoserve"]["classifier"]["classes"]


def classify(pixels):
    logits = session.run(["logits"], {"pixels": pixels})[0]
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return [dict(zip(classes, row)) for row in (odds / odds.sum(1, keepdims=True)).tolist()]
```"""
