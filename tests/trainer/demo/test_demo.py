"""The demo's own parts: the zip of digits, an encoder from its files alone, the fair score."""

import io
import json
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from trainer.demo import digits, standalone_loader
from trainer.demo.__main__ import main
from trainer.demo.few_shot_eval import few_labels, score
from trainer.modalities.image.encoders.small_convnet import SmallEncoder
from trainer.modalities.image.preprocessing import Preprocessing, as_json
from trainer.modalities.image.published.network_config import layers
from trainer.nn.split_batchnorm import SplitBatchNorm2d


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "digits.zip"
    assert digits.write_zip(path) == 1797
    return path


def test_the_zip_holds_every_digit_in_the_folder_of_its_class(archive: Path) -> None:
    truth = load_digits()
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert len(set(names)) == 1797
        for row in (0, 7, 1796):
            name = digits.file_name(row, int(truth.target[row]))
            picture = np.asarray(Image.open(io.BytesIO(opened.read(name))))
            assert picture.shape == (32, 32)
            # Made small again, it is nearest to the digit that it came from.
            small = picture.reshape(8, 4, 8, 4).mean(axis=(1, 3)) / 255.0 * 16.0
            distances = ((truth.images - small) ** 2).sum(axis=(1, 2))
            assert distances.argmin() == row


def test_the_zip_is_the_same_each_time(archive: Path, tmp_path: Path) -> None:
    digits.write_zip(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Write the artifacts of a job with a small encoder, as far as the demo reads them."""
    torch.manual_seed(3)
    encoder = SmallEncoder(partial(SplitBatchNorm2d, splits=4))
    encoder.train()
    encoder(torch.randn(64, 3, 16, 16))
    state = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    save_file(state, tmp_path / "encoder.safetensors")
    torch.save(state, tmp_path / "encoder.pth")
    config = {"mocoserve": {"layers": layers(encoder)}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    mean, std = (0.3,) * 3, (0.35,) * 3
    steps = Preprocessing(side_px=16, crop="resize", mean=mean, std=std)
    (tmp_path / "preprocess.json").write_text(json.dumps(as_json(steps)))
    return tmp_path


def test_an_encoder_is_rebuilt_from_its_files(download: Path) -> None:
    encoder = standalone_loader.load(download)
    assert all(type(part).__module__.startswith("torch.nn") for part in encoder)
    ours = SmallEncoder(partial(SplitBatchNorm2d, splits=1))
    ours.load_state_dict(encoder.state_dict())
    images = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(encoder(images), ours.eval()(images), atol=1e-6)


def test_files_that_differ_are_refused(download: Path) -> None:
    state = torch.load(download / "encoder.pth", weights_only=True)
    state["conv1.weight"] += 1.0
    torch.save(state, download / "encoder.pth")
    with pytest.raises(RuntimeError, match="differ"):
        standalone_loader.load(download)


def test_an_untrained_encoder_lacks_nothing_but_training(download: Path) -> None:
    views = torch.randn(300, 3, 16, 16) * 3.0 + 1.0
    encoder = standalone_loader.untrained(download, views, seed=0)
    assert not encoder.training
    first = next(part for part in encoder if isinstance(part, nn.BatchNorm2d))
    with torch.no_grad():
        seen = torch.cat([encoder[0](batch) for batch in torch.split(views, 256)])
    assert torch.allclose(first.running_mean, seen.mean((0, 2, 3)), atol=0.2)  # type: ignore[arg-type]
    again = standalone_loader.untrained(download, views, seed=0)
    assert torch.equal(next(encoder.parameters()), next(again.parameters()))


def test_perfect_and_useless_features() -> None:
    labels = load_digits().target.astype(np.int64)
    perfect = np.eye(10, dtype=np.float32)[labels]
    assert np.mean(few_labels(perfect, labels)) == 1.0
    useless = np.random.default_rng(0).normal(size=(len(labels), 8)).astype(np.float32)
    assert abs(np.mean(few_labels(useless, labels)) - 0.1) < 0.02


def test_the_score_of_an_encoder_that_never_trained(download: Path) -> None:
    found = score(download)
    scores = {entry["name"]: entry for entry in found["scores"]}  # type: ignore[attr-defined]
    assert found["tested"] == 1747
    assert scores["raw pixels"]["accuracy"] == pytest.approx(0.861, abs=0.01)
    assert scores["raw pixels"]["standard_error"] < 0.01
    gap = scores["trained encoder"]["accuracy"] - scores["untrained encoder"]["accuracy"]
    assert abs(gap) < 0.1
    baselines = {name for name, entry in scores.items() if entry["is_baseline"]}
    assert baselines == {"majority class", "raw pixels", "untrained encoder"}
    assert scores["majority class"]["accuracy"] == pytest.approx(0.1, abs=0.01)


def test_the_program_answers_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d.zip"
    assert main(["digits", str(out)]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(out), "images": 1797}
    assert main(["score", str(tmp_path)]) == 1
    assert "does not hold an encoder" in capsys.readouterr().err
