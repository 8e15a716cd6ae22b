"""Steps on a GPU, eager and captured, run where there is none: see tests/support/pretend_gpu.

Counts of a step are stored in pretend_gpu.json with the version of torch that they were counted
with. After an intended change, `python -m tests.support.pretend_gpu` updates them.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.pretend_gpu import deterministic, stored
from tests.support.pretend_gpu.cases import CASES, CELLS, METHODS, VARIANTS
from tests.support.pretend_gpu.cuda import pretend_gpu
from tests.support.pretend_gpu.packs import PACKS
from tests.support.pretend_gpu.run import Case, Result, run
from tests.support.trainer.spec_members import beside
from trainer.methods.base import StepOutput
from trainer.methods.moco.method import MoCo
from trainer.methods.registry import method_names
from trainer.modalities.registry import MODALITIES

pytestmark = pytest.mark.timeout(1200)  # seconds alone, minutes on busy cores
HERE = Path(__file__).name
LARGE_VIEWS = {"views": {"side_px": 64}}
"""Views whose activations take most of the memory."""
Counted: TypeAlias = tuple[Case, Callable[[], Result]]
PAGEABLE_MAX = 1
"""Copies of a step from memory that is not pinned."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, id=str(case), marks=() if case in CELLS else pytest.mark.contract)
        for case in CASES
    ],
)
def counted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401
    """Two epochs of a case, run once, when a test asks: so that it is a test that fails."""
    case, folder = request.param, tmp_path_factory.mktemp("run")
    return case, cache(lambda: run(case, folder))


def test_steps_on_a_gpu_are_as_they_should_be(counted: Counted) -> None:
    """Nothing waits after the first step, whose signals are read, nor draws unseen numbers."""
    case, result = counted[0], counted[1]()
    assert result.warnings == []
    assert result.counts.forbidden == []
    assert result.waits_after_step(1) == []
    assert max(len(result.pageable(step)) for step in result.steps[1:]) <= PAGEABLE_MAX
    assert result.counts.random_draws == []
    assert not deterministic.OPERATIONS & result.counts.kernels.keys()
    assert result.counts.devices.keys() == {case.device}
    assert result.counts.streams.keys() <= {case.device}
    assert bool(result.recordings) == case.graphs
    for step in result.epoch(stored.STEADY_EPOCH):
        assert step.copies_to_host == 0
        assert case.graphs or step.launches == step.kernels


def test_rounds_of_evaluation_send_pinned_memory_alone(counted: Counted) -> None:
    """A round reads its result, so it waits; it is never held up by a copy of its rows."""
    case, result = counted[0], counted[1]()
    if "evaluation" not in case.settings:
        assert result.evaluations == []
        return
    assert len(result.evaluations) >= 1
    for span in result.evaluations:
        assert result.pageable(span) == []
        waits = result.counts.waits[span.before.waits : span.after.waits]
        assert not [wait for wait in waits if "a copy to the device" in wait]


def test_counts_of_a_step_are_the_stored_ones(counted: Counted) -> None:
    """Kernels, bytes, launches, copies and the peak of memory; and of a round of evaluation."""
    case, result = counted[0], counted[1]()
    version, cases = stored.load()
    assert str(case) in cases, f"Count it: {stored.COMMAND} {case.name!r}"
    differences = stored.differences(stored.figures(result), cases[str(case)])
    if version != torch.__version__:
        pytest.skip(f"counts are of torch {version}, this is {torch.__version__}: {differences}")
    assert differences == {}, f"If you meant to change them: {stored.COMMAND}"


def test_the_matrix_has_rows_of_every_modality() -> None:
    missing = set(MODALITIES) - PACKS.keys()
    assert not missing, f"Write a pack of it in tests/support/pretend_gpu/packs.py: {missing}"


@pytest.mark.contract
@pytest.mark.parametrize("name", [*method_names(), "symmetric, own keys masked", "rising momentum"])
def test_a_graph_is_the_same_whenever_it_is_captured(name: str, tmp_path: Path) -> None:
    """Else it holds a number of its step or epoch, and repeats that for ever."""
    method = {"method": {"name": name} | METHODS.get(name, {})} | beside(name)
    case = Case(name=name, settings=VARIANTS.get(name, method))
    recordings = [run(case, tmp_path, steps=6).recordings for _ in range(2)]  # the second resumes
    assert [len(each) for each in recordings] == [3, 3]
    for before, after in zip(*recordings, strict=True):
        assert before.operations == after.operations


