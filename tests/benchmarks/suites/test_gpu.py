"""The script for a GPU: all of it on a CPU, with next to nothing."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.suites.gpu import main as gpu
from benchmarks.suites.gpu.arm_timings import BenchmarkContext
from benchmarks.suites.gpu.cases import TINY
from benchmarks.suites.gpu.ceilings import WORK_PER_ROW, Ceilings
from benchmarks.suites.gpu.recipe import Epoch, MeanLoss, RecipeResult, recipe_spec
from trainer.data.pack.format import META
from trainer.data.spec import IngestSpec
from trainer.methods.moco.defaults import moco_of
from trainer.spec.job import JobSpec
from trainer.spec.presets import with_preset


def test_all_parts_are_run_and_the_table_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    words = ["x", "--smoke", "--device", "cpu", "--epochs", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    gpu.main()
    figures = json.loads(out.read_text())
    assert not [row for row in figures["table"] if "failed" in row[1] or "problem" in row[1]]
    assert set(figures) > {"ceilings", "shares", "recipe", "waits_per_step with graphs", "versions"}
    for case in TINY:
        assert len(figures[case.name]["rows_per_s"]) >= 2
    [epoch] = figures["recipe"]["epochs"]
    assert math.isfinite(epoch["loss"])
    assert 0.0 <= epoch["knn_percent"] <= 100.0
    shown = capsys.readouterr().out.splitlines()
    table = shown[shown.index("| measurement | result | target |") :]
    assert len(table) == 2 + len(figures["table"])
    assert all(line.startswith("|") for line in table)


def test_a_part_that_fails_is_reported_and_the_rest_runs() -> None:
    def fails() -> None:
        raise RuntimeError("out of memory\nand a trace")

    report = gpu.Report()
    assert report.run_part("step", fails) is None
    assert report.run_part("other", lambda: 3) == 3
    assert report.rows == [("step", "failed: RuntimeError: out of memory", "")]


def test_the_floor_is_that_of_the_lower_ceiling() -> None:
    """The figures that a study gives for an H200: ResNet-50 is bound by memory."""
    h200 = Ceilings(790e12, 4.3e12)
    assert h200.roofline_rows_per_s("resnet50", 224) == pytest.approx(10_300, rel=0.01)
    assert h200.roofline_rows_per_s("resnet18", 32) == pytest.approx(178_000, rel=0.01)
    assert h200.roofline_rows_per_s("small", 32) is None


def test_the_recipe_is_the_authors() -> None:
    ours = recipe_spec(200)
    theirs = with_preset(JobSpec(dataset="cifar10", preset="moco-cifar10")).spec
    assert ours.method == theirs.method
    assert ours.views == theirs.views
    assert (ours.optim, ours.schedule, ours.batch_rows) == (theirs.optim, theirs.schedule, 512)
    assert moco_of(recipe_spec(3, symmetric=True)).symmetric
    changed = recipe_spec(3, changes={"method": {"queue_rows": 64}})
    assert changed.method == theirs.method.model_copy(update={"queue_rows": 64})


def test_the_trace_stands_beside_what_was_found() -> None:
    result = RecipeResult(rows=50_000, epochs_planned=200, symmetric=False)
    result.epochs = [Epoch(1, 6.9, 32.0, 1.0), Epoch(4, 7.0, None, 4.0)]
    assert result.lines()[2:] == ["| 1 | 6.900 | 32.000 | 6.957 | 31.980 | 1.000 |"]


def test_the_mean_of_an_epoch_is_that_of_its_steps_alone() -> None:
    losses = MeanLoss(torch.device("cpu"))
    for epoch in ((1.0, 3.0), (5.0,)):
        for loss in epoch:
            losses.note(torch.tensor(loss), step=1)
        assert losses.read() == sum(epoch) / len(epoch)


def test_an_archive_is_ingested_and_a_pack_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs: list[IngestSpec] = []
    monkeypatch.setattr(gpu, "ingest", lambda spec, **_: specs.append(spec))
    context = BenchmarkContext(torch.device("cpu"), tmp_path, workers=0)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / META).touch()
    assert gpu._ingested_pack(tmp_path / "given", context) == tmp_path / "given"
    assert gpu._ingested_pack(None, context) is None
    assert specs == []
    assert gpu._ingested_pack(Path("images.zip"), context) == tmp_path / "images" / "pack"
    assert [spec.source for spec in specs] == ["images.zip"]


NOT_CARRIED = (
    "redis",
    "fastapi",
    "uvicorn",
    "pyarrow",
    "typer",
    "rich",
    "httpx",
    "psutil",
)


def test_it_loads_where_numba_is_not() -> None:
    """Only steps on a CPU use it."""
    modules = "benchmarks.suites.gpu.main, trainer.engine.build"
    code = f"import sys; sys.modules['numba'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.contract
def test_it_runs_with_the_wheels_that_its_docstring_names(tmp_path: Path) -> None:
    """Every other package of this project is hidden from the smallest smoke."""
    words = [
        "x",
        "--smoke",
        "--device",
        "cpu",
        "--epochs",
        "0",
        "--out",
        str(tmp_path / "out.json"),
    ]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({NOT_CARRIED})); sys.argv = {words}\n"
        "from benchmarks.suites.gpu.main import main; main()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=280)
    figures = json.loads((tmp_path / "out.json").read_text())
    assert not [row for row in figures["table"] if "failed" in row[1] or "problem" in row[1]]


@pytest.mark.parametrize("fused", [False, True])
def test_targets_of_the_large_network_are_within_what_its_bytes_allow(fused: bool) -> None:
    """Counted bytes of a row, at the full rate of a copy: the most that any target may ask."""
    ours, practice, views = (474, 567, 4) if fused else (845, 567, 146)
    _, roofline_bytes = WORK_PER_ROW["resnet50", 224]
    targets = gpu.LARGE_TARGETS[fused]
    assert targets.roofline_share < 0.8 * roofline_bytes / (ours * 1e6)
    assert targets.practice_ratio < practice / ours
    assert targets.views_share > views / ours


def test_without_a_gpu_only_the_smoke_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--device", "cpu"])
    with pytest.raises(SystemExit):
        gpu.parse_args()
