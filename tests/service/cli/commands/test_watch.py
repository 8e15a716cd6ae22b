"""The chart, comparisons, and `moco watch` on a real terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mocoserve.models import Event, Job, Metrics
from service.cli.render.braille_chart import draw
from service.cli.render.job_tracker import JobTracker
from tests.support.client.moco_command import Moco, answer
from tests.support.service.api import KEY, RunningApi, claim, queued_job

# the chart


def dots(lines: list[str]) -> set[tuple[int, int]]:
    """(column, row) of every dot, read back from the letters."""
    bits = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]
    return {
        (2 * x + across, 4 * y + down)
        for y, line in enumerate(lines)
        for x, letter in enumerate(line.partition("│")[2])
        for bit, (across, down) in enumerate(bits)
        if ord(letter) - 0x2800 >> bit & 1
    }


def test_a_straight_line_is_drawn_straight() -> None:
    lines = draw({0: 0.0, 100: 1.0}, columns=30, rows=5)
    assert len(lines) == 6
    assert all(len(line) <= 30 for line in lines)
    found = dots(lines[:-1])
    across, down = 2 * 20 - 1, 4 * 5 - 1
    assert {(0, down), (across, 0)} <= found
    for x in range(across + 1):
        heights = [y for at, y in found if at == x]
        assert heights
        assert all(abs(y - (down - down * x / across)) <= 1.0 for y in heights)
    assert lines[0].strip().startswith("1 │")
    assert lines[4].strip().startswith("0 │")
    assert lines[-1].endswith("step 100")


def test_the_mark_is_a_dotted_line() -> None:
    lines = draw({step: 5.0 for step in range(0, 1000, 10)}, columns=40, rows=6, mark=7.0)
    assert "7" in lines[0].split("│")[0]
    found = dots(lines[:-1])
    assert {x for x, y in found if y == 0} == set(range(0, 60, 4))
    assert {x for x, y in found if y == 23} == set(range(60))
    flat = draw({0: 2.0, 10: 2.0}, columns=40, rows=3)
    assert len(flat) == 4


@pytest.mark.parametrize("curve", [{}, {5: 1.0}])
def test_too_little_is_not_drawn(curve: dict[int, float]) -> None:
    assert draw(curve, columns=40, rows=5) == []
    assert draw({0: 1.0, 5: 2.0}, columns=12, rows=5) == []


def test_the_curve_of_a_tracker() -> None:
    tracker = JobTracker(Job(id="job_1", status="running"))
    body = {"type": "stepped", "step": 20, "epoch": 1.0}
    signals = {"loss": 5.0, "chance_loss": 6.93, "negatives_fill_ratio": 0.25}
    tracker.feed(Event(id="1-0", event={**body, "signals": signals}), now_s=0.0)
    tracker.feed(Event(id="2-0", event={**body, "signals": {"loss": float("nan")}}), now_s=0.0)
    past = {"loss": {"step": [10, 20], "value": [4.0, 4.5]}}
    tracker.recall(Metrics.model_validate({"job_id": "job_1", "series": past}))
    assert tracker.losses == {10: 4.0, 20: 5.0}
    assert tracker.title() == "loss; dots: chance, 6.93; it rises while the queue fills (25%)"


# on a terminal


class Terminal:
    """A command on a pseudo terminal of 100 x 40 letters."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        self.text = ""
        master, slave = pty.openpty()
        # What ignores SIGINT hands that down; a handler of ours becomes the default again.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", *arguments],
                env={**os.environ, **env, "COLUMNS": "100", "LINES": "40", "TERM": "xterm"},
                stdin=slave,
                stdout=slave,
                stderr=slave,
            )
        finally:
            signal.signal(signal.SIGINT, before)
        os.close(slave)
        self._master = master
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65_536)
            except OSError:
                return
            self.text += data.decode("utf-8", "replace")

    def until(self, words: str, timeout_s: float = 60.0) -> None:
        end_s = time.monotonic() + timeout_s
        while words not in self.text:
            assert time.monotonic() < end_s, self.text[-2000:]
            time.sleep(0.05)

    def end(self) -> int:
        code = self.process.wait(60)
        self._reader.join(10)
        os.close(self._master)
        return code


def test_watch_on_a_terminal_shows_a_bar_and_a_chart_and_ctrl_c_detaches(
    api: RunningApi, tmp_path: Path
) -> None:
    job = queued_job(api.store)
    store = api.store
    lease = claim(store, store.jobs.get(job).pool)
    events = [{"type": "started", "step": 0, "steps_planned": 400, "steps_per_epoch": 100}]
    events += [
        {
            "type": "stepped",
            "step": step,
            "epoch": step / 100,
            "signals": {"loss": 7.0 - step / 100, "chance_loss": 6.9, "top1": 0.25},
        }
        for step in range(10, 210, 10)
    ]
    store.queue.append(lease, [json.dumps(event) for event in events], None)
    env = {"MOCO_URL": api.url, "MOCO_API_KEY": KEY, "XDG_CONFIG_HOME": str(tmp_path)}
    env["PYTHONUTF8"] = "1"
    terminal = Terminal("watch", job, env=env)
    terminal.until("loss; dots: chance, 6.90")
    terminal.until("step 200")
    terminal.until("epoch 2.0")
    assert "⠒" in terminal.text or "⠤" in terminal.text
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.end() == 130
    assert f"moco watch {job}" in terminal.text
    assert "Traceback" not in terminal.text
    assert store.jobs.get(job).status in ("running", "queued")


# compare


def spec_job(api: RunningApi, name: str, **resolved: object) -> str:
    """A job that succeeded with these settings."""
    job = queued_job(api.store, name=name, resolved_json=json.dumps(resolved))
    lease = claim(api.store, api.store.jobs.get(job).pool)
    progress = {"step": 40, "steps": 40, "signals": {"loss": 2.25, name: 1.0}}
    api.store.queue.append(lease, [json.dumps({"type": "logged", "message": "x"})], progress)
    api.store.queue.complete(lease, artifacts=(), artifacts_folder="none")
    return job


def test_compare(moco: Moco, api: RunningApi) -> None:
    one = spec_job(api, "one", epochs=5, optim={"name": "sgd", "lr": 0.06}, seed=1)
    two = spec_job(api, "two", epochs=5, optim={"name": "sgd", "lr": 0.03})
    three = queued_job(api.store, resolved_json=json.dumps({"epochs": 5}))
    found = answer(moco("compare", one, two, "--json"))
    assert found["job_ids"] == [one, two]
    assert found["config"] == {"optim.lr": [0.06, 0.03], "seed": [1, None]}
    assert found["signals"] == {"loss": [2.25, 2.25], "one": [1.0, None], "two": [None, 1.0]}
    assert answer(moco("compare", one, two, "--json", "--all"))["config"]["epochs"] == [5, 5]
    shown = moco("compare", one, two, three).stdout
    assert all(word in shown for word in (one, three, "optim.lr", "0.03", "40 of 40", "queued"))
    assert "the same settings" in moco("compare", one, one).stderr
    assert moco("compare", one).exit_code == 2
    assert answer(moco("compare", "--json"))["job_ids"] == [two, three]
    assert moco("compare", one, "job_nothing").exit_code == 102
