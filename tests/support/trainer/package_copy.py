"""Copies of our packages with a member added, and the trainer run in them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[3]


def copy_packages(root: Path, *packages: str) -> Path:
    """Copy packages into a folder below `root` and return the folder."""
    copy = root / "src"
    for package in packages:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / package, copy / package, ignore=ignore)
    return copy


def add_member(folder: Path, files: Mapping[str, str], *lines: tuple[str, str]) -> None:
    """Write new files into a folder of a copy, and replace (old, new) text in its registry.py."""
    for name, text in files.items():
        path = folder / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    registry = folder / "registry.py"
    text = registry.read_text()
    for old, new in lines:
        assert text.count(old) == 1, f"{old!r} must be in {registry} once"
        text = text.replace(old, new)
    registry.write_text(text)


def run_python(copy: Path, *words: str, failpoints: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python in a copy, so that its packages are imported instead of ours."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=copy,
        env=os.environ | {"MOCO_FAILPOINTS": failpoints},
        capture_output=True,
        text=True,
        check=False,
    )


def evaluate(copy: Path, code: str, *args: str) -> Any:  # noqa: ANN401  # any JSON
    """Run code in a copy and return the JSON that it prints."""
    process = run_python(copy, "-c", code, *args)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def try_to_train(
    copy: Path, spec: dict[str, Any], out: Path, *, failpoints: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a copy's trainer, however it ends."""
    path = copy / "spec.json"
    path.write_text(json.dumps(spec))
    words = ("-m", "trainer", str(path), "--out", str(out), "--threads", "1")
    return run_python(copy, *words, failpoints=failpoints)


def train(copy: Path, spec: dict[str, Any], out: Path) -> str:
    """Run a copy's trainer to its end and return what it printed."""
    process = try_to_train(copy, spec, out)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def metric_lines(out: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
