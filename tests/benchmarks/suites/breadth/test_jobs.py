"""Archives and jobs of the benchmark, on next to nothing."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.suites.breadth.archives import Entry, balanced, digit_entries, images_of
from benchmarks.suites.breadth.jobs import Embedded, Experiment, embedded, over_seeds, projected
from benchmarks.suites.breadth.lab import Lab
from benchmarks.suites.breadth.pixels import raw_pixels
from trainer.data.pack.format import Pack
from trainer.nn.heads import HeadForm, mlp_head
from trainer.schema.artifact_names import STATE
from trainer.spec.resolved import ResolvedSpec


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(data=tmp_path, work=tmp_path / "work", seeds=2, threads=1)


def first_digits(name: str) -> str | None:
    return name if int(name.rpartition("-")[2].partition(".")[0]) < 48 else None


def test_a_choice_is_balanced(tmp_path: Path) -> None:
    names = [f"cat/{n}.png" for n in range(9)] + [f"dog/{n}.png" for n in range(3)]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    choice = balanced(tmp_path / "x.zip", 6)
    assert [name for name in names if choice(name)] == [*names[:3], *names[9:]]


def test_columns_reach_the_pack(lab: Lab) -> None:
    def entries() -> list[Entry]:
        first = list(digit_entries(lab, first_digits))[:4]
        return [
            Entry(each.name, each.content, {"sequence": "s", "time": str(n)})
            for n, each in enumerate(first)
        ]

    pack = Pack.open(images_of(lab, "turning", entries).pack)
    assert pack.time is not None
    assert sorted(pack.time.tolist()) == [0.0, 1.0, 2.0, 3.0]
    assert pack.sequence_names() == ["s"]


def test_a_job_for_each_seed(lab: Lab) -> None:
    """The figures come from the job's evaluators, and the features from its published encoder."""
    images = images_of(lab, "digits", lambda: digit_entries(lab, first_digits))
    evaluation = {"name": "knn", "every_epochs": 1}
    settings = {"encoder": {"name": "small"}, "epochs": 1, "batch_rows": 16}
    experiment = Experiment("tiny", {**settings, "evaluation": evaluation}, images)
    runs = []

    def measure(spec: ResolvedSpec) -> dict[str, float]:
        trained = experiment.run(spec, lab)
        rows = embedded(trained.artifacts, images.archive, lab)
        runs.append(rows)
        return {
            "hit": trained.signals["knn_top1"],
            "untrained": trained.signals["knn_top1_untrained"],
        }

    figures = over_seeds(experiment.pieces(lab, measure))
    assert over_seeds(experiment.pieces(lab, measure)) == figures
    assert len(runs) == 2
    assert all(0.0 <= value <= 1.0 for value in figures["hit"].by_seed)
    assert not np.allclose(runs[0].values, runs[1].values)
    names, pixels = raw_pixels(images.archive, 8)
    assert runs[0].names == names
    assert pixels.shape == (48, 64)
    assert [name.partition("/")[0] for name in runs[0].names] == runs[0].labels.tolist()


def test_a_projection_is_that_of_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    form = HeadForm(6, 3, layers=2, batch_norm="hidden", splits=1, has_last_bias=True)
    head = mlp_head(4, form)
    head.train()(torch.randn(32, 4))
    state = {f"tower.head.{name}": value for name, value in head.state_dict().items()}
    save_file(state, tmp_path / STATE)
    values = torch.randn(5, 4)
    rows = Embedded(("x",) * 5, np.array(["y"] * 5), values.double().numpy())
    expected = head.eval()(values).detach().numpy()
    assert projected(tmp_path, rows).values == pytest.approx(expected, abs=1e-5)
