"""Checks that a batch can be trained in parts. Loads no tensors."""

from trainer.schema.errors import SpecError
from trainer.spec.job import JobSpec
from trainer.spec.resources import GPUS, ROWS_MIN
from trainer.spec.rules import filled

FIELD = "optim.accumulate_steps"


def check_parts(spec: JobSpec) -> None:
    """Raise SpecError, naming the field, unless a batch has equal parts that can be added up."""
    parts, batch_rows = spec.optim.accumulate_steps, filled(spec.batch_rows)
    if parts == 1:
        return
    if batch_rows % parts or batch_rows // parts < ROWS_MIN:
        raise SpecError(
            f"{batch_rows} rows have no {parts} equal parts of at least {ROWS_MIN} rows; make "
            f"batch_rows a multiple of {parts} from {ROWS_MIN * parts}",
            field=FIELD,
            also=("batch_rows",),
        )
    if spec.partial_batch == "keep":
        raise SpecError(
            "the last batch of an epoch may not have equal parts; use drop, or accumulate_steps 1",
            field="partial_batch",
            also=(FIELD,),
        )
    if spec.resources.gpus > 1:
        raise SpecError(
            f"{spec.resources.gpus} GPUs already train parts of a batch; use accumulate_steps 1, "
            "or 1 GPU",
            field=FIELD,
            also=(GPUS,),
        )
