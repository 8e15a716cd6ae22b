"""The encoder of the best checkpoint, in a folder that loads as the files of the last step do."""

from pathlib import Path

from trainer.exports.atomic_folder import link
from trainer.exports.base import Export, write_file
from trainer.modalities.outputs import outputs_of
from trainer.schema.artifact_names import BEST, CONFIG, PREPROCESS, WEIGHTS


def files(export: Export) -> dict[str, str]:
    """Return the files of the folder; none without `best_by` or its checkpoint."""
    if export.best is None:
        return {}
    reading = export.best.reading
    weights = (
        f"the weights of step {reading.step:,}, which has the best `{reading.signal}`: "
        f"{reading.value:.4g}"
    )
    beside = {f"{BEST}/{name}": meaning for name, meaning in _beside(export)}
    return {f"{BEST}/{WEIGHTS}": weights} | beside


def write(export: Export, folder: Path) -> None:
    """Write the weights, and link the standard files beside them."""
    if export.best is None:
        return
    (folder / BEST).mkdir()
    write_file(folder, f"{BEST}/{WEIGHTS}", export.best.weights)
    for name, _ in _beside(export):
        link(folder / name, folder / BEST / name)


def _beside(export: Export) -> list[tuple[str, str]]:
    """Return the files beside the weights, which do not depend on them, each with its meaning."""
    outputs = outputs_of(export.spec)
    known = {
        CONFIG: "the network of `best`",
        PREPROCESS: f"the steps from {outputs.words.a} file to the input of `best`",
    }
    return [(name, known.get(name, f"`{name}` once more")) for name in outputs.network(export)]
