"""A gang of real processes without tensors: a child that a forkserver forks, and its ranks.

Ranks meet in the attempt's folder: each step, all leave a file and wait for those of the others.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.schema.events import Ended, Event, Logged, Stepped
from worker.process import rank
from worker.process.child_request import RESULT_FILE, ChildRequest
from worker.process.rank import emitter, join_agent, report_failure, stop_event

ROOT = Path(rank.__file__).parents[2]
"""Folder of the package under test: ranks are programs of their own, and must import the same."""
STEP_S = 0.02
PATIENCE_S = 60.0


def run(values: dict[str, Any], events: int, control: int) -> None:
    """Run the ranks that a request asks for; `pack` names their habit."""
    from worker.process.gang import run_ranks

    request = ChildRequest.from_json(values)
    assert request.gang
    os.chdir(ROOT)
    command = [sys.executable, "-m", "tests.support.worker.fake_gang", json.dumps(values)]
    run_ranks(request, request.gang, events=events, control=control, command=command)


def rank_main(values: dict[str, Any]) -> int:
    """Be one rank with the habit that the request names."""
    join_agent()
    request = ChildRequest.from_json(values)
    rank, out = int(os.environ["RANK"]), request.folder
    (out / f"pid{rank}").write_text(str(os.getpid()))
    emit, stop = emitter(), stop_event()
    try:
        step = _steps(request.pack, rank, out, emit, stop)
    except RuntimeError as error:
        code = "oom" if rank == 1 else "internal"
        report_failure(Ended(outcome="failed", code=code, message=str(error)))
        return 1
    ended = Ended(outcome="stopped", code="stopped", step=step)
    (out / f"last{rank}").write_text(str(step))
    if rank == 0:
        (out / RESULT_FILE).write_text(ended.model_dump_json())
    emit(ended)
    return 0


def _steps(
    habit: str, rank: int, out: Path, emit: Callable[[Event], None], stop: threading.Event
) -> int:
    emit(Logged(message=json.dumps({name: os.environ.get(name) for name in SHOWN})))
    step = 0
    while True:
        step += 1
        if habit == "fails" and rank == 1 and step == 3:
            raise RuntimeError("rank 1 has no memory left")
        if habit == "dies" and rank == 1 and step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if habit == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stopping = _gather(out, step, rank, "stop" if stop.is_set() else "go")
        emit(Stepped(step=step, epoch=step / 10, signals={"loss": 1.0 / step}))
        if "stop" in stopping:
            return step
        time.sleep(STEP_S)


def _gather(out: Path, step: int, rank: int, word: str) -> list[str]:
    """Return the words of all ranks at a step. Raises RuntimeError if one stays away."""
    ranks = int(os.environ["WORLD_SIZE"])
    (out / f"{step}.{rank}.part").write_text(word)
    (out / f"{step}.{rank}.part").rename(out / f"{step}.{rank}")
    deadline_s = time.monotonic() + PATIENCE_S
    files = [out / f"{step}.{other}" for other in range(ranks)]
    while not all(file.exists() for file in files):
        if time.monotonic() > deadline_s:
            raise RuntimeError("a peer is gone")
        time.sleep(0.002)
    return [file.read_text() for file in files]


SHOWN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "CUDA_VISIBLE_DEVICES")


if __name__ == "__main__":
    sys.exit(rank_main(json.loads(sys.argv[1])))
