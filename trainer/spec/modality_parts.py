"""Parts of a spec that follow from the modality of its dataset. Loads no tensors."""

from trainer.modalities.registry import DEFAULT, MODALITIES, default_encoder, default_views, part_of
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec


def with_modality(spec: JobSpec, facts: DatasetFacts) -> tuple[JobSpec, dict[str, str]]:
    """Return a spec with views and encoder for the modality of its dataset, and the reasons.

    Raises SpecError for those that the user set for another modality.
    """
    check_modality(spec, facts.modality)
    if facts.modality == DEFAULT:
        return spec, {}
    parts = {
        "views": default_views(facts.modality),
        "encoder": default_encoder(facts.modality),
    }
    left_out = {name: part for name, part in parts.items() if name not in spec.model_fields_set}
    reason = f"the dataset is {facts.modality}"
    return spec.model_copy(update=left_out), {f"{name}.name": reason for name in left_out}


def check_modality(spec: JobSpec, modality: str) -> None:
    """Raise SpecError for a preset, views or an encoder that the user set for other data."""
    if modality not in MODALITIES:
        detail = f"the dataset is {modality}, which this version does not know; update it"
        raise SpecError(detail, field="dataset")
    if spec.preset is not None and modality != DEFAULT:
        detail = f"presets are recipes for {DEFAULT}, but the dataset is {modality}; leave it out"
        raise SpecError(detail, field="preset", also=("dataset",))
    if "views" in spec.model_fields_set and spec.views.modality != modality:
        detail = f"for {spec.views.modality}, but the dataset is {modality}; leave it out"
        raise SpecError(detail, field="views", also=("dataset",))
    if "encoder" in spec.model_fields_set and spec.encoder.modality != modality:
        names = ", ".join(part_of(modality, "spec").ENCODER_NAMES)
        detail = (
            f"{spec.encoder.name} is an encoder for {spec.encoder.modality}, but the dataset is "
            f"{modality}; leave it out, or choose from {names}"
        )
        raise SpecError(detail, field="encoder.name", also=("dataset",))


def check_alike(train: DatasetFacts, test: DatasetFacts) -> None:
    """Raise SpecError if a test dataset does not fit an encoder of the training dataset."""
    check_same_modality(train.modality, test.modality)
    part_of(train.modality, "defaults").check_alike(train, test)


def check_same_modality(train: str, test: str) -> None:
    """Raise SpecError unless a test dataset is of the modality of the training dataset."""
    if train != test:
        detail = f"it is {test}, but the dataset is {train}; choose another test dataset"
        raise SpecError(detail, field="test_dataset", also=("dataset",))
