"""What a forked child does: one attempt of one job, its log at 1 and 2, its orders on pipes.

It opens no socket and knows no store. Events go out as JSON lines; `stop` comes in on the control
pipe, and the end of that pipe means that nobody is left to work for.
"""

import logging
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import FrameType
from typing import Any, NoReturn

import torch
from PIL import Image

import trainer.methods
from trainer.__main__ import show
from trainer.data.ingest import run_ingest
from trainer.ending import run_to_end
from trainer.events import Ended, Event
from trainer.fingerprint import code_sha256
from trainer.memory import keep_freed_memory
from trainer.probes.run import run_probe
from trainer.spec import IngestSpec, JobSpec, ProbeSpec
from trainer.train import Emit, Machine, Places, train
from worker.process.child_request import SPEC_FILE, Orders
from worker.process.event_pipe import Emitter, listen


def run(values: dict[str, Any], events: int, control: int) -> None:
    """Work through `values` (see `Orders`); `events` and `control` are open files."""
    orders = Orders.of_json(values)
    signal.signal(signal.SIGTERM, _leave)
    keep_freed_memory()
    logging.basicConfig(format="%(levelname)s %(message)s")
    stop, send = listen(control), Emitter(events)

    def emit(event: Event) -> None:
        show(event)  # the log reads like that of `python -m trainer`
        send(event)

    run_to_end(lambda: _work(orders, emit, stop), out=orders.folder, emit=emit)


LATER = ("torch._dynamo", "trainer.encoders.resnet", "sklearn.decomposition", "sklearn.manifold")
"""Two seconds of imports that a worker need not wait for: torch's optimizers load the first."""


def warm() -> None:
    """Before any fork: import and compute what each child would need before its first step."""
    for method in iter_modules(trainer.methods.__path__):
        import_module(f"{trainer.methods.__name__}.{method.name}.method")
    import_module("trainer.data.preview")
    Image.init()
    code_sha256()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch has no types here
        raise RuntimeError("an import has started CUDA, which does not survive a fork")


def _work(orders: Orders, emit: Emit, stop: threading.Event) -> Ended:
    text = (orders.folder / SPEC_FILE).read_text()
    machine = Machine(device=orders.device, threads=orders.threads)
    if orders.kind == "ingest":
        spec = IngestSpec.model_validate_json(text)
        return run_ingest(spec, out=orders.folder, emit=emit, should_stop=stop.is_set)
    if orders.kind == "probe":
        return run_probe(
            ProbeSpec.model_validate_json(text),
            out=orders.folder,
            pack=Path(orders.pack),
            machine=machine,
            emit=emit,
            should_stop=stop.is_set,
        )
    return train(
        JobSpec.model_validate_json(text),
        Places(
            out=orders.folder,
            pack=Path(orders.pack),
            test_pack=Path(orders.test_pack) if orders.test_pack else None,
            checkpoints=tuple(map(Path, orders.checkpoints)),
        ),
        machine=machine,
        emit=emit,
        should_stop=stop.is_set,
    )


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """The second rung: leave now, closing files, without a checkpoint."""
    sys.exit(128 + signal.SIGTERM)
