"""LightlySSL's methods in a plain loop: the recipe is that of the spec, and they learn."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

pytest.importorskip("lightly", reason="pip install -e .[dev]")

from benchmarks.arms.lightly_methods import BYOL, PEERS, MoCo, momentum_at, train_peer
from tests.support.data.tiny_pack import blobs, write_pack
from trainer.data.pack.format import Pack
from trainer.methods.byol.spec import ResolvedBYOLSpec
from trainer.nn.momentum import cosine_momentum
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    images, _ = blobs(16, side_px=16, classes=2)
    write_pack(tmp_path / "pack", images)
    return Pack.open(tmp_path / "pack")


def spec_of(method: str, pack: Pack) -> ResolvedSpec:
    sent = {
        "dataset": "x",
        "encoder": {"name": "small"},
        "epochs": 1,
        "batch_rows": 8,
        "method": {"name": method},
    }
    return resolve(JobSpec.model_validate(sent), pack.facts).spec


@pytest.mark.parametrize("method", PEERS)
def test_a_peer_learns_and_its_slow_network_follows(method: str, pack: Pack) -> None:
    peer = train_peer(spec_of(method, pack), pack, workers=0)
    fresh = PEERS[method](spec_of(method, pack))
    assert {name for name, _ in peer.named_parameters()} == {
        name for name, _ in fresh.named_parameters()
    }
    if isinstance(peer, MoCo | BYOL):
        fast, slow = (
            torch.nn.utils.parameters_to_vector(each.parameters())
            for each in (peer.encoder, peer.key_encoder)
        )
        assert 0.0 < float((fast - slow).detach().norm()) < 0.2 * float(fast.detach().norm())


def test_the_loss_of_byol_is_the_squared_distance_of_unit_vectors(pack: Pack) -> None:
    peer = BYOL(spec_of("byol", pack)).train()
    views = torch.randn(2, 8, 3, 16, 16)
    loss = peer.loss(views[0], views[1], 1.0).detach()
    predictions = [normalize(peer.predictor(peer.head(peer.encoder(view)))) for view in views]
    targets = [normalize(peer.key_head(peer.key_encoder(view))) for view in views.flip(0)]
    distances = [
        (prediction - target).square().sum(dim=1).mean()
        for prediction, target in zip(predictions, targets, strict=True)
    ]
    assert float(loss) == pytest.approx(float(torch.stack(distances).detach().mean()), abs=1e-5)


def test_the_momentum_rises_on_the_cosine_of_the_trainer(pack: Pack) -> None:
    method = spec_of("byol", pack).method
    assert isinstance(method, ResolvedBYOLSpec)
    for step in (0, 250, 999):
        expected = cosine_momentum(method.momentum, progress=step / 1000)
        assert momentum_at(method, step, 1000) == pytest.approx(expected, abs=1e-3)
