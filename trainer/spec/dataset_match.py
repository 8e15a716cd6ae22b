"""Check that a test dataset has the kind of rows of its dataset. Loads no tensors."""

from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts


def check_alike(train: DatasetFacts, test: DatasetFacts) -> None:
    """Raise SpecError if a test dataset does not fit an encoder of the training dataset."""
    if train.channels != test.channels:
        detail = f"its rows have {test.channels} channels, the dataset's {train.channels}"
        raise SpecError(detail, field="test_dataset")
    if train.dtype != test.dtype:
        detail = f"it holds values of {_depth(test)}, the dataset of {_depth(train)}"
        raise SpecError(detail, field="test_dataset")


def _depth(facts: DatasetFacts) -> str:
    return "8 bits" if facts.dtype == "uint8" else "more than 8 bits"
