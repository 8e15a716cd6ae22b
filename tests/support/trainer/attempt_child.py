"""One attempt of training in a fork, with faults of its own, for the tests of cuts."""

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from trainer.engine.outcome import run_and_record_outcome
from trainer.engine.train import DeviceConfig, RunPaths, train
from trainer.spec.job import JobSpec
from trainer.util.failpoints import SETTING
from worker.process import child_main
from worker.process.event_pipe import Emitter, listen


def warm() -> None:
    """All imports, before any fork: here nothing is idle, so each fork would make them anew."""
    child_main.warm()
    for name in child_main.LATER:
        import_module(name)


def run(orders: dict[str, Any], events: int, control: int) -> None:
    """Run an attempt as `worker.process.child_main` does; `orders`: keywords of `Cuts.attempt`."""
    os.environ[SETTING] = orders["failpoints"]
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    out, stop, emit = Path(orders["out"]), listen(control), Emitter(events)
    paths = RunPaths(
        out=out,
        pack=Path(orders["pack"]),
        checkpoints=tuple(map(Path, orders["checkpoints"])),
        init=Path(orders["init"]) if orders["init"] else None,
    )
    spec = JobSpec.model_validate_json(json.dumps(orders["spec"]))
    device_config = DeviceConfig(device="cpu", threads=1, loader_threads=orders["loader_threads"])
    run_and_record_outcome(
        lambda: train(spec, paths, device_config=device_config, emit=emit, should_stop=stop.is_set),
        out=out,
        emit=emit,
    )
