"""`python -m worker` whose children train nothing: each writes down what it sees, and waits.

`tests.support.gpus.fake_nvml.environment` gives it GPUs.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from trainer.schema.events import Ended, FileRecord, Published, Started
from trainer.util.atomic_files import write_synced
from worker import __main__ as main_module
from worker.process.event_pipe import Emitter, listen

SEES, DONE, BROKEN = "sees.json", "done", "broken"
"""Files in the folder of an attempt. A child writes the first; a test makes others to end it."""


def run(request: dict[str, Any], events: int, control: int) -> None:
    """Be a child of the forkserver."""
    stop, emit, out = listen(control), Emitter(events), Path(request["out"])
    sees = {
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "order": os.environ.get("CUDA_DEVICE_ORDER"),
        "device": request["device"],
        "threads": request["threads"],
        "pid": os.getpid(),
    }
    (out / "sees.tmp").write_text(json.dumps(sees))
    (out / "sees.tmp").replace(out / SEES)
    emit(Started(step=0, steps_planned=1, steps_per_epoch=1, rows=8, device=request["device"]))
    while not (stop.is_set() or (out / DONE).exists() or (out / BROKEN).exists()):
        stop.wait(0.02)
    ended = Ended(outcome="stopped", code="stopped", step=0)
    if (out / BROKEN).exists():
        ended = Ended(outcome="failed", code="device", message="Xid 79.")
    elif not stop.is_set():
        (out / "artifacts").mkdir()
        sha256 = write_synced(out / "artifacts" / "encoder", b"weights")
        file = FileRecord(name="encoder", size_bytes=7, sha256=sha256)
        emit(Published(folder="artifacts", files=(file,)))
        ended = Ended(outcome="succeeded", step=1)
    (out / "result.json").write_text(ended.model_dump_json())
    emit(ended)


def _main() -> int:
    main_module.ENTRY = f"{__spec__.name}:run"
    return main_module.main()


if __name__ == "__main__":
    sys.exit(_main())
