"""The proof of the GPU kernels, tiny and interpreted, and its verdict."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from benchmarks.harness.interleaving import Ratios
from benchmarks.suites.kernels import cases, main, timings
from benchmarks.suites.kernels.main import Check
from benchmarks.suites.kernels.timings import Timing

interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU runs all of it")
CPU = torch.device("cpu")


class CallingRecorder:
    """A recorder whose replay calls the work again."""

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def recorded(self, work: Callable[[], object]) -> tuple[object, Callable[[], object]]:
        return work(), work


class Clock:
    """An event of which each is a millisecond after the one before."""

    def __init__(self, **_: object) -> None: ...

    def record(self) -> None: ...

    def elapsed_time(self, other: "Clock") -> float:
        del other
        return 1.0


@interpreted
def test_the_proof_runs_where_no_gpu_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["kernels"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.count("| yes |") == 2 * (len(cases.TINY_NORMS) + 1)
    assert "run this on a GPU" in printed


@interpreted
def test_both_forms_are_timed_interleaved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timings, "recorder_for", lambda _: CallingRecorder())
    monkeypatch.setattr(timings, "Event", Clock)
    monkeypatch.setattr(timings, "CALLS", 1)
    monkeypatch.setattr(cases, "NORMS", cases.TINY_NORMS[1:])
    monkeypatch.setattr(cases, "VIEWS", cases.TINY_VIEWS)
    with cases.interpreted_views():
        found = timings.time_forms(CPU, rounds=1)
    assert [timing.name for timing in found] == ["batch norm, fp32, contiguous", "views"]
    for timing in found:
        assert timing.ratio.median == 1.0
        assert timing.fused_s == 0.001
    rows, channels, height, width = cases.TINY_NORMS[1].shape
    assert found[0].moved_bytes_per_s == 1000.0 * 8 * 4 * rows * channels * height * width


@pytest.mark.parametrize(("low", "passed"), [(1.2, True), (0.9, False)])
def test_the_setting_is_printed_only_if_all_passed(low: float, passed: bool) -> None:
    ratio = Ratios((low, 1.5), 1.3, low, 1.5)
    checks = [Check("views", "", passed=True), main._speed(Timing("views", ratio, ratio, 1.0, 1e9))]
    assert main._code(checks) == (0 if passed else 1)
    advice = main._advice(checks)
    assert ("Set MOCO_FUSED_KERNELS=1" in advice) is passed
    assert (advice == "Leave MOCO_FUSED_KERNELS unset: speed: views failed.") is not passed
