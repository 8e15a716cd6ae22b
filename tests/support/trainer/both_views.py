"""Small methods of one tower that both views train, and batches for them."""

from functools import partial

import torch
from torch import Tensor

from tests.support.data.dataset_facts import made_up_facts
from trainer.methods.base import Method, load_method
from trainer.methods.both_views import BothViews, every
from trainer.modalities.image.encoders.factory import encoder_for
from trainer.nn.views import Batch, Pixels
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

METHOD_ROWS, SIDE_PX = 6, 16


def method_of(name: str, **settings: object) -> Method:
    """Return a method with fresh weights."""
    sent = JobSpec.model_validate(
        {
            "dataset": "x",
            "encoder": {"name": "small"},
            "views": {"side_px": SIDE_PX},
            "method": {"name": name, "dim": 8, **settings},
        }
    )
    spec = resolve(sent, made_up_facts(side_px=SIDE_PX)).spec
    return load_method(spec, partial(encoder_for, spec), bf16=False)


def batch_of(identities: list[int]) -> Batch:
    """Return noise with these identities."""
    generator = torch.Generator().manual_seed(0)
    first, second = (
        Pixels(torch.randn(len(identities), 3, SIDE_PX, SIDE_PX, generator=generator))
        for _ in range(2)
    )
    return Batch((first, second), torch.arange(len(identities)), torch.tensor(identities))


@torch.no_grad()
def embedded_views(method: Method, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return what the loss compares: embeddings of view 0 and of view 1."""
    assert isinstance(method, BothViews)
    embeddings = method.embed_views(batch, method.random_inputs(len(batch.rows), step=0))
    first, second = every(embeddings)
    return first, second
