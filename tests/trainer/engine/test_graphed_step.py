"""Captured steps beside eager ones: on a CPU with a tape that calls the work again."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.accel import device
from trainer.accel.device import DeviceConfig, _Arithmetic
from trainer.accel.graphs import WARM_UP_CALLS, GraphRecorder, Replay
from trainer.checkpoint.state import collect
from trainer.engine.build import RunPaths, build_run
from trainer.engine.graphed_step import GraphedStep
from trainer.engine.run import Run
from trainer.engine.step import EagerStep
from trainer.engine.train import train
from trainer.engine.view_maker import EagerViews, GraphedViews
from trainer.methods.base import StepOutput
from trainer.schema.events import Ended, Event, Logged
from trainer.spec.job import JobSpec

Result = TypeVar("Result")
STEPS, BATCH, ROWS, SIDE_PX = 10, 16, 70, 16
GPU_STEPS = 20
NOT_PERMITTED = "operation not permitted when stream is capturing\nand a long trace"
TIMES = {"data_s", "step_s", "eval_s", "checkpoint_s", "rows_per_s", "memory_bytes"}
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class CallsAgain:
    """Like CUDA's: recording leaves all state as it was, a replay fills the recorded tensors."""

    def __init__(self, run: Run) -> None:
        self._run, self.replays, self.times_forgotten = run, 0, 0

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def recorded(self, work: Callable[[], Result]) -> tuple[Result, Replay]:
        state = list(collect(self._run.method, self._run.optimizer).values())
        before = [value.clone() for value in state]
        result = work()
        parameters = list(self._run.method.trainable_parameters().values())
        gradients = [parameter.grad for parameter in parameters]
        with torch.no_grad():
            for value, old in zip(state, before, strict=True):
                value.copy_(old)

        def replay() -> None:
            self.replays += 1
            again = work()
            if isinstance(result, StepOutput) and isinstance(again, StepOutput):
                fill(result, again)
                for gradient, parameter in zip(gradients, parameters, strict=True):
                    assert (gradient is None) == (parameter.grad is None)
                    if gradient is not None and parameter.grad is not None:
                        gradient.copy_(parameter.grad)

        return result, replay

    def forget(self) -> None:
        self.times_forgotten += 1


class Refuses(CallsAgain):
    """A device that cannot capture so much, or at all."""

    def __init__(self, run: Run, *, message: str = NOT_PERMITTED, after: int = 0) -> None:
        super().__init__(run)
        self._message, self._left = message, after

    def recorded(self, work: Callable[[], Result]) -> tuple[Result, Replay]:
        self._left -= 1
        if self._left >= 0:
            return super().recorded(work)
        raise RuntimeError(self._message)


def fill(paths: StepOutput, values: StepOutput) -> None:
    for place, value in zip(paths, values, strict=True):
        if isinstance(place, Tensor) and isinstance(value, Tensor) and place is not value:
            place.copy_(value)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    images, labels = blobs(ROWS, side_px=SIDE_PX, classes=3)
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b", "c"))
    return tmp_path / "pack"


def spec_of(**settings: object) -> JobSpec:
    words = {
        "dataset": "x",
        "epochs": 10,
        "batch_rows": BATCH,
        "encoder": {"name": "small"},
        "method": {"queue_rows": 64, "symmetric": True},
        "optim": {"lr": 0.05},
        "evaluation": None,
        "signals_every_steps": 3,
    }
    return JobSpec.model_validate(words | settings)


@contextmanager
def opened(
    spec: JobSpec, pack: Path, out: str, device_config: DeviceConfig | None = None
) -> Iterator[Run]:
    paths = RunPaths(pack.parent / out, pack)
    with build_run(
        spec, paths, device_config=device_config or DeviceConfig(device="cpu", threads=1)
    ) as run:
        yield run


def capture(run: Run, tape: GraphRecorder) -> GraphedStep:
    eager = EagerStep(run.method, run.optimizer)
    run.step_executor = step_executor = GraphedStep(eager, tape, batch_rows=BATCH)
    return step_executor


def after(run: Run, steps: int) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """Signals on the way, and the state at the end."""
    events = [run.advance() for _ in range(steps)]
    signals = [
        {name: value for name, value in event.signals.items() if name not in TIMES}
        for event in events
        if event is not None
    ]
    state = collect(run.method, run.optimizer)
    return signals, {name: value.cpu().clone() for name, value in state.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items()
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"partial_batch": "keep"},
        {"method": {"queue_rows": 64, "bn": "plain"}, "optim": {"name": "adamw"}},
    ],
)
def test_replayed_steps_are_the_eager_ones_bit_for_bit(
    pack: Path, settings: dict[str, Any]
) -> None:
    """Compare learning rate, order of keys and negatives, with an incomplete batch too."""
    spec = spec_of(**settings)
    with opened(spec, pack, "eager") as run:
        expected = after(run, STEPS)
    with opened(spec, pack, "captured") as run:
        tape = CallsAgain(run)
        capture(run, tape)
        signals, state = after(run, STEPS)
        partial = STEPS // 5 if spec.partial_batch == "keep" else 0
        assert tape.replays == 2 * (STEPS - partial - WARM_UP_CALLS)
        assert run.fallback_warning() is None
    assert signals == expected[0]
    assert same(state, expected[1])


