"""The encoder of the best checkpoint, in a folder that loads as the files of the last step do."""

from pathlib import Path

from trainer.exports.atomic_folder import link
from trainer.exports.base import Export, write_file
from trainer.schema.artifact_names import BEST, CONFIG, PREPROCESS, WEIGHTS

MODALITY = "image"
BESIDE = {
    CONFIG: "the network of `best`",
    PREPROCESS: "the steps from an image file to the input of `best`",
}
"""Files beside the weights, which do not depend on them."""


def files(export: Export) -> dict[str, str]:
    """Return the files of the folder; none without `best_by` or its checkpoint."""
    if export.best is None:
        return {}
    reading = export.best.reading
    weights = (
        f"the weights of step {reading.step:,}, which has the best `{reading.signal}`: "
        f"{reading.value:.4g}"
    )
    return {f"{BEST}/{WEIGHTS}": weights} | {f"{BEST}/{name}": BESIDE[name] for name in BESIDE}


def write(export: Export, folder: Path) -> None:
    """Write the weights, and link the standard files beside them."""
    if export.best is None:
        return
    (folder / BEST).mkdir()
    write_file(folder, f"{BEST}/{WEIGHTS}", export.best.weights)
    for name in BESIDE:
        link(folder / name, folder / BEST / name)
