"""`python -m trainer` as a person uses it: from a folder of images, killed and started again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.data.tiny_pack import blobs
from trainer.__main__ import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    images, labels = blobs(60, side_px=12, classes=2)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "images" / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    path = tmp_path / "spec.json"
    words = {
        "dataset": str(tmp_path / "images"),
        "epochs": 6,
        "batch_rows": 8,
        "encoder": {"name": "small"},
        "method": {"queue_rows": 20, "dim": 16},
        "checkpoint_every_steps": 3,
        "signals_every_steps": 10,
    }
    path.write_text(json.dumps(words))
    return path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "trainer", *words]


def start(spec: Path, out: Path) -> subprocess.Popen[str]:
    words = command(str(spec), "--out", str(out), "--threads", "1")
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def run_here(spec: Path, out: Path) -> int:
    """Run in this process, which has loaded torch already."""
    return main([str(spec), "--out", str(out), "--threads", "1"])


def test_a_killed_run_ends_in_the_same_files(
    spec: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL after the second checkpoint, SIGTERM after two more, then to the end."""
    assert run_here(spec, tmp_path / "whole") == 0
    assert "knn_top1" in capfd.readouterr().out
    for blow, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 101)):
        cut = start(spec, tmp_path / "cut")
        assert cut.stdout is not None
        saved = 0
        for line in cut.stdout:
            saved += line.startswith("checkpointed")
            if saved == 2:
                break
        cut.send_signal(blow)
        _, errors = cut.communicate(timeout=200)
        assert cut.returncode == code, errors
        assert "Traceback" not in errors
    assert run_here(spec, tmp_path / "cut") == 0
    assert "Resuming from the checkpoint" in capfd.readouterr().out
    sums = [(tmp_path / name / "artifacts/SHA256SUMS").read_text() for name in ("whole", "cut")]
    assert sums[0] == sums[1]
    result = json.loads((tmp_path / "cut/result.json").read_text())
    assert (result["outcome"], result["step"]) == ("succeeded", 42)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "spec: Invalid JSON"),
        ('{"dataset": "x", "epoch": 3}', ": epoch: Unknown field\n"),
        (
            '{"dataset": "x", "method": {"name": "moco", "queue": 1}, "bar": 2}',
            ": method.queue: Unknown field; bar: Unknown field\n",
        ),
        ('{"dataset": "x", "evaluation": [{"k": 5}, {"k": 9}]}', ": evaluation: knn is listed"),
        ('{"dataset": "x", "epochs": 0}', "epochs: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_spec_is_named_and_exits_2(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main([str(path), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ingest_alone_makes_a_pack_and_trouble_ends_with_a_sentence(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ingest", str(spec.parent / "images"), "--out", str(tmp_path / "p")]) == 0
    assert (tmp_path / "p" / "pack" / "pack.json").is_file()
    assert main(["ingest", str(tmp_path / "nowhere"), "--out", str(tmp_path / "q")]) == 1
    assert "nowhere" in capsys.readouterr().out
