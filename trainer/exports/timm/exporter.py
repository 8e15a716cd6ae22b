"""A folder for timm and Hugging Face, without the other files of a job."""

from pathlib import Path

from trainer.exports.atomic_folder import link
from trainer.exports.base import Export
from trainer.exports.network_files import files as network_files
from trainer.schema.artifact_names import CONFIG, HUB, MODEL, PROCESSOR

MEANINGS = {
    MODEL: "the weights with timm's keys",
    CONFIG: "the network and its input, as timm and transformers read them",
    PROCESSOR: "names the image processor for transformers",
}
"""Standard files that the folder has as well."""


def files(export: Export) -> dict[str, str]:
    """Return the files of the folder; the image processor fits images of 8 bits only."""
    standard = network_files(export)
    return {f"{HUB}/{name}": meaning for name, meaning in MEANINGS.items() if name in standard}


def write(export: Export, folder: Path) -> None:
    """Fill the folder with links to the standard files."""
    (folder / HUB).mkdir()
    for name in files(export):
        link(folder / Path(name).name, folder / name)


def loading(export: Export) -> str:
    """Return the card's text on the folder; its code runs where the files are."""
    del export
    return LOADING


LOADING = """The folder `hf` is what timm and transformers load, and what
`huggingface_hub.upload_folder` sends to a hub:

```python
import timm

encoder = timm.create_model("local-dir:hf", pretrained=True).eval()
```"""
