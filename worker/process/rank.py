"""Rank of a gang: its ties to the agent that started it. Loads no torch."""

import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from trainer.schema.base import Record
from trainer.schema.events import Ended, Event
from trainer.util.parent_death import die_with
from worker.process.event_pipe import Emitter, listen

AGENT_PID, EVENTS, CONTROL = "MOCO_AGENT_PID", "MOCO_AGENT_EVENTS", "MOCO_AGENT_CONTROL"


class RankFailure(Record):
    """Failure that a rank tells its agent."""

    ended: Ended
    at_s: float
    """Wall-clock time: the earliest failure of a gang is most likely the cause of the others."""


def agent_environment(*, events: int, control: int) -> dict[str, str]:
    """Return the variables by which ranks find this process, their agent, and its open pipes."""
    files = f"/proc/{os.getpid()}/fd"
    return {
        AGENT_PID: str(os.getpid()),
        EVENTS: f"{files}/{events}",
        CONTROL: f"{files}/{control}",
    }


def join_agent() -> None:
    """End this rank with its agent, and at once on SIGTERM. Call it before anything that lasts.

    The agent makes a session for each rank, so that no signal for the agent's group reaches it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with(int(os.environ[AGENT_PID]))


def emitter() -> Callable[[Event], None]:
    """Return the function that sends events to the supervisor; ranks but the first send none."""
    if os.environ["RANK"] != "0":
        return lambda _event: None
    return Emitter(os.open(os.environ[EVENTS], os.O_WRONLY | os.O_CLOEXEC))


def stop_event() -> threading.Event:
    """Return an event that is set on the stop command; a node's first rank alone is told."""
    if os.environ["LOCAL_RANK"] != "0":
        return threading.Event()
    return listen(os.open(os.environ[CONTROL], os.O_RDONLY | os.O_CLOEXEC))


def report_failure(ended: Ended) -> None:
    """Write the file that torchrun names for a rank's error; call it in the handler of the error.

    `message` is what torchrun reads, `failure` what the agent reads.
    """
    now_s = time.time()
    stack = {"py_callstack": traceback.format_exc(), "timestamp": str(int(now_s))}
    error = {
        "message": {"message": ended.message, "extraInfo": stack},
        "failure": RankFailure(ended=ended, at_s=now_s).model_dump(mode="json"),
    }
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(error))
