"""Tensors that are trained beside the encoder: heads, key encoder and queue of negatives."""

from collections import Counter
from pathlib import Path

from trainer.exports.base import Export, write_file
from trainer.nn.state_files import plain_tensors, safetensors_bytes
from trainer.schema.artifact_names import STATE


def files(_export: Export) -> dict[str, str]:
    """Return the file."""
    return {STATE: "heads and, where the method has them, key encoder and queue of negatives"}


def write(export: Export, folder: Path) -> None:
    """Write the state of the method without its encoder."""
    write_file(folder, STATE, safetensors_bytes(plain_tensors(export.state)))


def loading(export: Export) -> str:
    """Return the card's text on the file; its code runs where the files are."""
    parts = Counter(".".join(name.split(".")[:2]) for name in export.state)
    rows = [f"- `{part}`: {count} tensors" for part, count in parts.items()]
    return LOADING.format(parts="\n".join(rows))


LOADING = """`training_state.safetensors` has what was trained beside the encoder, by its name in
the method's state; layers of a head are numbered as in a `torch.nn.Sequential`:

```python
from safetensors.torch import load_file

state = load_file("training_state.safetensors")
```

{parts}"""
