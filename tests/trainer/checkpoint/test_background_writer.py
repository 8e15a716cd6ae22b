"""One thread behind, its errors in front; a snapshot that never grows."""

import logging
import threading
from collections.abc import Callable
from functools import partial

import pytest
import torch

from tests.support.pretend_gpu.cuda import pretend_gpu
from trainer.checkpoint.background_writer import BackgroundWriter
from trainer.checkpoint.snapshot import Snapshot


def begin_and_leave(work: Callable[[], None], error: BaseException) -> None:
    with BackgroundWriter("t") as behind:
        behind.start(work)
        raise error


def test_never_two_at_once_and_in_order() -> None:
    running, most, done = 0, 0, []
    lock = threading.Lock()

    def work(number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        done.append(number)
        with lock:
            running -= 1

    with BackgroundWriter("t") as behind:
        for number in range(20):
            behind.start(partial(work, number))
    assert (most, done) == (1, list(range(20)))


def test_an_error_is_raised_once_by_whoever_asks_next() -> None:
    def fail() -> None:
        raise OSError("broken")

    with BackgroundWriter("t") as behind:
        behind.check()
        behind.start(fail)
        with pytest.raises(OSError, match="broken"):
            behind.wait()
        behind.check()
        behind.start(fail)
        with pytest.raises(OSError, match="broken"):
            behind.start(lambda: None)
        assert not behind.is_busy


def test_an_error_that_nobody_asked_for_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("broken")

    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match="first"):
        begin_and_leave(fail, ValueError("first"))
    assert "broken" in caplog.text


@pytest.mark.parametrize("leaving", [ValueError, SystemExit])
def test_an_error_waits_for_the_work_and_a_signal_does_not(leaving: type[BaseException]) -> None:
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        assert may_end.wait(30.0)
        ended.set()

    if leaving is ValueError:
        threading.Timer(0.05, may_end.set).start()
    with pytest.raises(leaving):
        begin_and_leave(work, leaving())
    assert ended.is_set() == (leaving is ValueError)
    may_end.set()


def test_a_snapshot_stays_what_it_was_and_uses_its_memory_again() -> None:
    weights = torch.arange(24.0).reshape(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    state = {"w": weights, "n": torch.tensor(3)}
    snapshot = Snapshot(torch.device("cpu"))
    snapshot.take(state)
    before = {name: value.data_ptr() for name, value in snapshot.tensors().items()}
    weights.add_(1.0)
    held = snapshot.tensors()["w"]
    assert held.is_contiguous()
    assert torch.equal(held, torch.arange(24.0).reshape(2, 3, 2, 2))
    snapshot.take(state)
    assert {name: value.data_ptr() for name, value in snapshot.tensors().items()} == before
    assert torch.equal(snapshot.tensors()["w"], weights)
    snapshot.take({"w": torch.zeros(5), "other": torch.ones(1)})
    assert {name: value.shape for name, value in snapshot.tensors().items()} == {
        "w": (5,),
        "other": (1,),
    }


def test_a_snapshot_waits_for_the_copies_of_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The current device is another: its stream is idle, and an event there is past at once."""
    recorded: list[object] = []
    with pretend_gpu(devices=2):
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"of {device}")
        event: type[torch.cuda.Event] = torch.cuda.Event
        monkeypatch.setattr(event, "record", lambda _, stream=None: recorded.append(stream))
        Snapshot(torch.device("cuda:1")).take({"w": torch.zeros(5, device="cuda:1")})
        monkeypatch.undo()
    assert recorded == ["of cuda:1"]


def test_an_event_without_a_stream_is_refused_by_the_pretend_gpu() -> None:
    with pretend_gpu(), pytest.raises(RuntimeError, match="without naming its stream"):
        torch.cuda.Event().record()  # type: ignore[no-untyped-call]  # torch has no types here
