"""Results of evaluators as text."""

import pytest

from mocoserve.models import Evaluation
from service.api.schemas import examples
from service.cli.render.evaluation_tables import print_evaluation


def printed(evaluation: dict[str, object], capsys: pytest.CaptureFixture[str]) -> str:
    print_evaluation(Evaluation.model_validate(evaluation), say=print)
    return capsys.readouterr().out


def test_a_figure_has_its_interval_and_its_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(examples.EVALUATION, capsys)
    assert "evaluator knn, after step 1,200:" in text
    head, row = (line.split() for line in text.splitlines()[1:3])
    assert " ".join(head) == "FIGURE VALUE 95 % INTERVAL N RAW INPUT"
    assert row == ["knn_top1", "0.614", "0.6004", "to", "0.6274", "5,000", "0.346"]


def test_tables_are_shown_and_curves_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"label": f"class {n}", "f1": n / 100} for n in range(40)]
    result = {"step": 3, "figures": [], "tables": {"per_class": rows, "roc": [{"x": 1.0}]}}
    meaning = {"per_class": {"title": "Classes"}, "roc": {"title": "ROC", "x": "x", "y": "x"}}
    text = printed(
        {
            "evaluators": [{"name": "linear", "result": result}, {"name": "later"}],
            "not_measured": ["Nothing to cluster."],
            "tables": {"linear": meaning},
        },
        capsys,
    )
    assert "Classes:" in text
    assert "class 29" in text
    assert "class 30" not in text
    assert "10 more rows" in text
    assert "ROC" not in text
    assert "Nothing to cluster." in text