@pytest.mark.contract
@pytest.mark.filterwarnings("ignore:.*data pointer of FakeTensor")
@pytest.mark.parametrize("graphs", [True, False])
def test_a_whole_job_runs_to_its_end(graphs: bool, tmp_path: Path) -> None:
    """Run a job with evaluations, checkpoints, signals and exports."""
    settings = {
        "epochs": 2,
        "evaluation": {"name": "knn"},
        "checkpoint_every_steps": 3,
        "signals_every_steps": 3,
    }
    result = run(Case(name="whole", settings=settings, graphs=graphs), tmp_path, steps=10**6)
    assert result.ended is not None
    assert result.ended.outcome == "succeeded"
    assert (tmp_path / "out" / "artifacts" / "encoder.safetensors").exists()
    kinds = Counter(event.type for event in result.events)
    assert (kinds["evaluated"], kinds["checkpointed"], kinds["published"]) == (3, 3, 1)
    assert not deterministic.OPERATIONS & result.counts.kernels.keys()


def broken(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Tensor], object]) -> None:
    """Put a fault into every step: `fault` gets the GPU tensors that are normalized."""
    normalize: Callable[..., Tensor] = F.normalize

    def faulty(value: Tensor, **settings: Any) -> Tensor:  # noqa: ANN401
        if value.is_cuda:
            fault(value.detach())
        return normalize(value, **settings)

    monkeypatch.setattr(F, "normalize", faulty)


def all_faults(value: Tensor) -> None:
    """Break every rule of a step; each fault is recorded and otherwise harmless."""
    value.sum().item()
    torch.ones(8).to(value.device, non_blocking=True)
    torch.ones(8).to(value.device)
    value.cpu()
    torch.cuda.synchronize()
    torch.rand(8, device=value.device)
    value.scatter_reduce(0, value.long(), value, "amax")


def test_faults_of_an_eager_step_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Twice a step, for queries and for keys, each with its place."""
    case = Case(name="broken", graphs=False)
    whole = run(case, tmp_path / "whole", steps=2)
    broken(monkeypatch, all_faults)
    result = run(case, tmp_path / "broken", steps=2)
    assert whole.waits_after_step(1) == []
    waits = result.waits_after_step(1)
    assert [wait.split(" at ")[0] for wait in waits] == 2 * [
        "_local_scalar_dense reads a value",
        "a copy to the device",
        "a copy to the host",
        "torch.cuda.synchronize",
    ]
    assert all(HERE in wait for wait in waits)
    assert len(result.counts.random_draws) == 4
    assert result.counts.kernels.keys() & deterministic.OPERATIONS == {"scatter_reduce"}
    unpinned = [[c for c in each.counts.to_device if not c.is_pinned] for each in (whole, result)]
    assert len(unpinned[1]) - len(unpinned[0]) == 2 * 2 * 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda value: value.sum().item(), "_local_scalar_dense reads a value"),
        (lambda value: torch.ones(8).to(value.device, non_blocking=True), "a copy to the device"),
        (lambda value: value.nonzero(), "nonzero needs values for its shape"),
        (lambda _: torch.cuda.synchronize(), "torch.cuda.synchronize"),
    ],
    ids=["read", "copy", "shape", "synchronize"],
)
def test_faults_of_a_capture_are_refused(fault: Callable[[Tensor], object], reason: str) -> None:
    with pretend_gpu() as gpu:
        value = torch.ones(8, device="cuda")
        with (
            pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
            torch.cuda.graph(torch.cuda.CUDAGraph()),
        ):
            fault(value)
    (forbidden,) = gpu.counts.forbidden
    assert forbidden.startswith(f"{reason} at ")
    assert HERE in forbidden


def test_a_run_whose_capture_is_refused_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def only_in_capture(value: Tensor) -> None:
        if torch.cuda.is_current_stream_capturing():
            value.sum().item()

    broken(monkeypatch, only_in_capture)
    result = run(Case(name="broken"), tmp_path, steps=5)
    (warning,) = result.warnings
    assert "not permitted when stream is capturing" in warning
    assert len(result.counts.forbidden) == 1


@pytest.mark.contract
def test_a_graph_that_does_not_fit_is_dropped_with_its_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second graph fails; the first has held the activations of a step until then."""
    whole = run(Case(name="whole", settings=LARGE_VIEWS), tmp_path / "whole")
    after_step = MoCo.after_step

    def fills_memory(method: MoCo, output: StepOutput) -> None:
        if torch.cuda.is_current_stream_capturing():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        after_step(method, output)

    monkeypatch.setattr(MoCo, "after_step", fills_memory)
    result = run(Case(name="broken", settings=LARGE_VIEWS), tmp_path / "broken")
    (warning,) = result.warnings
    assert "only the graph did not fit" in warning
    assert result.peak_bytes == pytest.approx(whole.peak_bytes, rel=0.02)


