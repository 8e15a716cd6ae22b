"""Choice of the folder that is the class."""

import numpy as np
import pytest

from trainer.data.labels.classes import ClassNames, labels_of_folders

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
    "an image outside": (["cat", "dog", ""], ("cat", "dog"), [0, 1, -1]),
    "an image at the root": (["x/cat", "x/dog", "x"], ("cat", "dog"), [0, 1, -1]),
    "an image in a split": (
        ["train/cat", "train/dog", "train", "test/cat", "test/dog"],
        ("cat", "dog"), [0, 1, -1, 0, 1],
    ),
    "most images outside": (["cat", "dog", "", "", ""], (), [-1] * 5),
    "a class with a folder in it": (["cat", "cat/more", "dog"], ("cat", "dog", "more"), [0, 2, 1]),
    "parts": (["images_001/images", "images_002/images"], (), [-1, -1]),
    "images and masks": (["images", "masks"], (), [-1, -1]),
    "images and masks of classes": (
        ["cat/images", "cat/masks", "dog/images"], ("cat", "dog"), [0, 0, 1],
    ),
    "splits alone": (["train", "test"], (), [-1, -1]),
    "splits below classes": (
        ["cat/train", "cat/val", "dog/train", "dog/val"], ("cat", "dog"), [0, 0, 1, 1],
    ),
    "one split": (["train/cat", "train/dog"], ("cat", "dog"), [0, 1]),
    "no split of training": (["test", "val"], ("test", "val"), [0, 1]),
    "names that begin alike": (["train1", "train2"], ("train1", "train2"), [0, 1]),
    "nothing": ([], (), []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_last_folder_that_differs_is_the_class(name: str) -> None:
    folders, classes, numbers = CASES[name]
    found = labels_of_folders(folders)
    assert found.classes == classes
    assert found.numbers.tolist() == numbers


def test_folders_named_like_splits_tell_the_split() -> None:
    for folders, splits in [
        (["train/cat", "valid/cat", "test/dog"], ["train", "val", "test"]),
        (["a/cat/Training", "a/cat/testing", "a/dog/Training"], ["train", "test", "train"]),
        (["train", "train", "val", ""], ["train", "train", "val", None]),
    ]:
        assert labels_of_folders(folders).splits == splits
    for folders in (["train/a", "train/b"], ["test/a", "val/b"], ["train/a", "other/b"]):
        assert labels_of_folders(folders).splits is None


@pytest.mark.parametrize(
    ("folders", "codes", "word"),
    [
        (["cat"] * 6 + ["dog"] * 6 + [""], ["rows_without_label"], "1 of 13 rows"),
        (["images_001", "images_002"], ["folders_no_classes"], "images_001, images_002"),
        (["images", "masks"], ["masks_as_rows", "folders_no_classes"], "masks"),
        (["cat", "dog"], [], ""),
    ],
)
def test_what_was_not_taken_for_a_class_is_said(
    folders: list[str], codes: list[str], word: str
) -> None:
    warnings = labels_of_folders(folders).warnings
    assert [warning.code for warning in warnings] == codes
    assert all(warning.hint for warning in warnings)
    assert word in "".join(warning.message for warning in warnings)


def test_class_names_are_in_the_order_of_numbers_or_of_the_source() -> None:
    names = ClassNames()
    numbers = np.array([names.number(name) for name in ("10", "9", "10", None)], np.int32)
    assert names.sorted(numbers)[0] == ("9", "10")
    assert names.sorted(numbers)[1].tolist() == [1, 0, 1, -1]
    given = ClassNames()
    given.declare(["zebra", "ant"])
    assert given.sorted(np.array([1, 0], np.int32))[0] == ("zebra", "ant")