@pytest.mark.parametrize("optim", ["sgd", "adamw"])
def test_a_step_is_captured_anew_when_the_encoder_begins_to_learn(pack: Path, optim: str) -> None:
    """After an epoch of 4 steps in which the head learned alone."""
    spec = spec_of(kind="finetune", method={"freeze": 1}, optim={"name": optim})
    with opened(spec, pack, "eager") as run:
        expected = after(run, STEPS)
    with opened(spec, pack, "captured") as run:
        tape = CallsAgain(run)
        capture(run, tape)
        assert after(run, STEPS)[0] == expected[0]
        assert same(collect(run.method, run.optimizer), expected[1])
    assert tape.replays == 2 * (STEPS - 2 * WARM_UP_CALLS)
    assert tape.times_forgotten == 1


def test_nothing_that_a_graph_holds_on_to_is_bound_anew(pack: Path) -> None:
    """Parameters, buffers, gradients and the optimizer's state stay where they are."""
    with opened(spec_of(), pack, "out") as run:
        capture(run, CallsAgain(run))
        after(run, WARM_UP_CALLS + 1)
        paths = [value.data_ptr() for value in held(run)]
        after(run, 3)
        assert [value.data_ptr() for value in held(run)] == paths


def held(run: Run) -> list[Tensor]:
    parameters = run.method.trainable_parameters().values()
    gradients = [value.grad for value in parameters if value.grad is not None]
    assert len(gradients) == len(parameters)
    return [*collect(run.method, run.optimizer).values(), *gradients]


class CallsViewsAgain:
    """The same for views, which have no state."""

    replays = 0

    def forget(self) -> None: ...

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def recorded(self, work: Callable[[], Result]) -> tuple[Result, Replay]:
        result: Any = work()

        def replay() -> None:
            self.replays += 1
            again: Any = work()
            for place, value in zip(result, again, strict=True):
                place.pixels.copy_(value.pixels)

        return result, replay


