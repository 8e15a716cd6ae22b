"""Main function of a forked child: one attempt at one job.

It opens no socket and knows no store. Its log is at 1 and 2; events go out as JSON lines; `stop`
comes in on the control pipe, and the end of that pipe means that the supervisor is gone.
"""

import json
import logging
import os
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from PIL import Image

from mocoserve.launch import module_command
from trainer.accel.device import asks_for_fused_kernels
from trainer.accel.malloc import set_up_allocators
from trainer.checkpoint.fingerprint import code_sha256
from trainer.cli.event_printer import show
from trainer.data.ingest import run_ingest
from trainer.data.spec import IngestSpec
from trainer.engine.outcome import run_and_record_outcome
from trainer.engine.train import DeviceConfig, Emit, RunPaths, train
from trainer.inference.neighbours.spec import NeighbourSearchSpec
from trainer.inference.neighbours.task import run_probe
from trainer.methods.registry import method_names, part_of
from trainer.modalities import registry as modalities
from trainer.modalities.base import load_ingest_modality
from trainer.pretexts import registry as pretexts
from trainer.schema.events import Ended, Event
from trainer.spec.job import JobSpec
from worker.process.child_request import SPEC_FILE, ChildRequest
from worker.process.event_pipe import Emitter, listen


def run(values: dict[str, Any], events: int, control: int) -> None:
    """Do what `values` ask (see `ChildRequest`); `events` and `control` are open files."""
    request = ChildRequest.from_json(values)
    signal.signal(signal.SIGTERM, _exit_on_signal)
    set_up_allocators(request.device)
    logging.basicConfig(format="%(levelname)s %(message)s")
    if request.gang:
        # Imported where it is needed: torchrun takes a second.
        command = module_command("worker.process.rank_main", json.dumps(values))
        run_ranks = import_module("worker.process.gang").run_ranks
        run_ranks(request, request.gang, events=events, control=control, command=command)
        return
    stop, send = listen(control), Emitter(events)

    def emit(event: Event) -> None:
        show(event)  # the log reads like that of `python -m trainer`
        send(event)

    run_and_record_outcome(lambda: _work(request, emit, stop), out=request.folder, emit=emit)


LATER = (
    "torch._dynamo",
    "trainer.modalities.image.encoders.resnet",
    "sklearn.decomposition",
    "sklearn.manifold",
)
"""Imports of two seconds that a worker need not wait for; torch's optimizers load the first."""


def warm() -> None:
    """Import and compute, before any fork, what each child needs before its first step."""
    for name in method_names():
        part_of(name, "method")
    for name in pretexts.pretext_names():
        pretexts.part_of(name, "pretext")
    for name in modalities.MODALITIES:
        modalities.part_of(name, "modality")
        modalities.part_of(name, "ingest")
    import_module("trainer.modalities.image.preview")
    Image.init()
    code_sha256()


def _work(request: ChildRequest, emit: Emit, stop: threading.Event) -> Ended:
    text = (request.folder / SPEC_FILE).read_text()
    device_config = DeviceConfig(
        device=request.device,
        threads=request.threads,
        fused_kernels=asks_for_fused_kernels(os.environ),
    )
    if request.kind == "ingest":
        spec = IngestSpec.model_validate_json(text)
        return run_ingest(
            spec,
            modality=load_ingest_modality(),
            out=request.folder,
            emit=emit,
            should_stop=stop.is_set,
        )
    if request.kind == "probe":
        return run_probe(
            NeighbourSearchSpec.model_validate_json(text),
            out=request.folder,
            pack=Path(request.pack),
            device_config=device_config,
            emit=emit,
            should_stop=stop.is_set,
        )
    return train(
        JobSpec.model_validate_json(text),
        run_paths(request),
        device_config=device_config,
        emit=emit,
        should_stop=stop.is_set,
    )


def run_paths(request: ChildRequest) -> RunPaths:
    """Return the folders of a training."""
    return RunPaths(
        out=request.folder,
        pack=Path(request.pack),
        test_pack=Path(request.test_pack) if request.test_pack else None,
        checkpoints=tuple(map(Path, request.checkpoints)),
        init=Path(request.init) if request.init else None,
    )


def _exit_on_signal(_number: int, _frame: FrameType | None) -> NoReturn:
    """Exit now, closing files, without a checkpoint: the second stage of stopping."""
    sys.exit(128 + signal.SIGTERM)
