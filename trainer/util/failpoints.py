"""Named places where a test can kill, stop, break or delay a process. Off unless set.

    MOCO_FAILPOINTS="checkpoint.pre_rename=SIGKILL@3; store.*=raise%0.01; publish.*=delay(0.2)*5"

Each entry is `NAME=ACTION[(ARGUMENT)]` and when: `@N` at the N-th time that a process comes there,
`%P` with probability P each time, otherwise always; `*TIMES` at most so often. A name may end in
`*`. Actions: `SIGKILL`, `SIGSTOP`, `SIGTERM` to this very process; `raise(ERRNO)`, an OSError of
that name, EIO if none is given; `delay(SECONDS)`.

`MOCO_FAILPOINTS_SEED` makes the draws of `%P` repeatable for each process id. With
`MOCO_FAILPOINTS_LOG=FILE` every fault is written there before it happens, one JSON line each, and
`*TIMES` counts over all processes that write to the same file; without it, in each process alone.

The counters are the one state of a module in this project: a place that is passed through in
every layer cannot be handed an object without the product carrying it for the sake of tests.
"""

import errno
import fcntl
import fnmatch
import functools
import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SETTING, SEED, LOG = "MOCO_FAILPOINTS", "MOCO_FAILPOINTS_SEED", "MOCO_FAILPOINTS_LOG"
DELAY_S_MAX: Final = 600.0

FAILPOINTS: Final = {
    # One step of training.
    "train.step": "before the forward pass of a step",
    "train.backward": "the gradients are there, the weights are the old ones",
    "train.stepped": "weights, key encoder and negatives are those of the next step",
    "evaluation.done": "the rows are classified, nothing is written down yet",
    # A checkpoint, in the order of its life.
    "checkpoint.copied": "the state is copied, nothing is on the disk",
    "checkpoint.mid_write": "one half of the state is written",
    "checkpoint.pre_fsync": "a file is written but not synced",
    "checkpoint.pre_manifest": "all files but the manifest are synced",
    "checkpoint.pre_rename": "everything is synced under the temporary name",
    "checkpoint.post_rename": "the checkpoint is visible, its folder is not synced",
    "checkpoint.pre_prune": "it is whole; older ones are still there",
    "checkpoint.loaded": "a checkpoint was loaded for resuming",
    # What people download.
    "publish.mid_write": "some artifacts are written",
    "publish.pre_rename": "all artifacts are synced under the temporary name",
    "publish.post_rename": "the artifacts are visible, their folder is not synced",
    "result.pre_write": "the run has ended, nothing says so yet",
    # Preparing a dataset.
    "ingest.mid_write": "some rows are in the pack",
    "ingest.pre_rename": "the pack is synced under the temporary name",
    # The worker, from lease to verdict.
    "worker.claimed": "the lease is ours, its folder is not there",
    "worker.prepared": "the folder of the attempt is there, no child",
    "worker.pre_renew": "before a renewal is sent",
    "worker.pre_append": "events were read from the child but not sent",
    "worker.pre_checkpoint": "a checkpoint is whole, the pointer has not moved",
    "worker.post_checkpoint": "the pointer has moved",
    "worker.pre_complete": "the artifacts are whole, the job still runs",
    "worker.post_complete": "the job has succeeded, left-overs are not tidied",
    "worker.pre_fail": "before a failure is reported",
    "worker.pre_release": "before the job is given back",
    # Any call of any process to Redis.
    "store.called": "before a call is sent",
    "store.replied": "the call took effect, its reply is not known",
    # The API.
    "api.pre_ledger": "a job is planned, nothing is written",
    "api.pre_submit": "the job is in its ledger, not in Redis",
    "api.post_submit": "the job is queued, the caller does not know",
    "api.pre_control": "a control is in the ledger, not in Redis",
    "api.post_control": "a control took effect, the caller does not know",
    "api.pre_delete": "before a job is forgotten",
    "api.post_delete": "a job is forgotten, its files are still there",
    "api.pre_dataset_rename": "a dataset's new name is in its ledger, not in Redis",
    "api.pre_dataset_delete": "the deletion of a dataset is in its ledger, not in Redis",
    "api.post_dataset_delete": "a dataset is forgotten, its files are still there",
    "upload.mid_write": "some bytes of an upload are written",
    "upload.pre_sync": "the bytes are written but not synced",
    "upload.pre_ingest": "the upload is whole, its ingest is not queued",
    "reconcile.mid": "some jobs are rebuilt from their ledgers",
}
"""Every place, and what is true there."""