@pytest.mark.parametrize("sizes", ["same", "many"])
def test_replayed_views_are_the_eager_ones_bit_for_bit(pack: Path, sizes: str) -> None:
    """Through two epochs; a batch of another shape runs without the graph."""
    if sizes == "many":
        images, _ = blobs(ROWS, side_px=SIDE_PX, classes=3)
        pack = pack.parent / "many"
        write_pack(pack, [image[: SIDE_PX - row // 60] for row, image in enumerate(images)])
    spec = spec_of(signals_every_steps=100, partial_batch="keep")
    with opened(spec, pack, "eager") as run:
        expected = after(run, STEPS)[1]
    with opened(spec, pack, "captured") as run:
        assert isinstance(run.batches.make_views, EagerViews)
        tape = CallsViewsAgain()
        run.batches.make_views = GraphedViews(run.batches.make_views, tape, batch_rows=BATCH)
        assert same(after(run, STEPS)[1], expected)
        assert tape.replays == STEPS - STEPS // 5 - WARM_UP_CALLS
        assert run.fallback_warning() is None


def test_a_partial_batch_is_never_the_one_that_is_captured(pack: Path) -> None:
    """The fourth batch of 70 rows, 20 a batch, is partial: all whole ones are replayed."""
    spec = spec_of(batch_rows=20, signals_every_steps=100, partial_batch="keep")
    with opened(spec, pack, "captured") as run:
        assert isinstance(run.batches.make_views, EagerViews)
        tape = CallsViewsAgain()
        run.batches.make_views = GraphedViews(run.batches.make_views, tape, batch_rows=20)
        after(run, 12)
        assert tape.replays == 9 - WARM_UP_CALLS


def test_views_that_cannot_be_captured_are_made_without(pack: Path) -> None:
    with opened(spec_of(), pack, "eager") as run:
        expected = after(run, 6)[1]
    with opened(spec_of(), pack, "refused") as run:
        assert isinstance(run.batches.make_views, EagerViews)
        run.batches.make_views = GraphedViews(
            run.batches.make_views, Refuses(run), batch_rows=BATCH
        )
        assert same(after(run, 6)[1], expected)
        assert run.fallback_warning() is not None


def test_a_device_that_cannot_capture_goes_on_without_and_says_so_once(pack: Path) -> None:
    with opened(spec_of(), pack, "eager") as run:
        expected = after(run, 6)
        assert run.fallback_warning() is None
    with opened(spec_of(), pack, "refused") as run:
        capture(run, Refuses(run))
        assert same(after(run, 6)[1], expected[1])
        said = run.fallback_warning()
        assert said is not None
        assert said.level == "warning"
        assert said.message == (
            "Steps run without a CUDA graph, more slowly: "
            "operation not permitted when stream is capturing"
        )
        assert run.fallback_warning() is None


@pytest.mark.parametrize("graphs", [0, 1], ids=["gradient", "update"])
def test_a_graph_that_does_not_fit_is_dropped_and_steps_go_on(pack: Path, graphs: int) -> None:
    """The same steps ran without a graph before, so the memory is enough for them."""
    with opened(spec_of(), pack, "eager") as run:
        expected = after(run, 6)
    with opened(spec_of(), pack, "refused") as run:
        recorder = Refuses(run, message="CUDA out of memory. Tried 2.00 GiB", after=graphs)
        capture(run, recorder)
        assert same(after(run, 6)[1], expected[1])
        said = run.fallback_warning()
        assert said is not None
        assert said.message == (
            "Steps run without a CUDA graph, more slowly: only the graph did not fit in the "
            "memory (CUDA out of memory. Tried 2.00 GiB)"
        )
        assert recorder.times_forgotten == 1


def test_a_device_that_breaks_during_a_capture_ends_the_run(pack: Path) -> None:
    with opened(spec_of(), pack, "broken") as run:
        capture(run, Refuses(run, message="CUDA error: an illegal memory access was encountered"))
        after(run, WARM_UP_CALLS)
        with pytest.raises(RuntimeError, match="illegal memory access"):
            run.advance()


def test_the_complaint_reaches_the_user(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EagerStep, "fallback_reason", "no graph today")
    events: list[Event] = []
    ended = train(
        spec_of(epochs=1),
        RunPaths(pack.parent / "out", pack),
        device_config=DeviceConfig(device="cpu", threads=1),
        emit=events.append,
        should_stop=lambda: len(events) > 4,
    )
    assert isinstance(ended, Ended)
    said = [event.message for event in events if isinstance(event, Logged)]
    assert said == ["Steps run without a CUDA graph, more slowly: no graph today"]


def test_what_the_device_warns_of_reaches_the_user(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulated = _Arithmetic(bf16=False, warning="This card only emulates bf16.")
    monkeypatch.setattr(device, "_arithmetic", lambda *_: emulated)
    events: list[Event] = []
    train(
        spec_of(epochs=1),
        RunPaths(pack.parent / "out", pack),
        device_config=DeviceConfig(device="cpu", threads=1),
        emit=events.append,
        should_stop=lambda: True,
    )
    said = [(event.level, event.message) for event in events if isinstance(event, Logged)]
    assert said == [("warning", "This card only emulates bf16.")]


def test_a_cpu_is_never_asked_for_a_graph(pack: Path) -> None:
    with opened(spec_of(), pack, "out") as run:
        assert type(run.step_executor) is EagerStep
        assert type(run.batches.make_views) is EagerViews


@gpu
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("optim", [{"lr": 0.05}, {"name": "adamw"}])
def test_captured_steps_on_a_gpu_equal_eager_ones(
    pack: Path, optim: dict[str, Any], fused: bool
) -> None:
    spec, found = spec_of(optim=optim), []
    for graphs in (False, True):
        device_config = DeviceConfig(device="cuda", graphs=graphs, fused_kernels=fused)
        with opened(spec, pack, f"graphs-{graphs}", device_config) as run:
            if run.context.fused_problem:
                pytest.skip(run.context.fused_problem)
            found.append(after(run, GPU_STEPS))
            assert isinstance(run.step_executor, GraphedStep) == graphs
            assert isinstance(run.batches.make_views, GraphedViews) == graphs
            assert run.fallback_warning() is None
    assert found[0][0] == found[1][0]
    assert same(found[0][1], found[1][1])


@gpu
@pytest.mark.parametrize("graphs", [False, True])
def test_no_step_waits_for_the_gpu(pack: Path, graphs: bool) -> None:
    spec = spec_of(signals_every_steps=100)
    with opened(spec, pack, "out", DeviceConfig(device="cuda", graphs=graphs)) as run:
        after(run, WARM_UP_CALLS + 2)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(5):
                run.advance()
        finally:
            torch.cuda.set_sync_debug_mode("default")
