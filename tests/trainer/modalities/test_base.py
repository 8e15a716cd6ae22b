"""Parts of a modality, found by its name."""

import pytest

from trainer.modalities.base import load_ingest_modality
from trainer.modalities.registry import DEFAULT, MODALITIES


@pytest.mark.parametrize("name", MODALITIES)
def test_an_ingest_is_found_by_the_name_that_its_packs_bear(name: str) -> None:
    assert load_ingest_modality(name).name == name


def test_an_ingest_that_names_no_modality_has_the_default_one() -> None:
    assert load_ingest_modality().name == DEFAULT
