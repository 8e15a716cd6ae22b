"""An evaluator is one folder and one member of a union: a fake one measures through the front door.

The copy of `trainer/` that it runs in differs in the new folder and in `evaluators/registry.py`
alone.
"""

import json
from pathlib import Path

import pytest

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.trainer.package_copy import (
    add_member,
    copy_packages,
    evaluate,
    metric_lines,
    train,
)

FILES = {
    "spread/__init__.py": "",
    "spread/spec.py": """
from typing import Literal
from trainer.schema.base import Record
from trainer.schema.signals import Signal

class SpreadSpec(Record):
    name: Literal["spread"] = "spread"
    every_epochs: int = 2
    rows: int | None = None

SIGNALS = {
    "spread": Signal("1", "share of rows that were measured", "spread", better="up"),
    "spread_raw": Signal("1", "baseline: the same before training", "spread_raw"),
}
ADVICE = "measure fewer images, with a smaller `{field}.rows`"
""",
    "spread/defaults.py": """
RULES = (("rows", lambda spec, facts, own: (facts.rows // 4, "a quarter is enough")),)
""",
    "spread/evaluator.py": """
from typing import NamedTuple
import torch
from trainer.evaluators.base import Measured
from trainer.evaluators.intervals import share

class Spread(NamedTuple):
    name: str
    every_epochs: int
    has_baselines: bool
    source: object
    rows: torch.Tensor

    def measure(self, bank):
        features = bank.features(self.source, self.rows, feature="backbone")
        figures = share("spread", len(features), self.source.pack.rows)
        tables = {"measured": [{"row": 0, "norm": float(features[0].norm()), "label": None}]}
        return Measured({"spread": figures[0].value}, figures, tables, ("Rows were counted.",))

    def baselines(self, bank):
        return Measured({"spread_raw": 0.125})

def plan(spec, own, data):
    return Spread(own.name, own.every_epochs, True, data.source, torch.arange(own.rows))
""",
}
MEMBERS = (
    (
        "from trainer.evaluators.knn.spec import KnnSpec\n",
        "from trainer.evaluators.knn.spec import KnnSpec\n"
        "from trainer.evaluators.spread.spec import SpreadSpec\n",
    ),
    (
        'Annotated[KnnSpec, Tag("knn")]',
        'Annotated[KnnSpec, Tag("knn")] | Annotated[SpreadSpec, Tag("spread")]',
    ),
)
TABLES = """
import json
from service.observability.dashboards.index import dashboard_files
from service.observability.metrics import METRICS, SIGNAL_METRICS
from service.web.pages import MORE_CURVES
from trainer.evaluators.registry import evaluator_names
from trainer.spec.signal_tables import SIGNALS
helps = {row.name: row.help for row in METRICS}
print(json.dumps({
    "is_named": "spread" in evaluator_names(),
    "better": SIGNALS["spread"].better,
    "metric": SIGNAL_METRICS["spread"],
    "help": helps["moco_train_spread"],
    "chart": next(curve for curve in MORE_CURVES if curve["name"] == "spread"),
    "panels": sum(text.count("moco_train_spread{") for text in dashboard_files().values()),
}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the packages and add an evaluator."""
    copy = copy_packages(tmp_path, "trainer", "service", "mocoserve")
    add_member(copy / "trainer" / "evaluators", FILES, *MEMBERS)
    return copy


def test_a_folder_and_a_member_are_an_evaluator(copy: Path, tmp_path: Path) -> None:
    """It runs beside kNN at its own epochs, and its signals are shown with those of kNN."""
    images, labels = blobs(40, side_px=16, classes=2)
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    spec = {"dataset": str(tmp_path / "pack"), "epochs": 3, "encoder": {"name": "small"}}
    spec |= {"evaluation": [{"name": "knn"}, {"name": "spread"}], "signals_every_steps": 1}
    out = tmp_path / "out"
    printed = train(copy, spec, out)

    rounds = {line["epoch"]: line for line in metric_lines(out) if "loss" not in line}
    assert list(rounds) == [0.0, 1.0, 2.0, 3.0]
    assert {epoch: line.get("spread") for epoch, line in rounds.items()} == {
        **{0.0: None, 1.0: None},
        **{2.0: 0.25, 3.0: 0.25},
    }
    assert all(line["spread_raw"] == 0.125 for line in rounds.values())
    assert all("knn_top1" in line for epoch, line in rounds.items() if epoch)
    assert "spread 0.25" in printed
    report = json.loads((out / "artifacts" / "evaluation.json").read_text())
    knn, spread = report["evaluators"]
    assert (knn["name"], spread["name"]) == ("knn", "spread")
    (figure,) = spread["result"]["figures"]
    assert {name: figure[name] for name in ("name", "value", "n", "interval", "features")} == {
        **{"name": "spread", "value": 0.25, "n": 40},
        **{"interval": "wilson", "features": "trained encoder"},
    }
    assert figure["low"] < 0.25 < figure["high"]
    (row,) = spread["result"]["tables"]["measured"]
    assert (row["row"], row["label"]) == (0, None)
    assert spread["result"]["notes"] == ["Rows were counted."]
    assert {each["features"] for each in knn["baselines"]["figures"]} == {
        *("raw input", "untrained encoder", "majority class"),
    }
    card = (out / "artifacts" / "README.md").read_text()
    assert "`evaluation.json`" in card
    assert "| `evaluation.1.rows` | 10 | a quarter is enough |" in card
    assert "| share of rows that were measured | 0.25 |" in card


def test_its_table_reaches_metrics_page_and_dashboards(copy: Path) -> None:
    assert evaluate(copy, TABLES) == {
        "is_named": True,
        "better": "up",
        "metric": "moco_train_spread",
        "help": "Share of rows that were measured.",
        "chart": {
            "name": "spread",
            "title": "share of rows that were measured",
            "unit": "1",
            "better": "up",
            "fills": "",
        },
        "panels": 1,
    }