_ENTRY: Final = re.compile(
    r"(?P<name>[\w.]+\*?|\*)=(?P<action>SIGKILL|SIGSTOP|SIGTERM|raise|delay)(?:\((?P<argument>[\w.]+)\))?"
    r"(?:@(?P<nth>[1-9]\d*)|%(?P<chance>0(?:\.\d+)?|1(?:\.0+)?))?(?:\*(?P<times>[1-9]\d*))?"
)


class BadFailpoints(ValueError):
    """Invalid `MOCO_FAILPOINTS`; the message names the part."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry: what happens where, and when."""

    text: str
    pattern: str
    action: str
    argument: str | None
    nth: int | None
    chance: float | None
    times: int | None


class Plan:
    """The faults of one process, and how often it came by."""

    def __init__(self, faults: tuple[Fault, ...], rng: random.Random, log: Path | None) -> None:
        self._faults, self._rng, self._log = faults, rng, log
        self._hits: Counter[Fault] = Counter()
        self._fired: Counter[str] = Counter()

    def reached(self, name: str) -> None:
        """Run the fault that is due at `name`."""
        here = [fault for fault in self._faults if fnmatch.fnmatchcase(name, fault.pattern)]
        self._hits.update(here)  # before the first of them may leave
        for fault in here:
            if self._is_due(fault) and self._note(fault, name):
                _act(fault, name)

    def _is_due(self, fault: Fault) -> bool:
        if fault.nth is not None:
            return self._hits[fault] == fault.nth
        return fault.chance is None or self._rng.random() < fault.chance

    def _note(self, fault: Fault, name: str) -> bool:
        """Write the fault down before it happens; False if it happened often enough."""
        if self._log is None:
            self._fired[fault.text] += 1
            return fault.times is None or self._fired[fault.text] <= fault.times
        line = {"at_s": time.time(), "pid": os.getpid(), "name": name, "action": fault.action}
        with self._log.open("a+") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            if fault.times is not None:
                log.seek(0)
                before = sum(json.loads(row)["fault"] == fault.text for row in log)
                if before >= fault.times:
                    return False
            log.write(json.dumps({**line, "fault": fault.text}) + "\n")
        return True


def failpoint(name: str) -> None:
    """Mark that the process is at `name`, one of FAILPOINTS. Costs one environment lookup.

    Raises OSError if the fault is an error, BadFailpoints if the setting is invalid.
    """
    text = os.environ.get(SETTING)
    if text:
        _plan(text, os.getpid()).reached(name)


def check() -> None:
    """Raise BadFailpoints if the setting is invalid. Every `main` calls it."""
    parse(os.environ.get(SETTING, ""))


def parse(text: str) -> tuple[Fault, ...]:
    """Return the faults of a setting. Raises BadFailpoints."""
    return tuple(_fault(part.strip()) for part in text.split(";") if part.strip())


@functools.lru_cache(maxsize=1)
def _plan(text: str, pid: int) -> Plan:
    """Return the plan of this process. A fork must not inherit it, so the process id is a key."""
    seed, log = os.environ.get(SEED), os.environ.get(LOG)
    rng = random.Random(None if seed is None else f"{seed}:{pid}")
    return Plan(parse(text), rng, Path(log) if log else None)


def _fault(text: str) -> Fault:
    match = _ENTRY.fullmatch(text)
    if match is None:
        raise BadFailpoints(f"{SETTING}: {text!r} is not NAME=ACTION[(ARGUMENT)][@N|%P][*TIMES].")
    name, action, argument = match["name"], match["action"], match["argument"]
    if not any(fnmatch.fnmatchcase(known_name, name) for known_name in FAILPOINTS):
        raise BadFailpoints(
            f"{SETTING}: there is no failpoint {name!r}; trainer/util/failpoints.py lists all."
        )
    if not _fits(action, argument):
        raise BadFailpoints(f"{SETTING}: {action} does not take {argument!r}.")
    return Fault(
        text=text,
        pattern=name,
        action=action,
        argument=argument,
        nth=int(match["nth"]) if match["nth"] else None,
        chance=float(match["chance"]) if match["chance"] else None,
        times=int(match["times"]) if match["times"] else None,
    )


def _fits(action: str, argument: str | None) -> bool:
    if action == "raise":
        return argument is None or argument in errno.errorcode.values()
    if action == "delay":
        try:
            return argument is not None and 0.0 < float(argument) <= DELAY_S_MAX
        except ValueError:
            return False
    return argument is None


def _act(fault: Fault, name: str) -> None:
    if fault.action == "delay":
        time.sleep(float(fault.argument or 0))
    elif fault.action == "raise":
        number = getattr(errno, fault.argument or "EIO")
        raise OSError(number, f"{os.strerror(number)} (failpoint {name})")
    elif fault.action == "SIGSTOP":
        # To this thread: sent to the process, it stops when its main thread is next scheduled.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    else:
        os.kill(os.getpid(), signal.Signals[fault.action])
