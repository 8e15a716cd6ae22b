"""The best evaluation and the early end, against a plain walk through the readings."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.data.dataset_facts import made_up_facts
from trainer.schema.errors import SpecError
from trainer.schema.signals import Signal
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.watched import EarlyStopSpec, Line, best_reading, end_reason

UP = Signal("ratio", "accuracy", better="up")
DOWN = Signal("ratio", "error", better="down")


def lines_of(values: list[float]) -> list[Line]:
    """Return evaluations after each epoch of 3 steps, between lines of steps."""
    lines: list[Line] = [{"step": 0, "epoch": 0.0, "x_raw": 0.9}]
    for epoch, value in enumerate(values, start=1):
        step = 3 * epoch
        lines += [{"step": step, "epoch": epoch, "loss": 1.0, "x": 9.0}]
        lines += [{"step": step, "epoch": float(epoch), "x": value}]
    return lines


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 4), st.integers(0, 2))
def test_a_run_ends_where_a_plain_walk_says(values: list[int], patience: int, delta: int) -> None:
    spec = EarlyStopSpec(signal="x", patience_epochs=patience, min_delta=float(delta))
    best, waited, ended = values[0], 0, False
    for epoch, value in enumerate(values, start=1):
        if epoch > 1 and value - best > delta:
            best, waited = value, 0
        elif epoch > 1:
            waited += 1
        ended = waited >= patience
        lines = lines_of([float(each) for each in values[:epoch]])
        assert bool(end_reason(lines, spec, {"x": UP})) == ended
        mirrored = lines_of([-float(each) for each in values[:epoch]])
        assert bool(end_reason(mirrored, spec, {"x": DOWN})) == ended
        reading = best_reading(lines, "x", UP)
        assert reading is not None
        assert reading.value == max(values[:epoch])
        assert reading.epoch == values.index(max(values[:epoch])) + 1
        if ended:
            break


def test_nothing_measured_is_no_best_and_no_end() -> None:
    spec = EarlyStopSpec(signal="x", patience_epochs=1)
    assert best_reading(lines_of([]), "x", UP) is None
    assert end_reason(lines_of([]), spec, {"x": UP}) == ""
    assert end_reason(lines_of([1.0, 0.5]), None, {"x": UP}) == ""
    text = end_reason(lines_of([0.5, 0.25]), spec, {"x": UP})
    assert text == "x has not improved for 1 epoch: it was 0.5 after epoch 1 and is 0.25."


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"best_by": "loss"}, "best_by"),
        ({"best_by": "knn_top1_raw"}, "best_by"),
        ({"best_by": "knn_top1", "evaluation": None}, "best_by"),
        ({"early_stop": {"signal": "nothing", "patience_epochs": 2}}, "early_stop.signal"),
    ],
)
def test_a_signal_that_no_evaluator_measures_is_refused(words: object, field: str) -> None:
    spec = JobSpec.model_validate_json(json.dumps({"dataset": "x", **dict(words)}))  # type: ignore[call-overload]
    with pytest.raises(SpecError) as refusal:
        resolve(spec, made_up_facts(labels=("a", "b")))
    assert refusal.value.field == field


def test_signals_of_the_jobs_evaluators_are_taken() -> None:
    words = {"best_by": "knn_top1", "early_stop": {"signal": "knn_top1", "patience_epochs": 2}}
    spec = JobSpec.model_validate_json(json.dumps({"dataset": "x", **words}))
    assert resolve(spec, made_up_facts(labels=("a", "b"))).spec.best_by == "knn_top1"
