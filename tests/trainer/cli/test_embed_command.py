"""`python -m trainer embed` that fails: the same causes as those of a job, never a traceback."""

import json
from pathlib import Path

import pytest
import torch

from trainer.cli import embed_command

OF_ALLOCATOR = "CUDA out of memory. Tried to allocate 2.00 GiB. If reserved but unallocated x"
OF_DRIVER = "CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be"


def failing_with(error: Exception, patch: pytest.MonkeyPatch) -> None:
    def embed(*_: object, **__: object) -> None:
        raise error

    patch.setattr(embed_command, "embed", embed)


def run(tmp_path: Path, *more: str) -> tuple[int, list[str], list[str]]:
    """Return the exit code, the result and all other output."""
    data: list[str] = []
    talk: list[str] = []
    words = ["encoder", "images", "-o", str(tmp_path / "out.parquet"), *more]
    return embed_command.run(words, data=data.append, talk=talk.append), data, talk


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (torch.OutOfMemoryError(OF_ALLOCATOR), "oom", "Tried to allocate 2.00 GiB"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "oom", "ALLOC_FAILED"),
        (MemoryError(), "oom", "out of memory"),
        (RuntimeError(OF_DRIVER), "device", "uncorrectable ECC error"),
    ],
)
def test_a_device_that_fails_is_told_with_a_next_step(
    error: Exception, code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_with(error, monkeypatch)
    status, (result,), talk = run(tmp_path, "--json")
    problem = json.loads(result)
    assert (status, problem["object"], problem["code"]) == (1, "error", code)
    assert words in problem["title"]
    assert "--device cpu" in problem["hint"]
    assert not talk
    status, data, (told,) = run(tmp_path)
    assert (status, data) == (1, [])
    assert told == f"error: {problem['title']}\n  next: {problem['hint']}"


def test_a_defect_keeps_its_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_with(ZeroDivisionError("by zero"), monkeypatch)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path)
