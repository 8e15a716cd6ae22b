"""The encoder out of a checkpoint: to the byte the file that a run publishes."""

from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.support.data.dataset_facts import made_up_facts
from tests.support.trainer.spec_members import learning_from, methods
from trainer.checkpoint import safetensors_writer
from trainer.checkpoint.encoder_file import encoder_file
from trainer.checkpoint.state import collect
from trainer.methods.base import load_method
from trainer.modalities.base import load_modality
from trainer.nn.state_files import plain_state, safetensors_bytes
from trainer.optim.optimizer import make_optimizer
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.util.safetensors_header import BadHeader


@pytest.mark.parametrize("name", methods())
def test_the_encoder_of_every_method_is_the_published_file(name: str, tmp_path: Path) -> None:
    words = {"dataset": "x", "encoder": {"name": "small"}, **learning_from(name)}
    spec = resolve(JobSpec.model_validate(words), made_up_facts(labels=("cat", "dog"))).spec
    make_encoder = partial(load_modality("image").encoder, spec)
    method = load_method(spec, make_encoder, bf16=False)
    for parameter in method.parameters():  # so that no tower equals another
        torch.nn.init.normal_(parameter)
    optimizer = make_optimizer(spec.optim, method.learning_parameters())
    state = tmp_path / "state.safetensors"
    state.write_bytes(b"".join(safetensors_writer.blocks(collect(method, optimizer))))
    with state.open("rb") as file:
        encoder = encoder_file(file)
        data = b"".join(encoder.blocks(file))
        sha256 = encoder.sha256(file)
    published = safetensors_bytes(plain_state(method.encoder))
    assert data == published
    assert encoder.size_bytes == len(published)
    assert len(sha256) == 64


def test_a_checkpoint_of_no_encoder_or_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    weights = {"method.query.encoder.w": torch.zeros(2000)}
    path.write_bytes(safetensors.torch.save({"method.key.encoder.w": torch.zeros(2)}))
    with path.open("rb") as file, pytest.raises(BadHeader, match="one encoder"):
        encoder_file(file)
    path.write_bytes(safetensors.torch.save(weights)[:-1])
    with path.open("rb") as file, pytest.raises(BadHeader, match="follow the header"):
        encoder_file(file)
    path.write_bytes(safetensors.torch.save(weights))
    with path.open("rb") as file:
        encoder = encoder_file(file)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(BadHeader, match="cut short"):
            encoder.sha256(file)
