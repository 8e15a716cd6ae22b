"""Weights that torchvision's own network loads strictly."""

from pathlib import Path

from trainer.exports.base import Export, write_file
from trainer.nn.state_files import plain_state, torch_bytes
from trainer.schema.artifact_names import TORCHVISION


def files(export: Export) -> dict[str, str]:
    """Return the weights."""
    name = export.spec.encoder.name
    return {TORCHVISION: f"the weights for `torchvision.models.{name}`, loaded strictly"}


def write(export: Export, folder: Path) -> None:
    """Write the weights."""
    write_file(folder, TORCHVISION, torch_bytes(plain_state(export.encoder)))


def loading(export: Export) -> str:
    """Return the card's text on the file; its code runs where the files are."""
    name = export.spec.encoder.name
    last = "classifier[2]" if name.startswith("convnext") else "fc"
    return LOADING.format(name=name, last=last)


LOADING = """torchvision's own network loads `torchvision.pth` strictly, without its classifier:

```python
import torch
import torchvision

encoder = torchvision.models.{name}()
encoder.{last} = torch.nn.Identity()
encoder.load_state_dict(torch.load("torchvision.pth", weights_only=True))
encoder.eval()
```"""
