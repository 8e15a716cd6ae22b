"""Exports that a job asks for, loaded by the packages that they are for."""

import hashlib
import re
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.trainer.spec_members import beside
from trainer.data.pack.format import Pack
from trainer.exports.base import Export
from trainer.exports.publish import publish
from trainer.methods.base import load_method
from trainer.methods.registry import method_names
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.encoders.spec import FAMILIES
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.modality import MODALITY
from trainer.modalities.image.random_views import ImageViews
from trainer.modalities.image.spec import resolved_views
from trainer.schema.errors import SpecError
from trainer.schema.events import Published
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

ROWS = 6
CPU = torch.device("cpu")
RESNET = {"name": "resnet18", "stem": "imagenet"}
CONVNEXT = {"name": "convnext_tiny", "stem": "imagenet"}
INSTALL = "onnx is not installed (pip install onnx onnxruntime onnxscript)"


def spec_of(encoder: dict[str, Any], *exports: str, side_px: int | None = None) -> JobSpec:
    views = {} if side_px is None else {"views": {"side_px": side_px}}
    asked = {"dataset": "/data/squares", "encoder": encoder, "exports": list(exports)} | views
    return JobSpec.model_validate(asked, strict=False)


def export_of(spec: JobSpec, folder: Path, *, side_px: int) -> Export:
    """Return an untrained run of a spec on noise, its statistics no longer the first ones."""
    images = np.random.default_rng(0).integers(0, 255, (ROWS, side_px, side_px, 3), np.uint8)
    facts = write_pack(folder / "pack", images, np.zeros(ROWS, np.int32), classes=("a",))
    resolved = resolve(spec, facts)
    method = load_method(resolved.spec, lambda: MODALITY.encoder(resolved.spec), bf16=False)
    with torch.no_grad():
        method.encoder(torch.randn(4, 3, side_px, side_px))
    views = ImageAugmenter(
        resolved_views(resolved.spec), mean=facts.mean, std=facts.std, device=CPU
    )
    return Export(
        spec=resolved.spec,
        reasons=resolved.reasons,
        facts=facts,
        encoder=method.encoder.eval(),
        state=method.state_beside_encoder(),
        source=PackLoader(Pack.open(folder / "pack"), device=CPU),
        views=ImageViews(views),
        pack=Pack.open(folder / "pack"),
        history=[],
        exact=True,
        step=1,
    )


def code_with(folder: Path, words: str) -> str:
    """Return the card's only Python block with these words."""
    found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (code,) = [each for each in found if words in each]
    return str(code)


def scope_of(folder: Path, code: str) -> dict[str, Any]:
    """Run code of the card in the folder of the files; return its variables."""
    scope: dict[str, Any] = {}
    with chdir(folder):
        exec(code, scope)
    return scope


class Done:
    """A published ResNet-18 with a first layer for ImageNet."""

    def __init__(self, folder: Path) -> None:
        spec = spec_of({"name": "resnet18"}, "timm", "torchvision", "training_state", side_px=72)
        self.export = export_of(spec, folder, side_px=72)
        with self.export.source:
            self.published: Published = publish(self.export, out=folder / "out")
        self.folder = folder / "out" / "artifacts"
        self.images = torch.randn(2, 3, 72, 72)
        with torch.no_grad():
            self.expected: Tensor = self.export.encoder(self.images)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return Done(tmp_path_factory.mktemp("run"))


def test_files_in_a_folder_are_recorded_with_it(done: Done) -> None:
    """In the event, in SHA256SUMS and in the list of the card."""
    names = {"hf/config.json", "hf/model.safetensors", "hf/preprocessor_config.json"}
    names |= {"torchvision.pth", "training_state.safetensors"}
    records = {file.name: file.sha256 for file in done.published.files}
    assert names <= records.keys()
    sums = (done.folder / "SHA256SUMS").read_text()
    card = (done.folder / "README.md").read_text()
    for name in names:
        data = (done.folder / name).read_bytes()
        assert records[name] == hashlib.sha256(data).hexdigest()
        assert f"{records[name]}  {name}\n" in sums
        assert f"| `{name}` |" in card


def test_timm_loads_its_folder(done: Done) -> None:
    pytest.importorskip("timm", reason="timm is not installed (pip install timm)")
    encoder = scope_of(done.folder, code_with(done.folder, "local-dir:hf"))["encoder"]
    with torch.no_grad():
        torch.testing.assert_close(encoder(done.images), done.expected)
    model = done.folder / "hf" / "model.safetensors"
    assert model.samefile(done.folder / "encoder.safetensors")


def test_torchvision_loads_its_file_strictly(done: Done) -> None:
    code = code_with(done.folder, 'load("torchvision.pth"')
    with torch.no_grad():
        encoder = scope_of(done.folder, code)["encoder"]
        torch.testing.assert_close(encoder(done.images), done.expected)
    state = torch.load(done.folder / "torchvision.pth", weights_only=True)
    ours = torchvision.models.resnet18().state_dict()
    assert list(state) == [key for key in ours if not key.startswith("fc.")]


