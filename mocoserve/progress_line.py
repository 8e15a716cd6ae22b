"""Progress of a job, on one line that is overwritten, or as a line now and then."""

import time
from typing import TextIO

from mocoserve.models import Job

_LINE_EVERY_S = 10.0
_SHOWN = (
    ("loss", "loss {:.3f}"),
    ("top1", "top-1 {:.0%}"),
    ("knn_top1", "kNN {:.1%}"),
    ("classifier_top1", "accuracy {:.1%}"),
)


class ProgressLine:
    """Progress display without any library."""

    def __init__(self, stream: TextIO) -> None:
        """Overwrite one line on a terminal; write a line every ten seconds into a file."""
        self._stream, self._live = stream, stream.isatty()
        self._written, self._written_s = "", float("-inf")

    def show(self, job: Job) -> None:
        """Show the job's progress."""
        words = sentence(job)
        if words == self._written:
            return
        status_is_new = words.partition(" ")[0] != self._written.partition(" ")[0]
        if self._live:
            self._stream.write(f"\r\x1b[2K{words}")
        elif status_is_new or job.over or time.monotonic() - self._written_s >= _LINE_EVERY_S:
            self._written_s = time.monotonic()
            self._stream.write(f"{words}\n")
        self._stream.flush()
        self._written = words

    def close(self) -> None:
        """End the line."""
        if self._live and self._written:
            self._stream.write("\n")
            self._stream.flush()


def sentence(job: Job) -> str:
    """Return the status of the job in one line."""
    progress = job.progress
    if progress is None or not progress.steps:
        place = f" (#{job.queue_position} in queue)" if job.queue_position else ""
        return f"{job.status}{place}"
    parts = [f"{job.status} {progress.step / progress.steps:.0%}"]
    parts += [
        form.format(progress.signals[name]) for name, form in _SHOWN if name in progress.signals
    ]
    if progress.verdict and progress.verdict.kind in ("bad", "warn"):
        parts.append(progress.verdict.word.lower())
    if progress.eta_s and not job.over:
        minutes, seconds = divmod(round(progress.eta_s), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(parts)
