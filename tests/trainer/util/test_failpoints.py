"""Failpoints do what they say, where they say, and nothing at all when they are off."""

import ast
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.util.failpoints import FAILPOINTS, LOG, SEED, SETTING, BadFailpoints, failpoint, parse

REPO = Path(__file__).resolve().parents[3]
HERE = "train.step"


def run_here(monkeypatch: pytest.MonkeyPatch, setting: str, times: int) -> list[int]:
    """Come by `times` times; the visits at which it failed."""
    monkeypatch.setenv(SETTING, setting)
    failed = []
    for visit in range(1, times + 1):
        try:
            failpoint(HERE)
        except OSError:
            failed.append(visit)
    return failed


def test_off_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_here(monkeypatch, "", 3) == []


@pytest.mark.parametrize(
    ("setting", "failed"),
    [
        ("train.step=raise@2", [2]),
        ("train.*=raise@3", [3]),
        ("*=raise@1", [1]),
        ("train.step=raise", [1, 2, 3, 4]),
        ("train.step=raise*2", [1, 2]),
        ("train.stepped=raise", []),
        ("train.step=raise%0", []),
        ("train.step=raise%1", [1, 2, 3, 4]),
        ("train.step=raise@2; train.step=raise@4", [2, 4]),
    ],
)
def test_when_it_happens(monkeypatch: pytest.MonkeyPatch, setting: str, failed: list[int]) -> None:
    # A plan is remembered by its text, and each case must begin anew.
    assert (
        run_here(monkeypatch, f"{setting}; evaluation.done=delay({len(failed) + 1})", 4) == failed
    )


def test_the_error_is_the_one_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "train.step=raise(ENOSPC)")
    with pytest.raises(OSError, match=r"No space left .*failpoint train\.step"):
        failpoint(HERE)


def test_a_delay_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "train.step=delay(0.05)")
    began_s = time.monotonic()
    failpoint(HERE)
    assert time.monotonic() - began_s >= 0.05


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_ends_the_process_at_that_place(number: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "faults.jsonl"
    done = _visits(f"train.step={number.name}@2", log=log)
    assert (done.returncode, done.stdout.split()) == (-number, ["1"])
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["name"], line["action"]) == (HERE, number.name)


def test_a_stopped_process_goes_on_when_it_is_continued(tmp_path: Path) -> None:
    with subprocess.Popen(
        _command(),
        env=_environment("train.step=SIGSTOP@2", tmp_path / "log"),
        stdout=subprocess.PIPE,
    ) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=20)
    assert out.split() == [b"1", b"2", b"3"]


def test_a_thread_stops_at_that_place(tmp_path: Path) -> None:
    """Its process has nothing printed after it, though another thread is the main one."""
    code = (
        "import threading\n"
        "from trainer.util.failpoints import failpoint\n"
        "def work():\n"
        f"    failpoint({HERE!r})\n"
        "    print('on', flush=True)\n"
        "threading.Thread(target=work).start()\n"
    )
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env=_environment("train.step=SIGSTOP@1", tmp_path / "log"),
            stdout=subprocess.PIPE,
        ) as process:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            assert process.stdout is not None
            assert not select.select([process.stdout], [], [], 0)[0]
            process.send_signal(signal.SIGCONT)
            assert process.communicate(timeout=20)[0].split() == [b"on"]


def test_times_are_counted_over_processes_that_share_a_log(tmp_path: Path) -> None:
    log = tmp_path / "faults.jsonl"
    ends = [_visits("train.step=SIGKILL@2*2", log=log).returncode for _ in range(4)]
    assert ends == [-9, -9, 0, 0]


def test_chances_are_the_same_for_the_same_seed_and_near_their_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SEED, "7")
    first = run_here(monkeypatch, "train.step=raise%0.25", 2000)
    again = run_here(monkeypatch, " train.step=raise%0.25", 2000)
    assert first == again
    assert 400 < len(first) < 600


@pytest.mark.parametrize(
    "setting",
    [
        "train.step",
        "train.step=SIGHUP",
        "nowhere.at_all=SIGKILL",
        "train.step=raise(ENOTHING)",
        "train.step=delay",
        "train.step=delay(-1)",
        "train.step=delay(1e9)",
        "train.step=SIGKILL@0",
        "train.step=SIGKILL%2",
        "train.step=SIGKILL(3)",
    ],
)
def test_a_setting_that_means_nothing_is_refused_with_its_text(setting: str) -> None:
    with pytest.raises(BadFailpoints, match=r"MOCO_FAILPOINTS: "):
        parse(setting)


def test_every_failpoint_of_the_table_is_in_the_product_and_the_other_way_round() -> None:
    reached: set[str] = set()
    for package in ("trainer", "service", "worker"):
        for path in (REPO / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoint":
                    (argument,) = node.args
                    if isinstance(argument, ast.Constant):
                        reached.add(str(argument.value))
    assert reached == set(FAILPOINTS)


def _command() -> list[str]:
    code = (
        "from trainer.util.failpoints import failpoint\n"
        "for visit in (1, 2, 3):\n"
        f"    failpoint({HERE!r})\n"
        "    print(visit, flush=True)\n"
    )
    return [sys.executable, "-c", code]


def _environment(setting: str, log: Path) -> dict[str, str]:
    return {**os.environ, SETTING: setting, LOG: str(log), "PYTHONPATH": str(REPO)}


def _visits(setting: str, *, log: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        _command(), env=_environment(setting, log), capture_output=True, text=True, check=False
    )
