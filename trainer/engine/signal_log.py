"""metrics.jsonl: every signal that was read, one line each, whole in each attempt's folder."""

import json
import os
from itertools import islice
from pathlib import Path

from trainer.schema.verdicts import READINGS
from trainer.util.atomic_files import storage_errors, sync_folder

Line = dict[str, float]

# Signals that tell of the machine and the hour, not of the run.
NONDETERMINISTIC_SIGNALS = frozenset(
    {"rows_per_s", "data_s", "step_s", "eval_s", "checkpoint_s", "memory_bytes"}
)


class MemoryLog:
    """Signals so far, in memory: what ranks other than 0 keep."""

    def __init__(self, *, before: list[Line]) -> None:
        """Start with the lines `before`, those of the attempts before this one."""
        self.lines = list(before)
        self._evaluated = next((line for line in reversed(before) if "knn_top1" in line), None)

    def add(self, *, step: int, epoch: float, signals: dict[str, float]) -> None:
        """Append one line."""
        line = {"step": step, "epoch": epoch, **signals}
        self.lines.append(line)
        if "knn_top1" in line:
            self._evaluated = line

    def newest(self) -> list[Line]:
        """Return the lines that a verdict reads, oldest first; of step lines only the last few.

        The file is read from its end, so the cost does not grow with it.
        """
        stepped = list(islice((line for line in reversed(self.lines) if "loss" in line), READINGS))
        evaluated = [] if self._evaluated is None else [self._evaluated]
        return [*evaluated, *reversed(stepped)]

    def sync(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Do nothing: there is no file."""

    def has_evaluation_at(self, step: int) -> bool:
        """Return whether an evaluation after `step` steps is logged.

        Only step lines have a loss.
        """
        return any(line["step"] == step and "loss" not in line for line in reversed(self.lines))

    def baselines(self) -> dict[str, float]:
        """Return the baselines measured before the first step; empty if they are off."""
        first = next((line for line in self.lines if line["step"] == 0), {})
        return {name: value for name, value in first.items() if name not in ("step", "epoch")}

    def of_the_run(self) -> list[Line]:
        """Lines without what differs from one machine and hour to the next."""
        return [
            {name: value for name, value in line.items() if name not in NONDETERMINISTIC_SIGNALS}
            for line in self.lines
        ]


class SignalLog(MemoryLog):
    """Signals so far, in memory and in a file that only grows."""

    def __init__(self, path: Path, *, before: list[Line]) -> None:
        """Start the file with the lines `before`."""
        super().__init__(before=before)
        self.path = path
        temporary = path.with_name(f"{path.name}.tmp")
        with storage_errors(path, leftover=temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text("".join(map(_written, before)))
            temporary.replace(path)
            sync_folder(path.parent)
            self._file = path.open("a")

    def add(self, *, step: int, epoch: float, signals: dict[str, float]) -> None:
        """Append one line, readable at once."""
        super().add(step=step, epoch=epoch, signals=signals)
        with storage_errors(self.path, leftover=self.path.with_name(f"{self.path.name}.tmp")):
            self._file.write(_written(self.lines[-1]))
            self._file.flush()

    def sync(self) -> None:
        """Wait for the disk: a checkpoint must not outlive the lines before it. For any thread."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_history(path: Path, *, until_step: int) -> list[Line]:
    """Lines of a metrics.jsonl up to a step. A missing file or a line cut short is left out."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    lines = []
    for row in text.splitlines():
        try:
            line = json.loads(row)
        except json.JSONDecodeError:
            continue
        if line["step"] <= until_step:
            lines.append(line)
    return lines


def _written(line: Line) -> str:
    return json.dumps(line) + "\n"
