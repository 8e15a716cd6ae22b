"""Every outcome of a run is recorded in one file and one event."""

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainer.engine import outcome
from trainer.engine.outcome import run_and_record_outcome
from trainer.schema.errors import DatasetMissing, DivergedError, StorageError
from trainer.schema.events import Ended, Event


def raising(error: Exception) -> Callable[[], Ended]:
    def work() -> Ended:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DivergedError("The loss is nan at step 7.", step=7), "nonfinite_loss", "step 7"),
        (DatasetMissing("the pack is gone"), "dataset_missing", "the pack is gone"),
        (StorageError("x"), "storage", "x"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "oom", "CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "oom", "not enough"),
        (MemoryError(), "oom", "out of memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "storage", "No space left"),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "storage", "too large"),
        (PermissionError(errno.EACCES, "denied"), "internal", "denied"),
        (ZeroDivisionError("by zero"), "internal", "ZeroDivisionError: by zero"),
    ],
)
def test_an_error_becomes_its_code_and_a_next_step(
    error: Exception, code: str, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    with caplog.at_level(logging.ERROR):
        ended = run_and_record_outcome(raising(error), out=tmp_path / "new", emit=events.append)
    assert (ended.outcome, ended.code) == ("failed", code)
    assert words in ended.message
    assert "Traceback" not in ended.message
    assert ended.hint
    assert events == [ended]
    assert Ended.model_validate(json.loads((tmp_path / "new/result.json").read_text())) == ended
    assert any(record.exc_info for record in caplog.records)


def test_a_good_end_replaces_an_older_result(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    done = Ended(outcome="succeeded", step=3)
    assert run_and_record_outcome(lambda: done, out=tmp_path, emit=lambda _: None) == done
    assert json.loads((tmp_path / "result.json").read_text())["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_result_that_cannot_be_written_is_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise StorageError("full")

    monkeypatch.setattr(outcome, "replace_file", full)
    events: list[Event] = []
    done = Ended(outcome="succeeded")
    with caplog.at_level(logging.ERROR):
        run_and_record_outcome(lambda: done, out=tmp_path, emit=events.append)
    assert events == [done]
    assert "result.json could not be written" in caplog.text
