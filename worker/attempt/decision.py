"""Decision on how a lease ends once its child has ended: a pure function of what is known."""

from dataclasses import dataclass
from typing import Literal

from trainer.schema.artifact_names import UPLOAD
from trainer.schema.errors import DeviceError, DivergedRanks, RankLost, StorageError
from trainer.schema.events import Ended, Published
from worker.process.exit_status import LOST, describe_exit

PREEMPTED = "preempted"
INTERNAL = "internal"
DEVICE = DeviceError.code
"""The GPU is broken: a worker that reports it again and again should take no more jobs."""
RETRY_FREE = frozenset({LOST, StorageError.code, DEVICE, RankLost.code, DivergedRanks.code})
"""Not the user's fault: tried again a bounded number of times, without spending the user's retries.

`internal` is our fault too, but may be a defect that every attempt meets: `AttemptRunner` decides.
"""
NEVER_RETRY = frozenset(
    {"bad_spec", "bad_dataset", "dataset_missing", "bad_checkpoint", "bad_image", "encoder_gone"}
)
"""Another attempt would end the same way."""


@dataclass(frozen=True)
class Decision:
    """End of a lease: `complete`, `fail`, or `release` back to the queue.

    `wait` is that of a gang's member whose ranks have ended well: the first node reports.
    """

    act: Literal["complete", "fail", "release", "wait"]
    code: str = ""
    message: str = ""
    hint: str = ""
    retry: bool = False
    """True if `fail` may use the user's retries."""


def decide(
    ended: Ended | None, status: int, *, asked_to_stop: bool, published: Published | None
) -> Decision:
    """Return the decision on an attempt. `ended` is its result file, `status` its exit code.

    The result file has precedence. Without one the child was cut short: by us if it was asked to
    stop, otherwise by something that is not the user's fault.
    """
    if ended is None and asked_to_stop:
        return Decision("release", PREEMPTED)
    if ended is None:
        return Decision("release", LOST, f"The training process {describe_exit(status)}")
    if ended.outcome == "stopped":
        return Decision("release", PREEMPTED)
    if ended.outcome == "failed":
        return of_failure(ended.code, _with_public_name(ended.message), ended.hint)
    if published is None:
        return of_failure(INTERNAL, "The run ended well but published no files.")
    return Decision("complete")


def of_failure(code: str, message: str, hint: str = "") -> Decision:
    """Return the decision on a failure: back to the queue if it is ours, else a failed job."""
    if code in RETRY_FREE:
        return Decision("release", code, message)
    return Decision("fail", code, message, hint, retry=code not in NEVER_RETRY | {INTERNAL})


def _with_public_name(message: str) -> str:
    """Return `message` without our internal file name for what the user sent."""
    text = message.replace(UPLOAD, "the upload")
    return text[:1].upper() + text[1:] if text.startswith("the upload") else text
