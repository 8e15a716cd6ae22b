"""Processes of a job, and the checks that a batch can be shared among them. Loads no tensors."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from trainer.schema.base import Record
from trainer.schema.errors import SpecError

GPUS = "resources.gpus"
ROWS_MIN = 2
"""Rows that the statistics of a batch norm need."""
GROUPS_MIN = 2
"""Groups of batch norm on a GPU, so that shuffling moves keys between them."""


class BatchNorm(NamedTuple):
    """Batch norm of a job's networks."""

    kind: Literal["split", "sync", "plain", "none"]
    splits: int = 1
    """Number of groups of rows; read with `split` alone."""
    is_shuffled: bool = False
    """Keys change groups on their GPU, so that they do not share statistics with their queries."""


class Resources(Record):
    """GPUs that train one job together, one process each. On a CPU a process takes one slot."""

    gpus: Annotated[int, Field(ge=1, le=1024)] = 1
    """Number of GPUs in total, of all nodes. They share `batch_rows`, which stays the size of the
    whole batch."""
    nodes: Annotated[int, Field(ge=1, le=128)] = 1
    """Number of machines, each with the same number of GPUs."""

    @field_validator("nodes")
    @classmethod
    def _divides(cls, nodes: int, info: ValidationInfo) -> int:
        """Raise PydanticCustomError unless every node gets the same number of GPUs."""
        gpus = info.data.get("gpus", nodes)
        if gpus % nodes:
            raise PydanticCustomError(
                "uneven_nodes",
                "{gpus} GPUs cannot be spread evenly over {nodes} nodes; "
                "make gpus a multiple of nodes",
                {"gpus": gpus, "nodes": nodes},
            )
        return nodes

    @property
    def slots_per_node(self) -> int:
        """Number of slots that the job takes on each of its nodes."""
        return self.gpus // self.nodes


def check_shares(
    gpus: int, *, batch_rows: int, norm: BatchNorm, partial_batch: str, shuffle_parts: int
) -> None:
    """Raise SpecError, naming the field, unless each GPU gets the same whole share of a batch."""
    if gpus == 1:
        return
    if batch_rows % gpus:
        raise SpecError(
            f"{gpus} GPUs cannot share {batch_rows} rows evenly; make batch_rows a multiple of "
            f"{gpus}, such as {_multiple_near(batch_rows, gpus)}",
            field=GPUS,
            also=("batch_rows",),
        )
    if partial_batch == "keep":
        raise SpecError(
            f"the last batch of an epoch cannot be shared by {gpus} GPUs; use drop, or 1 GPU",
            field="partial_batch",
            also=(GPUS,),
        )
    _check_batch_norm(gpus, batch_rows=batch_rows, norm=norm)
    if shuffle_parts % gpus or batch_rows % shuffle_parts:
        raise SpecError(
            f"{batch_rows} rows in {shuffle_parts} parts cannot be shared by {gpus} GPUs; use "
            f"{gpus}, or leave it out",
            field="method.shuffle_parts",
            also=(GPUS,),
        )


def shared_unit(gpus: int, norm: BatchNorm) -> int:
    """Return the number that a batch must be a multiple of; 1 on one GPU."""
    if gpus == 1:
        return 1
    return norm.splits if norm.kind == "split" and norm.splits % gpus == 0 else gpus


def shared_groups(gpus: int, norm: BatchNorm) -> int:
    """Return the groups of split batch norm that GPUs can share: about as many as there are."""
    return gpus * max(GROUPS_MIN if norm.is_shuffled else 1, norm.splits // gpus)


def _check_batch_norm(gpus: int, *, batch_rows: int, norm: BatchNorm) -> None:
    if norm.kind == "none":
        return
    if norm.kind == "plain":
        raise SpecError(
            f"plain takes its statistics from the whole batch, which {gpus} GPUs do not have in "
            "one place; use split or sync, or 1 GPU",
            field="method.bn",
            also=(GPUS,),
        )
    if norm.kind == "split" and norm.splits % gpus:
        raise SpecError(
            f"{norm.splits} groups cannot be shared by {gpus} GPUs; use a multiple of {gpus}, "
            f"such as {shared_groups(gpus, norm)}",
            field="method.bn_splits",
            also=(GPUS,),
        )
    if norm.kind == "split" and norm.is_shuffled and norm.splits < GROUPS_MIN * gpus:
        raise SpecError(
            f"{norm.splits} groups on {gpus} GPUs; keys are shuffled among the groups of a GPU: "
            "in one group they share statistics with their queries, which leaks the answer; "
            f"use a multiple of {gpus} from {GROUPS_MIN * gpus}",
            field="method.bn_splits",
            also=(GPUS,),
        )
    groups = shared_unit(gpus, norm)
    if batch_rows % groups or batch_rows // groups < ROWS_MIN:
        raise SpecError(
            f"{batch_rows} rows in {groups} groups of batch norm on {gpus} GPUs; a group needs the "
            f"same number of rows on each, at least {ROWS_MIN}: use a multiple of {groups} from "
            f"{ROWS_MIN * groups}",
            field="batch_rows",
            also=(GPUS,),
        )


def _multiple_near(number: int, unit: int) -> int:
    """Return the multiple of `unit` that is nearest to `number` from below, at least `unit`."""
    return max(unit, number // unit * unit)
