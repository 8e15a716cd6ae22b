"""What is told to the store when a child has ended: a pure function of what is known of its end."""

import signal
from dataclasses import dataclass
from typing import Literal

from trainer.events import Ended, Published
from trainer.file_names import UPLOAD

PREEMPTED = "preempted"
LOST = "worker_lost"
INTERNAL = "internal"
OURS = frozenset({LOST, "storage"})
"""Not the user's fault: tried again without spending the user's retries, a bounded number of times.

`internal` is ours too, but may be a defect that every attempt meets: the job's runner decides.
"""
HOPELESS = frozenset(
    {"bad_spec", "bad_dataset", "dataset_missing", "bad_checkpoint", "bad_image", "encoder_gone"}
)
"""Another attempt would end the same way."""


@dataclass(frozen=True)
class Verdict:
    """How the lease ends: `complete`, `fail`, or `release` back to the queue."""

    act: Literal["complete", "fail", "release"]
    code: str = ""
    message: str = ""
    hint: str = ""
    retry: bool = False
    """Of a failure: whether the user's retries may be spent on it."""


def judge(
    ended: Ended | None, status: int, *, asked_to_stop: bool, published: Published | None
) -> Verdict:
    """The verdict on an attempt. `ended` is its result file, `status` its exit code.

    The result file speaks first. Without one the child was cut short: by us if it was asked to
    stop, otherwise by something that is not the user's fault.
    """
    if ended is None and asked_to_stop:
        return Verdict("release", PREEMPTED)
    if ended is None:
        return Verdict("release", LOST, f"The training process {_how(status)}")
    if ended.outcome == "stopped":
        return Verdict("release", PREEMPTED)
    if ended.outcome == "failed":
        return of_failure(ended.code, _named(ended.message), ended.hint)
    if published is None:
        return of_failure(INTERNAL, "The run ended well but told of no published files.")
    return Verdict("complete")


def of_failure(code: str, message: str, hint: str = "") -> Verdict:
    """A failure with a reason: ours goes back to the queue, the user's is told."""
    if code in OURS:
        return Verdict("release", code, message)
    return Verdict("fail", code, message, hint, retry=code not in HOPELESS | {INTERNAL})


def _named(message: str) -> str:
    """`message` without the name that we gave to what the user sent."""
    named = message.replace(UPLOAD, "the upload")
    return named[:1].upper() + named[1:] if named.startswith("the upload") else named


def _how(status: int) -> str:
    """How a process ended that left no result, in words."""
    if status == -signal.SIGKILL:
        return (
            "was killed (SIGKILL), most likely by the system for want of memory: "
            "see the kernel's log, and lower batch_rows or give the worker more memory."
        )
    if status < 0:
        return f"crashed ({signal.Signals(-status).name}) before it could say why."
    return f"left with exit code {status} before it could say why."
