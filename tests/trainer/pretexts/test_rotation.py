"""Rotation against numpy in float64, and what it leaves alone."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.trainer.evaluations import evaluating
from trainer.engine.micro_batches import joined, split
from trainer.evaluators.held_out_pretexts import HeldOutPretexts
from trainer.methods.base import Method, StepOutput, load_method, step_signals
from trainer.methods.moco.spec import MoCoSpec
from trainer.modalities.image.modality import MODALITY
from trainer.nn.views import Batch, Pixels, rebuilt, tensors_of
from trainer.pretexts.rotation.pretext import Rotation, turned
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.cost import estimate
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

ROWS = 8


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> DatasetFacts:
    images, labels = blobs(40, side_px=8, classes=2)
    folder = tmp_path_factory.mktemp("pack")
    return write_pack(folder / "pack", images, labels, classes=("a", "b"))


def job(method: str, *, auxiliary: list[dict[str, Any]], **settings: Any) -> JobSpec:  # noqa: ANN401
    sent: dict[str, Any] = {
        "dataset": "made-up",
        "encoder": {"name": "small"},
        "method": {"name": method},
        "views": {"side_px": 8},
        "precision": "fp32",
        "auxiliary": auxiliary,
    }
    for key, value in settings.items():
        sent[key] = sent.get(key, {}) | value
    return JobSpec.model_validate(sent, strict=False)


def method_of(facts: DatasetFacts, name: str, *, weight: float | None) -> Method:
    auxiliary = [] if weight is None else [{"name": "rotation", "weight": weight}]
    spec = resolve(job(name, auxiliary=auxiliary), facts).spec
    return load_method(spec, lambda: MODALITY.encoder(spec), bf16=False).train()


def batch_of(method: Method) -> Batch:
    generator = torch.Generator().manual_seed(3)
    views = tuple(Pixels(torch.randn(ROWS, 3, 8, 8, generator=generator)) for _ in range(2))
    rows = torch.arange(ROWS)
    drawn = () if method.pretexts is None else method.pretexts.random_inputs(rows, step=5)
    return Batch(views, rows, rows, drawn)


def test_each_image_is_turned_by_its_own_quarters() -> None:
    pixels, turns = torch.randn(6, 3, 5, 5), torch.tensor([0, 1, 2, 3, 2, 1])
    expected = [
        np.rot90(image.numpy(), int(turn), axes=(1, 2))
        for image, turn in zip(pixels, turns, strict=True)
    ]
    np.testing.assert_array_equal(turned(pixels, turns).numpy(), np.stack(expected))


def test_turns_are_drawn_by_row_and_step_alone_and_are_equally_likely() -> None:
    pretext, rows = Rotation(4), torch.arange(40_000)
    drawn = pretext.random_inputs(rows, seed=1, step=2)
    assert drawn.dtype == torch.int64
    counts = torch.bincount(drawn, minlength=4).double()
    assert float(((counts - 10_000) ** 2 / 10_000).sum()) < 16.3  # chi-squared, p = .001
    backwards = pretext.random_inputs(rows.flip(0), seed=1, step=2)
    assert backwards.flip(0).equal(drawn)
    for seed, step in ((1, 3), (2, 2)):
        other = pretext.random_inputs(rows, seed=seed, step=step)
        assert 0.2 < float((other == drawn).double().mean()) < 0.3


def test_loss_and_scores_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    pretext, pixels = Rotation(12), torch.randn(16, 3, 2, 2)
    drawn = torch.randint(0, 4, (16,))
    prediction = pretext.predict(lambda view: view.pixels.flatten(1), Pixels(pixels), drawn)
    turned_ = turned(pixels, drawn).flatten(1).double().numpy()
    weight, bias = (value.detach().double().numpy() for value in pretext.head.parameters())
    logits = turned_ @ weight.T + bias
    chosen = logits[np.arange(16), drawn.numpy()]
    loss = pretext.loss(prediction)
    expected = (np.log(np.exp(logits).sum(1)) - chosen).mean()
    assert loss.requires_grad
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    (is_right,) = pretext.scores(prediction)
    assert is_right.tolist() == (logits.argmax(1) == drawn.numpy()).tolist()


@pytest.mark.parametrize("name", ["moco", "simclr"])
def test_the_loss_is_added_and_nothing_else_changes(name: str, facts: DatasetFacts) -> None:
    """Embeddings, and every tensor of the state, are those of the method without it."""
    plain, both = method_of(facts, name, weight=None), method_of(facts, name, weight=0.5)
    outputs: dict[str, StepOutput] = {}
    for key, method in (("plain", plain), ("both", both)):
        output = method.loss_at(batch_of(method), step=5)
        output.loss.backward()  # type: ignore[no-untyped-call]
        method.after_step(output)
        outputs[key] = output
    assert outputs["both"].queries.equal(outputs["plain"].queries)
    added = 0.5 * outputs["both"].readings[1]
    alone, total = (float(outputs[key].loss.detach()) for key in ("plain", "both"))
    assert total == pytest.approx(alone + float(added))
    assert not any(reading.requires_grad for reading in outputs["both"].readings)
    state = both.state_dict()
    for key, value in plain.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert state[key].equal(value), key
    own = {key for key in state if key.startswith("pretexts.")}
    assert own == {"pretexts.parts.rotation.head.weight", "pretexts.parts.rotation.head.bias"}
    assert {key.startswith("pretexts.") for key in both.learning_parameters()} == {True, False}
    signals = step_signals(both, outputs["both"], dataset_rows=40)
    assert signals["contrast_loss"] == pytest.approx(alone)
    assert signals["loss"] == pytest.approx(total)
    assert 0.0 <= signals["rotation_top1"] <= 1.0
    chance = step_signals(plain, outputs["plain"], dataset_rows=40)["chance_loss"]
    assert signals["chance_loss"] == pytest.approx(chance + 0.5 * np.log(4))


def test_its_gradient_reaches_the_encoder(facts: DatasetFacts) -> None:
    plain, both = method_of(facts, "moco", weight=None), method_of(facts, "moco", weight=1.0)
    gradients: list[Tensor] = []
    for method in (plain, both):
        method.loss_at(batch_of(method), step=5).loss.backward()  # type: ignore[no-untyped-call]
        gradient = next(method.encoder.parameters()).grad
        assert gradient is not None
        gradients.append(gradient)
    assert not torch.allclose(gradients[0], gradients[1])


def test_a_batch_carries_what_was_drawn(facts: DatasetFacts) -> None:
    batch = batch_of(method_of(facts, "moco", weight=1.0))
    again = rebuilt(batch, tensors_of(batch))
    assert again.drawn[0] is batch.drawn[0]
    assert again.identities is again.rows


def test_the_estimate_counts_a_pass_of_its_own(facts: DatasetFacts) -> None:
    plain = estimate(resolve(job("moco", auxiliary=[]), facts).spec, facts)
    both = estimate(resolve(job("moco", auxiliary=[{"name": "rotation"}]), facts).spec, facts)
    assert both.flops_per_row > plain.flops_per_row
    assert both.memory_bytes > plain.memory_bytes


@pytest.mark.parametrize(
    ("auxiliary", "words"),
    [
        ([{"name": "rotation"}, {"name": "rotation"}], "rotation is listed more than once"),
        ([{"name": "jigsaw"}], "name must be rotation"),
        ([{"name": "rotation", "weight": 0}], "greater than 0"),
    ],
)
def test_bad_lists_are_refused(auxiliary: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        job("moco", auxiliary=auxiliary)


@pytest.mark.parametrize(
    ("method", "auxiliary", "settings", "field", "words"),
    [
        ("none", [], {}, "auxiliary", "name one, such as rotation"),
        (
            "none",
            [{"name": "rotation"}],
            {"positives": {"name": "label"}},
            "positives.name",
            "none reads one view of each image",
        ),
        (
            "none",
            [{"name": "rotation"}],
            {"views": {"second": {"flip_p": 0.0}}},
            "views.second",
            "none reads one view of each image",
        ),
        (
            "moco",
            [{"name": "rotation"}],
            {"views": {"quarter_turn_p": 0.5}},
            "auxiliary.0",
            "set views.quarter_turn_p to 0",
        ),
        (
            "moco",
            [{"name": "rotation"}],
            {"views": {"vertical_flip_p": 0.5}},
            "auxiliary.0",
            "set views.vertical_flip_p to 0",
        ),
    ],
)
def test_jobs_that_cannot_learn_are_refused(
    method: str,
    auxiliary: list[dict[str, Any]],
    settings: dict[str, Any],
    field: str,
    words: str,
    facts: DatasetFacts,
) -> None:
    with pytest.raises(SpecError, match=words) as raised:
        resolve(job(method, auxiliary=auxiliary, **settings), facts)
    assert raised.value.field == field


def test_a_job_may_watch_its_pretext(facts: DatasetFacts) -> None:
    sent = job("none", auxiliary=[{"name": "rotation"}])
    watching = sent.model_copy(update={"best_by": "rotation_top1_test"})
    assert resolve(watching, facts).spec.best_by == "rotation_top1_test"
    with pytest.raises(SpecError, match="is no signal of the job's evaluation"):
        resolve(watching.model_copy(update={"auxiliary": (), "method": MoCoSpec()}), facts)


def test_without_contrast_the_loss_is_that_of_the_pretext(facts: DatasetFacts) -> None:
    """Statistics of batch norm are those of the first views, as they are."""
    method = method_of(facts, "none", weight=2.0)
    reference = copy.deepcopy(method.encoder)
    batch = batch_of(method)
    output = method.loss_at(batch, step=5)
    signals = step_signals(method, output, dataset_rows=40)
    assert signals.keys() == {"loss", "chance_loss", "rotation_loss", "rotation_top1"}
    assert signals["loss"] == pytest.approx(2.0 * signals["rotation_loss"])
    assert signals["chance_loss"] == pytest.approx(2.0 * np.log(4))
    reference(*batch.views[0])
    for (name, value), other in zip(
        method.encoder.named_buffers(), reference.buffers(), strict=True
    ):
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, other, rtol=0, atol=0)


def test_micro_batches_add_up_to_the_mean(facts: DatasetFacts) -> None:
    method = method_of(facts, "none", weight=1.0).eval()  # batch norm of a part is its own
    parts = [method.loss_at(part, step=0) for part in split(batch_of(method), 2)]
    whole = method.loss_at(batch_of(method), step=0)
    torch.testing.assert_close(
        torch.stack(joined(parts).readings), torch.stack(whole.readings).detach()
    )


def test_a_share_of_held_out_images_is_a_figure(tmp_path: Path) -> None:
    """The turns of other images that the head recognizes, each turned once and always alike."""
    made = evaluating(
        {"name": "knn"},
        written(tmp_path / "pack"),
        test=written(tmp_path / "test"),
        method={"name": "none"},
        auxiliary=[{"name": "rotation"}],
    )
    plan, method = made.evaluation, made.method
    (pretexts,) = [each for each in plan.evaluators if isinstance(each, HeldOutPretexts)]
    assert pretexts.every_epochs == 1
    first, second = (plan.run(method, should_stop=lambda: False) for _ in range(2))
    assert first is not None
    assert second is not None
    (figure,) = first.measured["pretexts"].figures
    assert second.measured["pretexts"].figures == (figure,)
    assert method.pretexts is not None
    (turns,) = method.pretexts.random_inputs(torch.arange(30), step=0)
    pixels = plan.views.plain(pretexts.source.whole(torch.arange(30))).pixels
    with torch.no_grad():
        features = method.eval().embed(Pixels(turned(pixels, turns)), feature="backbone")
        logits = method.pretexts.named["rotation"].head(features)  # type: ignore[operator]
    right = int((logits.argmax(1) == turns).sum())
    assert (figure.name, figure.n, figure.interval) == ("rotation_top1_test", 30, "wilson")
    assert figure.value == pytest.approx(right / 30)


def test_without_held_out_images_a_note_says_so(tmp_path: Path) -> None:
    made = evaluating(
        {"name": "knn"},
        written(tmp_path / "pack"),
        method={"name": "none"},
        auxiliary=[{"name": "rotation"}],
    )
    assert [each.name for each in made.evaluation.evaluators] == ["knn"]
    assert any("no test dataset or split test" in each for each in made.evaluation.not_measured)


def written(folder: Path) -> Path:
    images, labels = blobs(30, side_px=8, classes=2)
    write_pack(folder, images, labels, classes=("a", "b"))
    return folder


def test_a_job_without_pretexts_has_no_trace_of_them(facts: DatasetFacts) -> None:
    method = method_of(facts, "moco", weight=None)
    assert not any("pretexts" in key for key in method.state_dict())
    assert len(tensors_of(batch_of(method))) == 3
