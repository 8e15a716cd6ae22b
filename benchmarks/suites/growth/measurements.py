"""The measurements of `benchmarks.suites.growth.main`, each in a process of its own.

    python -m benchmarks.suites.growth.measurements {rows|queues|peak|resume} ARGUMENTS

ARGUMENTS is JSON; so is the answer.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main

import torch  # isort: skip

from benchmarks.arms.interface import Setup
from benchmarks.arms.ours import spec_of
from benchmarks.arms.views_pack import two_views
from benchmarks.harness.interleaving import round_order
from trainer.accel.device import DeviceConfig
from trainer.data.pack.format import Pack
from trainer.engine.build import RunPaths, build_run
from trainer.engine.run import Run
from trainer.methods.base import Method
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.loader import PackLoader
from trainer.rng.philox import permuted_rows

Figures = dict[str, object]
CPU = torch.device("cpu")
WARM_UP_STEPS = 2
"""Steps that allocate and compile what later steps reuse."""


def rows(*, pack: str, side_px: int, threads: int, batch_rows: int) -> Figures:
    """Time to the first two views, and private memory after an epoch of random batches.

    `threads` prefetch rows. The pixels of a pack are in the page cache, which is shared and
    reclaimable; private memory is anonymous memory.
    """
    spec = ResolvedViewsSpec(
        side_px=side_px, crop_scale=(0.2, 1.0), blur_p=0.5, evaluation_crop="square"
    )
    baseline_bytes = private_bytes()
    began_s = time.perf_counter()
    source_pack = Pack.open(Path(pack))
    with PackLoader(source_pack, device=CPU, threads=threads) as source:
        # In batches: to compile views takes the same seconds whatever the pack.
        views = ImageAugmenter(
            spec, mean=source_pack.facts.mean, std=source_pack.facts.std, device=CPU
        )
        first = _batch(source_pack.rows, 0, batch_rows)
        two_views(views, source.raw(first), first, 0)
        first_batch_s = time.perf_counter() - began_s
        for start in range(0, source_pack.rows, batch_rows):
            batch = _batch(source_pack.rows, start, batch_rows)
            source.prefetch(batch)
            source.raw(batch)
        return {
            "first_batch_s": first_batch_s,
            "private_bytes": private_bytes() - baseline_bytes,
            "index_bytes": (Path(pack) / "index.bin").stat().st_size,
        }


def queues(
    *, pack: str, side_px: int, batch_rows: int, sizes: list[int], rounds: int, steps: int
) -> Figures:
    """Seconds of a step with queues of two sizes, in turns: the first one twice a round."""
    names = [str(size) for size in sizes]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        runs = {}
        for name in names:
            out = stack.enter_context(tempfile.TemporaryDirectory(prefix="moco-"))
            setup = _setup(pack, side_px=side_px, batch_rows=batch_rows, queue_rows=int(name))
            runs[name] = stack.enter_context(_open_run(setup, Path(out)))
            _advance(runs[name], WARM_UP_STEPS)
        for number in range(rounds):
            for name in round_order(number, names[1:], subject=names[0]):
                _advance(runs[name], 1)
                seconds[name].append(_advance(runs[name], steps) / steps)
    return {"seconds": seconds}


def peak(*, pack: str, side_px: int, batch_rows: int, queue_rows: int, steps: int) -> Figures:
    """Seconds of a step, the most memory while stepping, and what the buffers of it are."""
    setup = _setup(pack, side_px=side_px, batch_rows=batch_rows, queue_rows=queue_rows)
    with (
        tempfile.TemporaryDirectory(prefix="moco-") as out,
        _open_run(setup, Path(out)) as run,
    ):
        _advance(run, WARM_UP_STEPS)
        # The peak so far, that of making everything, is forgotten: see proc(5).
        Path("/proc/self/clear_refs").write_text("5")
        seconds = [_advance(run, 1) for _ in range(steps)]
        return {
            "step_s": min(seconds),
            "peak_bytes": status_bytes("VmHWM"),
            "state_bytes": _buffer_bytes(run.method),
        }


def _buffer_bytes(method: Method) -> int:
    """Return the bytes of all buffers."""
    return sum(buffer.nbytes for buffer in method.buffers())


def resume(
    *, pack: str, side_px: int, batch_rows: int, shares: list[float], rounds: int
) -> Figures:
    """Seconds from opening a run to its first step, resumed at shares of an epoch, in turns."""
    setup = _setup(pack, side_px=side_px, batch_rows=batch_rows)
    names = [str(share) for share in shares]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        for name in names:
            with _open_run(setup, Path(folder) / name) as run:
                # The state does not depend on how far the run says it is.
                run.progress.step = max(1, int(float(name) * run.length.steps_per_epoch))
                run.save(lambda _: None)
                _advance(run, WARM_UP_STEPS)
        for number in range(rounds):
            for name in round_order(number, names[1:], subject=names[0]):
                began_s = time.perf_counter()
                with _open_run(setup, Path(folder) / name) as run:
                    before = run.step
                    run.advance()
                    seconds[name].append(time.perf_counter() - began_s)
                assert before >= 1, "the run did not resume"
    return {"seconds": seconds}


def private_bytes() -> int:
    """Anonymous memory of this process."""
    return status_bytes("RssAnon")


def status_bytes(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    text = Path("/proc/self/status").read_text()
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def _setup(pack: str, *, side_px: int, batch_rows: int, queue_rows: int = 4096) -> Setup:
    return Setup(
        images="",
        pack=pack,
        encoder="small",
        batch_rows=batch_rows,
        queue_rows=queue_rows,
        side_px=side_px,
        workers=0,
    )


def _open_run(setup: Setup, out: Path) -> AbstractContextManager[Run]:
    paths = RunPaths(out, Path(setup.pack))
    return build_run(spec_of(setup), paths, device_config=DeviceConfig(device="cpu"))


def _advance(run: Run, steps: int) -> float:
    """Return the seconds of `steps` steps."""
    began_s = time.perf_counter()
    for _ in range(steps):
        run.advance()
    return time.perf_counter() - began_s


def _batch(total: int, start: int, batch_rows: int) -> torch.Tensor:
    positions = torch.arange(start, min(start + batch_rows, total))
    return permuted_rows(positions, total=total, seed=0, epoch=0)


PARTS: dict[str, Callable[..., Figures]] = {
    part.__name__: part for part in (rows, queues, peak, resume)
}


def main() -> None:
    """One part."""
    name, arguments = sys.argv[1:]
    sys.stdout.write(json.dumps(PARTS[name](**json.loads(arguments))) + "\n")


if __name__ == "__main__":
    main()
