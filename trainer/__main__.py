"""Training without any service.

    python -m trainer spec.json --out runs/x       train; the dataset is a pack, folder or archive
    python -m trainer ingest SOURCE --out packs/x  prepare a dataset once, as packs/x/pack
    python -m trainer embed ENCODER IMAGES -o x.parquet  features from a downloaded encoder

    torchrun --standalone --nproc-per-node 4 -m trainer spec.json --out runs/x
                                                   the same with `"resources": {"gpus": 4}`

Exit codes: 0 done, 1 failed, 2 wrong usage, 101 stopped before the end. The first Ctrl-C or
SIGTERM saves a checkpoint and stops; the same command goes on from there. The second kills.
"""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import ValidationError

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded
from trainer.accel.device import DeviceConfig, asks_for_fused_kernels
from trainer.accel.malloc import set_up_allocators
from trainer.checkpoint.init_file import keep_copy
from trainer.cli import embed_command
from trainer.cli.event_printer import show
from trainer.data.ingest import run_ingest
from trainer.data.spec import USUAL, IngestOptions, IngestSpec
from trainer.distributed.launched_world import device_of_rank, is_first_launched, joined
from trainer.distributed.world import World
from trainer.engine.outcome import run_and_record_outcome
from trainer.engine.train import Emit, RunPaths, train
from trainer.modalities.base import load_ingest_modality
from trainer.schema.errors import SpecError, StorageError
from trainer.schema.events import Ended, Event
from trainer.schema.validation import message_of, path_in
from trainer.spec.init_from import INIT
from trainer.spec.job import JobSpec

EXIT = {"succeeded": 0, "failed": 1, "stopped": 101}


class StopFlag:
    """Raised by the first signal inside its `with`; the second signal ends the process."""

    def __init__(self) -> None:
        self._raised = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Return whether it was raised."""
        return self._raised

    def __enter__(self) -> "StopFlag":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _raise(self, number: int, _frame: FrameType | None) -> None:
        self._raised = True
        signal.signal(number, signal.SIG_DFL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, do it, and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(levelname)s %(message)s")
    if words[:1] == ["ingest"]:
        return _ingest_command(words[1:])
    if words[:1] == ["embed"]:
        return embed_command.run(words[1:], data=_print, talk=_tell)
    return _train_command(words)


def _train_command(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m trainer",
        description="Train one encoder.",
        epilog="Other commands: `python -m trainer ingest --help` and `embed --help`.",
    )
    parser.add_argument("spec", type=Path, help="job spec as JSON; dataset is a path")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="number of CPU threads")
    args = parser.parse_args(words)
    try:
        data = args.spec.read_bytes()
        spec = JobSpec.model_validate_json(data)
    except OSError as error:
        parser.error(f"{args.spec}: {error.strerror}")
    except ValidationError as error:
        parser.error(f"{args.spec}: {_faults(error, data)}")
    device = device_of_rank(args.device)
    set_up_allocators(device)
    device_config = DeviceConfig(
        device=device, threads=args.threads, fused_kernels=asks_for_fused_kernels(os.environ)
    )
    emit = show if is_first_launched() else _ignore

    def work(should_stop: StopFlag) -> Ended:
        with joined(device) as world:
            places = _prepared_once(spec, args.out, should_stop, world)
            if isinstance(places, Ended):
                return places
            return train(
                spec,
                places,
                device_config=device_config,
                emit=emit,
                should_stop=should_stop,
                world=world,
            )

    return _finish(work, args.out if is_first_launched() else None, emit=emit)


def _ingest_command(words: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m trainer ingest", description="Make a pack.")
    parser.add_argument("source", type=Path, help="folder or archive of images")
    parser.add_argument("--out", type=Path, required=True, help="the pack becomes OUT/pack")
    parser.add_argument("--options", default="{}", help='JSON such as {"range": "860:1260"}')
    args = parser.parse_args(words)
    try:
        options = IngestOptions.model_validate_json(args.options)
    except ValidationError as error:
        parser.error(f"--options: {_faults(error, args.options)}")

    def work(should_stop: StopFlag) -> Ended:
        return _ingested(str(args.source), args.out, should_stop, options)

    return _finish(work, args.out, emit=show)


def _finish(work: Callable[[StopFlag], Ended], out: Path | None, *, emit: Emit) -> int:
    with StopFlag() as should_stop:
        return EXIT[run_and_record_outcome(lambda: work(should_stop), out=out, emit=emit).outcome]


def _prepared_once(
    spec: JobSpec, out: Path, should_stop: StopFlag, world: World
) -> RunPaths | Ended:
    """Return what `_prepared` does; rank 0 prepares, and the others find what it has made."""
    prepared = _prepared(spec, out, should_stop) if world.is_first else None
    ended = prepared if isinstance(prepared, Ended) else None
    if world.agreed(lambda: ended is not None):
        is_stopped = world.agreed(lambda: ended is not None and ended.outcome == "stopped")
        return ended or Ended(outcome="stopped" if is_stopped else "failed")
    return prepared or _prepared(spec, out, should_stop)


def _prepared(spec: JobSpec, out: Path, should_stop: StopFlag) -> RunPaths | Ended:
    """Packs of the datasets that a spec names, or how an ingest ended before it had made one."""
    packs: list[Path | None] = []
    for source, folder in ((spec.dataset, out), (spec.test_dataset, out / "test")):
        if source is None or _is_pack(Path(source)):
            packs.append(Path(source) if source else None)
            continue
        if not _is_pack(folder / "pack"):
            ended = _ingested(source, folder, should_stop)
            if ended.outcome != "succeeded":
                return ended
        packs.append(folder / "pack")
    assert packs[0] is not None
    return RunPaths(out=out, pack=packs[0], test_pack=packs[1], init=_init(spec, out))


def _init(spec: JobSpec, out: Path) -> Path | None:
    """Return the copy of the weights to begin with, None for random ones. Raises SpecError."""
    if spec.init_from is None:
        return None
    if spec.init_from.weights is None:
        raise SpecError(
            'here it is a file; write {"weights": "encoder.safetensors"}', field="init_from"
        )
    source = Path(spec.init_from.weights)
    if not source.is_file() and not (out / INIT).exists():
        raise SpecError(f"there is no file {source}", field="init_from.weights")
    return keep_copy(source, out / INIT)


def _is_pack(path: Path) -> bool:
    return (path / "pack.json").is_file()


def _ingested(
    source: str, out: Path, should_stop: StopFlag, options: IngestOptions = USUAL
) -> Ended:
    """Make `out/pack` of a folder or an archive."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out} could not be made: {error.strerror}.") from error
    spec = IngestSpec(dataset_id="local", source=source, **options.model_dump())
    modality = load_ingest_modality()
    return run_ingest(spec, modality=modality, out=out, emit=show, should_stop=should_stop)


def _faults(error: ValidationError, text: str | bytes) -> str:
    faults = error.errors()
    data = None if faults[0]["type"] == "json_invalid" else json.loads(text)
    return "; ".join(
        f"{'.'.join(path_in(data, fault, fault['loc'])) or 'spec'}: {message_of(fault).rstrip('.')}"
        for fault in faults
    )


def _ignore(_event: Event) -> None:
    """Emit nothing: rank 0 speaks for all."""


def _print(text: str) -> None:
    print(text, flush=True)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
