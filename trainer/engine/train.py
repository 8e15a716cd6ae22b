"""The loop."""

from collections.abc import Callable

from trainer.accel.device import DeviceConfig
from trainer.accel.device_errors import is_out_of_memory
from trainer.checkpoint.manager import Emit
from trainer.distributed.world import ALONE, World
from trainer.engine.build import RunPaths, build_run
from trainer.engine.out_of_memory import out_of_memory
from trainer.engine.run import Run
from trainer.schema.errors import DivergedError
from trainer.schema.events import Ended, Event, Logged
from trainer.spec.job import JobSpec

__all__ = ["DeviceConfig", "Emit", "RunPaths", "train"]


def train(
    spec: JobSpec,
    paths: RunPaths,
    *,
    device_config: DeviceConfig,
    emit: Emit,
    should_stop: Callable[[], bool],
    world: World = ALONE,
) -> Ended:
    """Run `spec` to its end, or to the first step after `should_stop()` says so.

    Goes on from the newest intact checkpoint, so that running it twice is harmless: the files
    it publishes are the same, bit for bit, however often it was killed. What the spec leaves out
    is resolved. `emit` is called from two threads: Checkpointed comes from the one that writes.
    The caller emits the Ended that this returns. On each rank of a `world` it is called alike; rank
    0 alone writes files, and its `should_stop` counts. Raises TrainerError.
    """
    with build_run(
        spec, paths, device_config=device_config, world=world, should_stop=should_stop
    ) as run:
        emit(run.started())
        run.write_network()
        _explain(run, emit)
        try:
            return _stepped_to_the_end(run, emit, should_stop)
        except DivergedError as error:
            emit(run.diverged(error))
            raise
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise out_of_memory(error, run) from error


def _stepped_to_the_end(run: Run, emit: Emit, should_stop: Callable[[], bool]) -> Ended:
    while not run.should_stop():
        if run.evaluation_is_due():
            if not _tell(emit, run.evaluate(should_stop)):
                break
            _tell(emit, run.verdict(is_due=run.step > 0))
        run.save_behind(emit)
        if run.is_done:
            if run.ends_early:
                emit(Logged(message=f"The job ends early: {run.ends_early}"))
            run.save(emit)
            _tell(emit, run.profiled_last())
            _tell(emit, run.verdict(is_due=True))
            _tell(emit, run.publish())
            return Ended(outcome="succeeded", step=run.step)
        if _tell(emit, run.advance()):
            _tell(emit, run.verdict(is_due=False))
        _tell(emit, run.fallback_warning())
        _tell(emit, run.profiled())
    run.save(emit)
    _tell(emit, run.profiled_last())
    message = f"Stopped after step {run.step}; the checkpoint is kept."
    return Ended(outcome="stopped", code="stopped", message=message, step=run.step)


def _tell(emit: Emit, event: Event | None) -> bool:
    """Emit an event if there is one."""
    if event is not None:
        emit(event)
    return event is not None


def _explain(run: Run, emit: Emit) -> None:
    """Log the facts about a run that would otherwise surprise its user."""
    if run.step:
        emit(Logged(message=f"Resuming from the checkpoint at step {run.step}."))
    if run.progress.differs:
        what = ", ".join(run.progress.differs)
        message = f"Since the last attempt this changed: {what}. The result is not exact."
        emit(Logged(level="warning", message=message))
    if run.context.warning:
        emit(Logged(level="warning", message=run.context.warning))
    if problem := run.context.fused_problem:
        message = f"Fused GPU kernels were asked for and are not used: {problem}."
        emit(Logged(level="warning", message=message))
    if reason := run.views.fallback_reason:
        message = f"Views are made without compiled code, more slowly: {reason}."
        emit(Logged(level="warning", message=message))
    for reason in run.evaluation.not_measured:
        emit(Logged(message=reason))
