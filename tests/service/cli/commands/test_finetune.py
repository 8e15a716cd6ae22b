"""`moco finetune` against a real API."""

from typing import Any

import pytest

from tests.support.client.moco_command import Moco, answer
from tests.support.service.api import RunningApi, ready_dataset


def test_its_options_are_those_of_a_finetune_job(moco: Moco, api: RunningApi) -> None:
    ready_dataset(api.store, "pets")
    result = moco(
        *("finetune", "-d", "pets", "--head", "mlp", "--freeze", "3", "--labels-per-class", "5"),
        *("--balanced", "--label-smoothing", "0.1", "--epochs", "9", "--set", "views.flip_p=0"),
    )
    assert result.exit_code == 0, result.output
    spec: dict[str, Any] = answer(moco("show", result.stdout.strip(), "--json"))["spec"]
    assert spec["kind"] == "finetune"
    assert spec["method"] == {
        "name": "classification",
        "head": "mlp",
        "freeze": 3,
        "labels_per_class": 5,
        "class_weights": "balanced",
        "label_smoothing": 0.1,
    }
    assert spec["evaluation"] == {"name": "classifier"}
    assert (spec["epochs"], spec["views"]) == (9, {"flip_p": 0})


def test_a_dry_run_has_reasons(moco: Moco, api: RunningApi) -> None:
    ready_dataset(api.store, "dry pets")
    result = moco("finetune", "-d", "dry pets", "--freeze", "yes", "--dry-run")
    text = " ".join(result.stdout.split())
    assert "method.classes 2 the labels of the dataset" in text
    assert "labels may depend on color" in text
    assert "nothing was started" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        (("--freeze", "maybe"), {}, "--freeze takes yes, no or a number of epochs"),
        ((), {"labels": ()}, "dataset: a finetune job learns labels"),
        (("--head", "round"), {}, "#/method/head: Input should be"),
        (("--set", "method.name=simclr"), {}, "simclr is for pretrain jobs; use classification"),
    ],
)
def test_what_is_wrong_is_said_at_the_field(
    arguments: tuple[str, ...], changes: dict[str, Any], words: str, moco: Moco, api: RunningApi
) -> None:
    name = f"wrong {words[:9]}"
    ready_dataset(api.store, name, **changes)
    result = moco("finetune", "-d", name, *arguments)
    assert result.exit_code != 0
    assert words in " ".join(result.stderr.split())
