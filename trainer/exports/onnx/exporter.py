"""The encoder as an ONNX file, published only if it computes what torch computes."""

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

INPUT, OUTPUT = "pixels", "embedding"
OPSET = 18
"""Oldest operator set that torch writes without conversion: most runtimes have it."""
TOLERANCE = 1e-4
"""Largest difference from torch, as a share of the largest number where that is above 1."""
ROWS = 3
"""Rows of the dataset that both compute: all at once, then the first alone."""

Values = NDArray[np.float32]


def files(export: Export) -> dict[str, str]:
    """Return the file."""
    shape = outputs_of(export.spec).inputs(export)[INPUT]
    return {ONNX: f"the encoder for ONNX runtimes: `{INPUT}` {shape} to `{OUTPUT}`"}


def write(export: Export, folder: Path) -> None:
    """Write the file. Raises SpecError if it does not compute what torch computes."""
    encoder = copy.deepcopy(export.encoder).cpu()
    rows = torch.arange(min(ROWS, export.pack.rows))
    pixels = export.views.plain(export.source.whole(rows))[0].cpu()
    model = exported(encoder, pixels)
    check_parity(model, encoder, pixels)
    write_file(folder, ONNX, model.SerializeToString(deterministic=True))


def exported(encoder: nn.Module, pixels: Tensor) -> "ModelProto":
    """Return an encoder in eval mode on the CPU as ONNX, for any number of rows.

    The same weights give the same bytes: notes on where a node comes from, which have paths of
    this machine, are removed.
    """
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own parts use what torch calls deprecated
        program: Any = torch.onnx.export(
            encoder,
            (pixels.expand(2, *pixels.shape[1:]) if len(pixels) == 1 else pixels,),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            input_names=[INPUT],
            output_names=[OUTPUT],
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


def check_parity(model: "ModelProto", encoder: nn.Module, pixels: Tensor) -> None:
    """Raise SpecError unless a model gives the embeddings of an encoder for `pixels` [N, C, S, S].

    onnxruntime computes them if it is installed, else the reference of the package onnx.
    """
    run = _runtime(model)
    for rows in (pixels, pixels[:1]):
        with torch.no_grad():
            expected: Values = encoder(rows).numpy()
        difference = float(np.abs(run(rows.numpy()) - expected).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise SpecError(
                f"onnx: the file differs from the network by {difference:.2g}, so it was not "
                "published; leave onnx out",
                field="exports",
            )


def _runtime(model: "ModelProto") -> Callable[[Values], Values]:
    if find_spec("onnxruntime") is None:
        from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - an extra

        evaluator: Any = ReferenceEvaluator(model)
        return lambda pixels: np.asarray(evaluator.run([OUTPUT], {INPUT: pixels})[0])
    import onnxruntime  # noqa: PLC0415 - an extra

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda pixels: np.asarray(session.run([OUTPUT], {INPUT: pixels})[0])


def loading(export: Export) -> str:
    """Return the card's text on the file; its code runs where the files are, after that above."""
    del export
    return LOADING


LOADING = """An ONNX runtime needs neither torch nor this network's code; `pixels` are any number of
prepared images:

```python
import onnxruntime

session = onnxruntime.InferenceSession("encoder.onnx")


def embed(pixels):
    return session.run(["embedding"], {"pixels": pixels})[0]
```"""