def test_the_training_state_completes_the_encoder(done: Done) -> None:
    """Its tensors and those of the encoder are the method's whole state, each once."""
    code = code_with(done.folder, "training_state.safetensors")
    state = scope_of(done.folder, code)["state"]
    encoder = load_file(done.folder / "encoder.safetensors")
    spec = done.export.spec
    method = load_method(spec, lambda: MODALITY.encoder(spec), bf16=False)
    whole = {f"query.encoder.{name}": value for name, value in encoder.items()} | state
    assert not state.keys() & {f"query.encoder.{name}" for name in encoder}
    assert method.load_state_dict(whole, strict=True)
    assert {name.partition(".")[0] for name in state} == {"query", "key", "negatives"}
    assert "- `query.head`: 4 tensors" in (done.folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("encoder", "export", "reason"),
    [
        ({"name": "small"}, "timm", "timm has no network with the keys of `small`"),
        ({"name": "small"}, "torchvision", "torchvision has no network with the keys of `small`"),
        ({"name": "convnext_tiny"}, "timm", "set encoder.stem to imagenet"),
        ({"name": "vit_tiny"}, "torchvision", "torchvision has no network with the keys of"),
        ({"name": "convnext_tiny"}, "torchvision", "set encoder.stem to imagenet"),
        ({"name": "resnet18"}, "timm", "set encoder.stem to imagenet"),
        ({"name": "resnet18", "stem": "cifar"}, "torchvision", "lacks the first layer"),
    ],
)
def test_an_export_that_cannot_be_is_refused_at_its_field(
    encoder: dict[str, Any], export: str, reason: str, tmp_path: Path
) -> None:
    images = np.zeros((ROWS, 32, 32, 3), np.uint8)
    facts = write_pack(tmp_path / "pack", images, np.zeros(ROWS, np.int32), classes=("a",))
    with pytest.raises(SpecError, match=reason) as raised:
        resolve(spec_of(encoder, export), facts)
    assert raised.value.field == "exports"


def test_an_export_is_listed_once() -> None:
    assert spec_of({"name": "small"}, "onnx", "onnx").exports == ("onnx",)


@pytest.mark.parametrize("name", method_names())
def test_every_method_has_a_state_beside_its_encoder(name: str, tmp_path: Path) -> None:
    images, labels = blobs(4 * ROWS, side_px=16, classes=2)
    facts = write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    sent = {"dataset": "/data/squares", "encoder": {"name": "small"}, "method": {"name": name}}
    sent |= beside(name)
    spec = resolve(JobSpec.model_validate(sent, strict=False), facts).spec
    method = load_method(spec, lambda: MODALITY.encoder(spec), bf16=False)
    state = method.state_beside_encoder()
    assert len(state) + len(method.encoder.state_dict()) == len(method.state_dict())
    assert any("head" in key for key in state)