def test_a_partial_batch_runs_in_the_memory_of_the_graphs(tmp_path: Path) -> None:
    peak_bytes = {
        partial: run(
            Case(name=partial, settings=LARGE_VIEWS | {"partial_batch": partial}),
            tmp_path / partial,
        ).peak_bytes
        for partial in ("drop", "keep")
    }
    assert peak_bytes["keep"] == pytest.approx(peak_bytes["drop"], rel=0.02)


@pytest.mark.contract
def test_a_number_of_the_step_in_a_graph_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = Counter[str]()

    def counts_up(value: Tensor) -> None:
        seen["step"] += 1
        value.mul(seen["step"])

    broken(monkeypatch, counts_up)
    case = Case(name="broken")
    before, after = (run(case, tmp_path, steps=6).recordings for _ in range(2))
    unlike = [one.operations != two.operations for one, two in zip(before, after, strict=True)]
    assert unlike == [False, True, False]


def test_more_than_the_tolerance_is_a_difference() -> None:
    before = {"kernels": 1000.0, "launches": 29.0, "pageable_copies": 0.0}
    assert stored.differences(before | {"kernels": 1019.0}, before) == {}
    assert stored.differences(before | {"kernels": 1021.0}, before) == {"kernels": (1021.0, 1000.0)}
    assert stored.differences(before | {"launches": 30.0}, before) == {"launches": (30.0, 29.0)}
    assert stored.differences(before | {"pageable_copies": 1.0}, before).keys() == {
        "pageable_copies"
    }


def test_devices_do_not_mix() -> None:
    with pretend_gpu():
        value = torch.ones(8, device="cuda")
        with pytest.raises(RuntimeError, match="same device"):
            value.add(torch.ones(8))


def test_the_list_of_refused_operations_is_that_of_torch() -> None:
    if stored.load()[0] != torch.__version__:
        pytest.skip(f"the list is not of torch {torch.__version__}")
    assert deterministic.documented() == deterministic.REFUSED.keys()


def test_memory_is_counted_while_it_lives() -> None:
    with pretend_gpu() as gpu:
        kept = torch.ones(256, device="cuda")  # 1,024 bytes
        view = kept.view(16, 16)[1:]
        gone = torch.ones(512, device="cuda")
        assert (gpu.memory.live_bytes, gpu.memory.peak_bytes) == (3072, 3072)
        del gone
        assert (gpu.memory.live_bytes, gpu.memory.peak_bytes) == (1024, 3072)
        del kept
        assert gpu.memory.live_bytes == 1024, view


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types
    """Names of the operations that run on a CPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if not func.is_view:
            self.names[func._schema.name.removeprefix("aten::").rstrip("_")] += 1
        return func(*args, **(kwargs or {}))


def test_backward_does_what_torchs_engine_does() -> None:
    """Branches that meet, a weight that is used twice, a broadcast value, and one without use."""
    torch.manual_seed(0)
    net, unused = nn.Linear(6, 6), torch.ones(6, requires_grad=True)
    shift, start = torch.ones(1, 6, requires_grad=True), torch.rand(4, 6)

    def loss(net: nn.Module, shift: Tensor, value: Tensor) -> Tensor:
        inner = net(value).relu() + shift
        first, second = (net(inner) + inner).split(3, dim=1)
        mean: Tensor = (first * second.detach()).logsumexp(1).mean()
        return mean

    leaves = [*net.parameters(), shift]
    on_cpu = loss(net, shift, start)
    with Operations() as engine:
        on_cpu.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    shapes = [leaf.grad.shape for leaf in leaves if leaf.grad is not None]
    with pretend_gpu() as gpu:
        net.zero_grad()
        on_gpu = net.to("cuda"), shift.detach().to("cuda").requires_grad_(), start.to("cuda")
        forward = loss(*on_gpu)
        before = gpu.counts.kernels.copy()
        forward.backward()  # type: ignore[no-untyped-call]
        names: Counter[str] = Counter()
        for name, count in (gpu.counts.kernels - before).items():
            names[name.rstrip("_")] += count
        there = [leaf.grad for leaf in [*on_gpu[0].parameters(), on_gpu[1]]]
    assert [grad.shape for grad in there if grad is not None] == shapes
    assert unused.grad is None
    assert names == engine.names
