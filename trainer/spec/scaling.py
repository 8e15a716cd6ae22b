"""Arithmetic of one batch on many GPUs: where communication ends the gain. Loads no tensors.

The batch is shared, so a GPU computes less with every GPU that joins, while the gradients that all
exchange stay as large. The figures are those of a paper calculation for H200s; nothing is measured.
"""

from typing import NamedTuple

from trainer.schema.base import Record
from trainer.spec.resources import ROWS_MIN

GPU_FLOPS_PER_S = 1.3e14
"""Training speed of one H200: 4,000 rows/s of ResNet-50 at 224 px with MoCo, 33 Gflop each."""
NODE_BYTES_PER_S = 400e9
"""Bus bandwidth of a GPU within a node: NVLink."""
NETWORK_BYTES_PER_S = 40e9
"""Bus bandwidth of a GPU between nodes: InfiniBand of 50 GB/s."""
GPUS_PER_NODE = 8
SHARE_MAX = 0.2
"""Share of a step for communication beyond which more GPUs of the same batch gain little."""
GPUS_MAX = 1024
ASSUMPTIONS = (
    "H200s at 4,000 rows/s of ResNet-50 at 224 px, other models in proportion; all-reduce in a "
    "ring, 400 GB/s within a node of 8 GPUs and 40 GB/s per GPU between nodes; no overlap with "
    "computation"
)


class StepWork(NamedTuple):
    """Work of one step, whatever the number of GPUs."""

    batch_rows: int
    flops_per_row: float
    gradient_bytes: float
    """Bytes that all GPUs sum: a gradient of 4 bytes for each parameter."""
    row_bytes: float
    """Bytes of each row that every GPU needs: embeddings and row number."""


class Scaling(Record):
    """Arithmetic of sharing a job's batch among GPUs; nothing is measured."""

    gpus: int
    """GPUs that the job asks for."""
    rows_per_gpu: int
    """Rows of a batch on each GPU."""
    sent_bytes: int
    """Bytes that each GPU sends in a step."""
    communication_share: float
    """Share of a step in which GPUs only communicate."""
    gpus_limit: int
    """Largest number of GPUs that share the batch with at most 20 % of communication."""
    assumptions: str
    """Speeds and bandwidths that the figures assume."""


def scaling(work: StepWork, gpus: int) -> Scaling:
    """Return how a batch is shared among `gpus`."""
    return Scaling(
        gpus=gpus,
        rows_per_gpu=work.batch_rows // gpus,
        sent_bytes=round(sent_bytes(work, gpus)),
        communication_share=round(communication_share(work, gpus), 4),
        gpus_limit=gpus_limit(work),
        assumptions=ASSUMPTIONS,
    )


def sent_bytes(work: StepWork, gpus: int) -> float:
    """Return the bytes that each GPU sends in a step: a ring all-reduce and an all-gather."""
    ring = (gpus - 1) / gpus
    return ring * (2 * work.gradient_bytes + work.row_bytes * work.batch_rows)


def communication_share(work: StepWork, gpus: int) -> float:
    """Return the share of a step in which GPUs communicate and compute nothing."""
    bandwidth = NODE_BYTES_PER_S if gpus <= GPUS_PER_NODE else NETWORK_BYTES_PER_S
    communication_s = sent_bytes(work, gpus) / bandwidth
    compute_s = work.batch_rows / gpus * work.flops_per_row / GPU_FLOPS_PER_S
    return communication_s / (communication_s + compute_s)


def gpus_limit(work: StepWork) -> int:
    """Return the most GPUs that share the batch evenly with at most SHARE_MAX of communication."""
    most = min(work.batch_rows // ROWS_MIN, GPUS_MAX)
    fitting = [gpus for gpus in range(1, most + 1) if work.batch_rows % gpus == 0]
    return max(
        (gpus for gpus in fitting if communication_share(work, gpus) <= SHARE_MAX), default=1
    )