@pytest.mark.contract
@pytest.mark.parametrize(
    ("encoder", "export", "words"),
    [
        ({"name": "vit_tiny"}, "timm", "local-dir:hf"),
        (CONVNEXT, "timm", "local-dir:hf"),
        (CONVNEXT, "torchvision", 'load("torchvision.pth"'),
    ],
)
def test_other_families_load_by_the_card(
    encoder: dict[str, Any], export: str, words: str, tmp_path: Path
) -> None:
    pytest.importorskip("timm", reason="timm is not installed (pip install timm)")
    done = export_of(spec_of(encoder, export), tmp_path, side_px=32)
    with done.source:
        publish(done, out=tmp_path / "out")
    folder, images = tmp_path / "out" / "artifacts", torch.randn(2, 3, 32, 32)
    loaded = scope_of(folder, code_with(folder, words))["encoder"]
    with torch.no_grad():
        expected = done.encoder(images)
        torch.testing.assert_close(loaded(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.contract
@pytest.mark.parametrize("encoder", [RESNET, {"name": "vit_tiny"}, CONVNEXT], ids=str)
def test_transformers_loads_the_folder(encoder: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed (pip install timm)")
    reason = "transformers is not installed (pip install transformers)"
    transformers = pytest.importorskip("transformers", reason=reason)
    export = export_of(spec_of(encoder, "timm"), tmp_path, side_px=32)
    with export.source:
        publish(export, out=tmp_path / "out")
    folder, images = tmp_path / "out" / "artifacts" / "hf", torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        embeddings = transformers.AutoModel.from_pretrained(folder)(images).pooler_output
        torch.testing.assert_close(embeddings, export.encoder(images), rtol=1e-4, atol=1e-4)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    assert type(processor).__name__ == "TimmWrapperImageProcessor"


SMALLEST_PX = {"small": 16}
"""Side at which an encoder is exported, if not 32 px."""


@pytest.mark.contract
@pytest.mark.parametrize("name", [names[0] for names in FAMILIES.values()])
def test_the_onnx_file_computes_what_torch_computes(name: str, tmp_path: Path) -> None:
    """Through the card's code, for several numbers of rows; and the same bytes twice."""
    pytest.importorskip("onnxscript", reason=INSTALL)
    pytest.importorskip("onnxruntime", reason=INSTALL)
    side_px = SMALLEST_PX.get(name, 32)
    export = export_of(spec_of({"name": name}, "onnx"), tmp_path, side_px=side_px)
    with export.source:
        first = publish(export, out=tmp_path / "first")
        second = publish(export, out=tmp_path / "second")
    assert first.files == second.files
    folder = tmp_path / "first" / "artifacts"
    embed = scope_of(folder, code_with(folder, "onnxruntime"))["embed"]
    for rows in (1, 5):
        images = torch.randn(rows, 3, side_px, side_px)
        with torch.no_grad():
            expected = export.encoder(images).numpy()
        np.testing.assert_allclose(embed(images.numpy()), expected, rtol=1e-4, atol=1e-4)
    data = (folder / "encoder.onnx").read_bytes()
    assert str(Path(__file__).parents[3]).encode() not in data  # no path of this machine


@pytest.mark.contract
def test_the_onnx_file_of_a_classifier_also_gives_its_logits(tmp_path: Path) -> None:
    """Through the card's code; and not published if they are those of another head."""
    pytest.importorskip("onnxscript", reason=INSTALL)
    pytest.importorskip("onnxruntime", reason=INSTALL)
    from trainer.exports.onnx import exporter

    images, labels = blobs(4 * ROWS, side_px=16, classes=2)
    facts = write_pack(tmp_path / "labeled", images, labels, classes=("a", "b"))
    sent = {"dataset": "/data/squares", "kind": "finetune", "encoder": {"name": "small"}}
    spec = resolve(JobSpec.model_validate(sent | {"exports": ["onnx"]}, strict=False), facts).spec
    method = load_method(spec, lambda: MODALITY.encoder(spec), bf16=False).eval()
    head = method.classifier
    assert head is not None
    untrained = export_of(spec_of({"name": "small"}, "onnx"), tmp_path, side_px=16)
    export = replace(untrained, spec=spec, facts=facts, encoder=method.encoder, head=head)
    with export.source:
        publish(export, out=tmp_path / "out")
    folder = tmp_path / "out" / "artifacts"
    assert "`embedding` and `logits`" in (folder / "README.md").read_text()
    parts = (code_with(folder, words) for words in ("import onnxruntime", '["logits"]'))
    scope = scope_of(folder, "\n".join(parts))
    pixels = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        features = export.encoder(pixels)
        odds = head(features).softmax(1).numpy()
    np.testing.assert_allclose(scope["embed"](pixels.numpy()), features, rtol=1e-4, atol=1e-4)
    answers = scope["classify"](pixels.numpy())
    assert list(answers[0]) == ["a", "b"]
    given = np.array([list(row.values()) for row in answers])
    np.testing.assert_allclose(given, odds, rtol=1e-4, atol=1e-4)
    model = exporter.exported(exporter.Classifier(export.encoder, head), pixels)
    other = exporter.Classifier(export.encoder, nn.Sequential(head, nn.Hardtanh(0.0, 1e-3)))
    with pytest.raises(SpecError, match="logits of the file differs"):
        exporter.check_parity(model, other, pixels)


@pytest.mark.contract
def test_an_onnx_file_that_differs_is_not_published(tmp_path: Path) -> None:
    """The check compares with the encoder, not with itself; the reference of onnx agrees."""
    pytest.importorskip("onnxscript", reason=INSTALL)
    from trainer.exports.onnx import exporter

    export = export_of(spec_of({"name": "small"}, "onnx"), tmp_path, side_px=16)
    pixels = torch.randn(3, 3, 16, 16)
    model = exporter.exported(export.encoder, pixels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "find_spec", lambda _name: None)
        exporter.check_parity(model, export.encoder, pixels)
        other = nn.Sequential(export.encoder, nn.Hardtanh(0.0, 0.01))
        with pytest.raises(SpecError, match="embedding of the file differs"):
            exporter.check_parity(model, other, pixels)
    export.source.close()


def test_a_run_without_the_packages_fails_before_it_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from trainer.exports import spec as exports

    monkeypatch.setattr(exports, "find_spec", lambda _name: None)
    with pytest.raises(SpecError, match=r"onnx and onnxscript must be .*mocoserve\[onnx\]"):
        exports.check_installed(spec_of({"name": "small"}, "onnx"))
    (warning,) = exports.installation_warnings(spec_of({"name": "small"}, "onnx"))
    assert "onnx needs onnx and onnxscript, which this server does not have" in warning.message
    assert "mocoserve[onnx]" in warning.hint
    exports.check_installed(spec_of({"name": "small"}, "training_state"))


def test_files_deeper_than_a_folder_are_refused(tmp_path: Path) -> None:
    from trainer.exports.atomic_folder import write_sums

    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="'a/b/file' cannot be the name"):
        write_sums(tmp_path)


def test_a_job_without_exports_is_that_of_before(tmp_path: Path) -> None:
    export = export_of(spec_of({"name": "small"}), tmp_path, side_px=16)
    with export.source:
        plain = publish(replace(export, state={}), out=tmp_path / "out")
    assert not any("/" in file.name for file in plain.files)
    assert "exports" not in (tmp_path / "out" / "artifacts" / "README.md").read_text()
