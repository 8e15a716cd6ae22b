"""Which folder is the class."""

import pytest

from trainer.data.labels import labels_of_folders

CASES = {
    "class folders": (["cat", "dog", "cat"], ("cat", "dog"), [0, 1, 0]),
    "below a common root": (["train/dog", "train/cat"], ("cat", "dog"), [1, 0]),
    "below several common roots": (["a/b/c/x", "a/b/c/y"], ("x", "y"), [0, 1]),
    "splits above classes": (
        ["train/cat", "train/dog", "test/cat", "test/dog"], ("cat", "dog"), [0, 1, 0, 1],
    ),
    "one name below the classes": (["cat/jpg", "dog/jpg"], ("cat", "dog"), [0, 1]),
    "classes at several depths": (["big/cat", "dog", "cat"], ("cat", "dog"), [0, 1, 0]),
    "no folders": (["", "", ""], (), [-1, -1, -1]),
    "one folder": (["cat", "cat"], (), [-1, -1]),
    "one root": (["a/b", "a/b"], (), [-1, -1]),
    "an image outside": (["cat", "dog", ""], (), [-1, -1, -1]),
    "an image at the root": (["train/cat", "train/dog", "train"], (), [-1, -1, -1]),
    "names that begin alike": (["train1", "train2"], ("train1", "train2"), [0, 1]),
    "nothing": ([], (), []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_last_folder_that_differs_is_the_class(name: str) -> None:
    folders, classes, numbers = CASES[name]
    found, labels = labels_of_folders(folders)
    assert found == classes
    assert labels.tolist() == numbers
