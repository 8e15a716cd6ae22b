"""Networks beside jobs, measured by the product's evaluators."""

from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.suites.breadth.archives import Images
from trainer.accel.device import DeviceConfig, deterministic_device
from trainer.data.pack.format import Pack
from trainer.distributed.world import ALONE
from trainer.evaluators.base import EvaluationData
from trainer.evaluators.runner import plan_evaluation
from trainer.methods.base import Method
from trainer.modalities.image.encoders.factory import encoder_for
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.modality import MODALITY
from trainer.nn.towers import Feature, Tower
from trainer.nn.views import View
from trainer.spec.resolved import ResolvedSpec


class EncoderAlone(nn.Module):
    """An encoder without a head, as evaluators ask for its features."""

    world = ALONE

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.tower = Tower(encoder, nn.Identity(), bf16=False)

    def embed(self, view: View, *, feature: Feature) -> Tensor:
        """Return the features of a view."""
        return self.tower.features(view, feature=feature)


def encoder_alone(spec: ResolvedSpec, weights: Path | None = None) -> EncoderAlone:
    """Return the encoder of a job with given weights, or with random ones by the job's seed."""
    torch.manual_seed(spec.seed)
    encoder = encoder_for(spec)
    if weights is not None:
        encoder.load_state_dict(load_file(weights))
    return EncoderAlone(encoder)


def evaluated(
    network: nn.Module,
    spec: ResolvedSpec,
    source: Images,
    test: Images | None,
    *,
    normalized_as: Images | None = None,
) -> dict[str, float]:
    """Return the signals of the spec's evaluators for a network that can `embed`.

    Pixels are normalized as those of `normalized_as` are, or of the source.
    """
    packs = [Pack.open(images.pack) for images in (source, test) if images is not None]
    facts = Pack.open((normalized_as or source).pack).facts
    with deterministic_device(DeviceConfig(device="cpu"), precision="fp32") as context:
        views = MODALITY.views(spec, facts, context)
        loaders = [PackLoader(pack, device=context.device) for pack in packs]
        data = EvaluationData(loaders[0], loaders[1] if test is not None else None)
        plan = plan_evaluation(spec, data, views=views)
        # Evaluators ask for nothing but features.
        results = plan.run(cast(Method, network.eval()), should_stop=lambda: False)
        for loader in loaders:
            loader.close()
    assert results is not None
    return results.signals
