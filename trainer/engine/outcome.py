"""Run a job and record its outcome: a result file and an Ended event, never a traceback."""

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path

from trainer.accel.device_errors import first_line, is_broken_device, is_out_of_memory
from trainer.schema.errors import DeviceError, OutOfMemory, StorageError, TrainerError
from trainer.schema.events import Ended, Event
from trainer.util.atomic_files import FULL_DISK, replace_file
from trainer.util.failpoints import failpoint

RESULT = "result.json"
INTERNAL_HINT = "See the job's log for the trace, and report it together with the spec."

log = logging.getLogger(__name__)


def run_and_record_outcome(
    work: Callable[[], Ended], *, out: Path | None, emit: Callable[[Event], None]
) -> Ended:
    """Run the work, write the outcome to `out/result.json` atomically, and emit it.

    `out` None writes nothing: of several ranks the first one writes.
    Tracebacks go to the log only. An unexpected error has the code `internal`.
    """
    try:
        ended = work()
    except Exception as error:
        log.exception("The run failed.")
        ended = failed(error)
    if out is not None:
        _record(ended, out)
    emit(ended)
    return ended


def _record(ended: Ended, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        failpoint("result.pre_write")
        data = json.dumps(ended.model_dump(mode="json"), indent=1) + "\n"
        replace_file(out / RESULT, data.encode())
    except (OSError, StorageError):
        # The event still tells how it ended; the reader treats a missing file as a lost worker.
        log.exception("%s could not be written.", RESULT)


def failed(error: Exception) -> Ended:
    """An exception as the end of a run."""
    trainer_error = known_error(error)
    if trainer_error is None:
        message = f"{type(error).__name__}: {error}"[:500]
        return Ended(outcome="failed", code="internal", message=message, hint=INTERNAL_HINT)
    step = getattr(trainer_error, "step", 0)
    return Ended(
        outcome="failed",
        code=trainer_error.code,
        message=trainer_error.detail,
        hint=trainer_error.next_step,
        step=step,
    )


def known_error(error: Exception) -> TrainerError | None:
    """Return an exception by its cause, such as out of memory; None if it has none of ours."""
    if isinstance(error, TrainerError):
        return error
    if is_out_of_memory(error):
        return OutOfMemory(f"The device ran out of memory: {first_line(error)}.")
    if is_broken_device(error):
        return DeviceError(f"The GPU failed: {first_line(error)}.")
    if isinstance(error, OSError) and (error.errno in FULL_DISK or error.errno == errno.EIO):
        return StorageError(f"A file could not be written: {error.strerror}.")
    return None
