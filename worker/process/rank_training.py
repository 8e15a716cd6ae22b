"""Training of one rank: what a child does alone, together with the other ranks."""

import logging
import os

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded
from trainer.accel.device import DeviceConfig, asks_for_fused_kernels
from trainer.accel.malloc import keep_freed_memory
from trainer.cli.event_printer import show
from trainer.distributed.launched_world import device_of_rank, is_first_launched, joined
from trainer.engine.outcome import failed, run_and_record_outcome
from trainer.engine.train import train
from trainer.schema.events import Event
from trainer.spec.job import JobSpec
from worker.process.child_main import run_paths
from worker.process.child_request import SPEC_FILE, ChildRequest
from worker.process.rank import emitter, report_failure, stop_event

LOG = logging.getLogger(__name__)


def train_as_rank(request: ChildRequest) -> int:
    """Train and return the exit code: 0 once stopped or done, 1 with the error reported.

    The first rank records the success of all; the agent records a failure.
    """
    keep_freed_memory()
    logging.basicConfig(format=f"%(levelname)s rank {os.environ['RANK']}: %(message)s")
    stop, send = stop_event(), emitter()

    def emit(event: Event) -> None:
        if is_first_launched():
            show(event)
            send(event)

    config = rank_config(request, ranks=int(os.environ["LOCAL_WORLD_SIZE"]))
    try:
        spec = JobSpec.model_validate_json((request.folder / SPEC_FILE).read_text())
        with joined(config.device) as world:
            ended = train(
                spec,
                run_paths(request),
                device_config=config,
                emit=emit,
                should_stop=stop.is_set,
                world=world,
            )
    except Exception as error:
        LOG.exception("The rank failed.")
        report_failure(failed(error))
        return 1
    if is_first_launched():
        run_and_record_outcome(lambda: ended, out=request.folder, emit=emit)
    return 0


def rank_config(request: ChildRequest, *, ranks: int) -> DeviceConfig:
    """Return the device of this rank, and its share of the node's threads."""
    device = "cpu" if request.device == "cpu" else device_of_rank("cuda")
    threads = request.threads or len(os.sched_getaffinity(0))
    return DeviceConfig(
        device=device,
        threads=max(1, threads // ranks),
        fused_kernels=asks_for_fused_kernels(os.environ),
    )
