"""Attempts of one tiny job in processes that can be killed for real, each made in milliseconds."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.checkpoint.encoder_file import STATE
from trainer.engine.signal_log import NONDETERMINISTIC_SIGNALS, read_history
from trainer.schema.events import Event
from trainer.util.atomic_files import MANIFEST
from worker.process.event_pipe import EventLines
from worker.process.forkserver_client import Child, ForkserverClient

ROWS, BATCH_ROWS, EPOCHS = 20, 8, 5
STEPS = 3 * EPOCHS  # the third batch of an epoch has 4 rows
EXIT_S = 60.0


def spec(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # words of a spec, as JSON has them
    """A job whose queue wraps every third step, with batch norm in groups."""
    return {
        "dataset": "made-up",
        "epochs": EPOCHS,
        "batch_rows": BATCH_ROWS,
        "partial_batch": "keep",
        "precision": "fp32",
        "encoder": {"name": "small"},
        "method": {"queue_rows": 25, "dim": 8, "bn": "split", "bn_splits": 4},
        "views": {"side_px": 8},
        "signals_every_steps": 4,
        "evaluation": {"every_epochs": 2},
        **changes,
    }


def mixed_pack(folder: Path) -> Path:
    """Images of many sizes: what loader threads gather."""
    images, labels = blobs(ROWS, side_px=13, classes=2)
    mixed = [image[: 9 + n % 4, : 13 - n % 3] for n, image in enumerate(images)]
    write_pack(folder, mixed, labels, classes=("a", "b"))
    return folder


@dataclass(frozen=True)
class Attempt:
    """Result of one attempt."""

    out: Path
    status: int
    events: tuple[Event, ...]

    def of(self, kind: str) -> list[Any]:
        """Events of one type."""
        return [event for event in self.events if event.type == kind]

    @property
    def was_killed(self) -> bool:
        """True if a failpoint killed it; false after an error."""
        return self.status == -signal.SIGKILL

    @property
    def announced(self) -> list[Path]:
        """Checkpoints that the service would know of, newest first."""
        return [self.out / event.path for event in reversed(self.of("checkpointed"))]


class Cuts:
    """Makes attempts."""

    def __init__(self, forkserver: ForkserverClient, pack: Path) -> None:
        self._forkserver, self._pack = forkserver, pack

    def attempt(self, spec: dict[str, Any], out: Path, **orders: Any) -> Attempt:  # noqa: ANN401
        """Train until the end or the fault; `orders` are keywords of `begun`."""
        with self.begun(spec, out, **orders) as (child, events, _):
            lines = EventLines()
            received: list[Event] = []
            while data := os.read(events, 1 << 16):
                received += [event for event, _ in lines.feed(data)]
            return Attempt(out, self.status(child), tuple(received))

    @contextmanager
    def begun(
        self,
        spec: dict[str, Any],
        out: Path,
        *,
        failpoints: str = "",
        checkpoints: list[Path] | None = None,
        loader_threads: int = 0,
        pack: Path | None = None,
        init: Path | None = None,
    ) -> Iterator[tuple[Child, int, int]]:
        """The child, the pipe of its events, and the pipe that says stop."""
        out.mkdir(parents=True)
        events, theirs = os.pipe()
        control, ours = os.pipe()
        log = os.open(out / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        orders = {
            "spec": spec,
            "out": str(out),
            "pack": str(pack or self._pack),
            "failpoints": failpoints,
            "checkpoints": [str(path) for path in checkpoints or []],
            "loader_threads": loader_threads,
            "init": str(init) if init else "",
        }
        child = self._forkserver.fork(orders, events=theirs, control=control, log=log)
        for fd in (theirs, control, log):
            os.close(fd)
        try:
            yield child, events, ours
        finally:
            os.close(events)
            os.close(ours)  # a child that still lives leaves then

    def status(self, child: Child) -> int:
        """Wait for the end of a child."""
        until_s = time.monotonic() + EXIT_S
        while time.monotonic() < until_s:
            if child.exit_status is not None:
                return child.exit_status
            time.sleep(0.001)
        raise TimeoutError("the child does not end")

    def signal(self, child: Child, number: int) -> None:
        """Signal a child."""
        self._forkserver.signal(child, number)


@contextmanager
def forkserver_of_cuts() -> Iterator[ForkserverClient]:
    """A forkserver that has imported the trainer."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    forkserver = ForkserverClient("tests.support.trainer.attempt_child:run")
    try:
        forkserver.ensure()
        forkserver.wait_ready(120.0)
        yield forkserver
    finally:
        forkserver.close()
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def sums(folder: Path) -> dict[str, str]:
    """sha256 of each file of a folder, also of those one folder deeper."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def states(out: Path) -> dict[str, str]:
    """Checkpoints of an attempt: step -> sha256 of the state, as its manifest has it."""
    sha256_by_checkpoint = {}
    for manifest in out.glob(f"checkpoints/*[0-9]/{MANIFEST}"):
        files = {file["name"]: file["sha256"] for file in json.loads(manifest.read_text())["files"]}
        sha256_by_checkpoint[manifest.parent.name] = files[STATE]
    return sha256_by_checkpoint


@dataclass(frozen=True)
class End:
    """Results that must be equal however often a run was killed."""

    artifacts: dict[str, str]
    """sha256 of each file."""
    state: str
    """sha256 of the last state, with all its buffers."""
    signals: list[dict[str, float]]
    """Every reading on the way there."""


def end(out: Path) -> End:
    """Read the results that a run has left in its folder."""
    lines = read_history(out / "metrics.jsonl", until_step=STEPS)
    signals = [
        {key: v for key, v in line.items() if key not in NONDETERMINISTIC_SIGNALS} for line in lines
    ]
    return End(sums(out / "artifacts"), max(states(out).items())[1], signals)
