"""A method is one folder and one member of a union: a fake one trains through the front door.

The copy of `trainer/` that it runs in differs in the new folder and in `methods/registry.py` alone.
"""

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
    "align/__init__.py": "",
    "align/spec.py": """
from typing import Literal
from trainer.schema.base import Record
from trainer.schema.signals import Setting, Signal

class AlignSpec(Record):
    name: Literal["align"] = "align"
    weight: float | None = None

    @property
    def batch_norm_groups(self) -> int:
        return 1

TITLE = "Alignment"
READING = "The loss falls."
SIGNALS = {
    "closeness": Signal("1", "mean squared distance of two views", "closeness", fills="memory")
}
SETTINGS = {"align_weight": Setting("weight", "weight of the loss")}
ADVICE = {"loss": "nothing makes a loss of weight {weight} shorter"}
""",
    "align/defaults.py": """
RULES = (("method.weight", lambda spec, facts: (2.0, "twice is better")),)
""",
    "align/cost.py": """
from trainer.methods.cost import MethodCost

def cost(spec, *, batch_rows, views):
    return MethodCost(6, views_kept=2, towers=1, values=0.0)
""",
    "align/method.py": """
from torch import nn
from trainer.methods.base import Embeddings, Method, StepOutput
from trainer.nn.towers import Tower, feature_dim

class Align(Method):
    def __init__(self, spec, encoder, *, bf16):
        super().__init__()
        self.spec = spec
        self.tower = Tower(encoder, nn.Linear(feature_dim(encoder), 8), bf16=bf16)

    @property
    def encoder(self):
        return self.tower.encoder

    def embed_views(self, batch, random_inputs):
        first, second = (self.tower(view) for view in batch.views)
        return Embeddings((first,), (second,))

    def loss(self, embeddings, identities):
        (first,), (second,) = embeddings
        loss = self.spec.weight * (first - second).square().sum(1).mean()
        return StepOutput(loss, first, second.detach(), identities, loss_terms=1)

    def trainable_parameters(self):
        return {f"tower.{name}": value for name, value in self.tower.named_parameters()}

    def embed(self, view, *, feature):
        return self.tower.features(view, feature=feature)

    def signals(self, output, *, dataset_rows):
        return {"loss": float(output.loss.detach()), "closeness": 1.0}

def build(spec, encoder, *, bf16):
    return Align(spec.method, encoder, bf16=bf16)
""",
}
MEMBERS = (
    (
        "from trainer.methods.simclr.spec import SimCLRSpec\n",
        "from trainer.methods.align.spec import AlignSpec\n"
        "from trainer.methods.simclr.spec import SimCLRSpec\n",
    ),
    (
        'Annotated[SimCLRSpec, Tag("simclr")]',
        'Annotated[SimCLRSpec, Tag("simclr")] | Annotated[AlignSpec, Tag("align")]',
    ),
)
TABLES = """
import json
from trainer.methods.registry import method_names
from trainer.spec.signal_tables import FILLS, SIGNALS
from service.observability.dashboards.index import dashboard_files
from service.observability.metrics import METRICS, SIGNAL_METRICS
from service.web.pages import MORE_CURVES
board = json.loads(dashboard_files()["mocoserve-training.json"])
panels = {
    target["expr"].partition("{")[0]: panel["title"]
    for panel in board["panels"] for target in panel.get("targets", [])
}
helps = {row.name: row.help for row in METRICS}
print(json.dumps([
    list(method_names()),
    SIGNALS["closeness"].unit,
    FILLS["closeness"],
    SIGNAL_METRICS["closeness"],
    helps["moco_train_align_weight"],
    [panels["moco_train_closeness"], panels["moco_train_align_weight"]],
    [curve for curve in MORE_CURVES if curve["name"] == "closeness"],
]))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the packages and add a method."""
    copy = copy_packages(tmp_path, "trainer", "service", "mocoserve")
    add_member(copy / "trainer" / "methods", FILES, *MEMBERS)
    return copy


def test_a_folder_and_a_member_are_a_method(copy: Path, tmp_path: Path) -> None:
    images, labels = blobs(40, side_px=16, classes=2)
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    spec = {"dataset": str(tmp_path / "pack"), "epochs": 2, "method": {"name": "align"}}
    spec |= {"encoder": {"name": "small"}, "signals_every_steps": 1}
    train(copy, spec, tmp_path / "out")

    steps = [line for line in metric_lines(tmp_path / "out") if "loss" in line]
    assert steps
    assert {line["closeness"] for line in steps} == {1.0}
    card = (tmp_path / "out/artifacts/README.md").read_text()
    assert "by\nAlignment with mocoserve" in card
    assert "twice is better" in card


def test_its_tables_reach_metrics_dashboards_and_api(copy: Path) -> None:
    names, unit, fills, metric, help_text, titles, curves = evaluate(copy, TABLES)
    assert names[0] == "moco"
    assert names.count("align") == 1
    assert (unit, fills, metric) == ("1", "memory", "moco_train_closeness")
    assert help_text == "Weight of the loss."
    assert titles == ["Mean squared distance of two views", "Weight of the loss"]
    meaning = "mean squared distance of two views"
    shown = {"name": "closeness", "title": meaning, "unit": "1", "better": ""}
    assert curves == [{**shown, "fills": "memory"}]
