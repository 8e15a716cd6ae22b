"""Out of memory in a run, with its figures and the batch that should fit."""

from trainer.accel.device_errors import first_line, memory_figures, memory_for_this_process
from trainer.engine.run import Run
from trainer.schema.errors import OutOfMemory
from trainer.spec.cost import largest_batch


def out_of_memory(error: BaseException, run: Run) -> OutOfMemory:
    """Return the error that tells the user what to change."""
    device = run.context.device
    where = "GPU" if device.type == "cuda" else "host"
    figures = memory_figures(error, device) or first_line(error)
    return OutOfMemory(f"The {where} ran out of memory: {figures}.", hint=_hint(run))


def _hint(run: Run) -> str | None:
    memory_bytes = memory_for_this_process(run.context.device)
    if memory_bytes is None:
        return None
    spec = run.spec
    batch_rows = largest_batch(spec, run.source.pack.facts, memory_bytes=memory_bytes)
    if batch_rows is None:
        return (
            "By estimate not even a small batch fits: lower views.side_px, choose a smaller "
            "encoder, or use a GPU with more memory."
        )
    return (
        f"Lower batch_rows from {spec.batch_rows} to {batch_rows}, the largest that should fit by "
        "estimate; or lower views.side_px, or choose a smaller encoder."
    )
