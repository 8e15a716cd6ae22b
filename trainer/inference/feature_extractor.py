"""Encoder of a neighbour search: from a checkpoint, or the published one."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from trainer.accel.device import DeviceContext
from trainer.checkpoint import checkpoint_files as checkpoints
from trainer.checkpoint.encoder_file import METHOD
from trainer.data.pack.format import Pack
from trainer.inference.neighbours.spec import NeighbourSearchSpec
from trainer.methods.base import load_method
from trainer.modalities.base import Loader, Raw, Views, load_modality
from trainer.modalities.unpacked import load_unpacked
from trainer.schema.artifact_names import WEIGHTS
from trainer.schema.errors import CheckpointError, EncoderNotFound
from trainer.spec.added_fields import settled
from trainer.spec.resolved import ResolvedSpec, as_resolved


@dataclass(frozen=True, slots=True)
class FeatureExtractor:
    """Network with its preprocessing."""

    network: nn.Module
    """In eval mode, fp32."""
    views: Views[Any]
    context: DeviceContext
    pack: Pack
    """Dataset that is searched, as the job sees it."""

    def loader(self, *, threads: int = 0) -> Loader[Any]:
        """Return the rows of the pack on the device."""
        return load_modality(self.pack.facts.modality).loader(
            self.pack, self.context, threads=threads
        )

    def features(self, raw: Raw) -> Tensor:
        """Return features of rows without augmentation, float32 [B, feature_dim], on the CPU."""
        with torch.inference_mode():
            features: Tensor = self.network(*self.views.plain(raw)).float()
        return features.cpu()

    def features_of(self, query: Any) -> Tensor:  # noqa: ANN401 - a query of some modality
        """Return the features of a query that was sent, float32 [1, feature_dim]."""
        unpacked = load_unpacked(self.pack.facts.modality)
        return self.features(unpacked.raw(query, self.pack, self.context.device))


def load_extractor(
    spec: NeighbourSearchSpec, pack: Pack, context: DeviceContext
) -> FeatureExtractor:
    """Load the encoder of `spec` onto the device of `context`.

    Raises EncoderNotFound if it is not there any more, CheckpointError if it is damaged.
    """
    folder, job = Path(spec.encoder), as_resolved(settled(spec.job))
    load_network = _published if spec.checkpoint is None else _of_checkpoint
    try:
        network = load_network(folder, job)
    except (OSError, CheckpointError) as error:
        if not folder.is_dir():
            of_step = "" if spec.checkpoint is None else f" of step {spec.checkpoint}"
            raise EncoderNotFound(f"The encoder{of_step} is not kept any more.") from error
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{WEIGHTS} cannot be read: {error.strerror}.") from error
    modality = load_modality(job.views.modality)
    accelerator = modality.accelerator(job, pack.facts, context)
    views = modality.views(job, pack.facts, context, accelerator=accelerator)
    return FeatureExtractor(network.eval().to(context.device), views, context, pack)


def _published(folder: Path, job: ResolvedSpec) -> nn.Module:
    network = load_modality(job.views.modality).encoder(job)
    try:
        network.load_state_dict(safetensors.torch.load((folder / WEIGHTS).read_bytes()))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{WEIGHTS} does not hold this job's encoder.") from error
    return network


def _of_checkpoint(folder: Path, job: ResolvedSpec) -> nn.Module:
    """Load the encoder of a checkpoint, whose every byte is checked before it is used."""
    state = checkpoints.load(folder).state
    method = load_method(job, partial(load_modality(job.views.modality).encoder, job), bf16=False)
    own = {key.removeprefix(METHOD): state[key] for key in state if key.startswith(METHOD)}
    try:
        method.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(f"{folder.name} is the checkpoint of another network.") from error
    return method.encoder
