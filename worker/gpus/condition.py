"""Condition of the cards of this machine: modes, memory errors and the paths between them."""

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import pynvml

from worker.gpus.nvml import GpuDevice, Handle, has_mig, opened, optional

Path = Literal["nvlink", "pcie", "host memory"]
"""Shortest way of bytes from one GPU to another."""

_MODES = {
    pynvml.NVML_COMPUTEMODE_DEFAULT: "default",
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD: "exclusive",
    pynvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive",
}


@dataclass(frozen=True, slots=True)
class CardCondition:
    """State of one card; None where it does not say."""

    card: int
    mig: bool
    compute_mode: str | None
    """`default`, `exclusive` (one process at a time) or `prohibited`."""
    persistence: bool | None
    uncorrected_errors: int | None
    """Memory errors since the driver was loaded that ECC could not correct."""
    remap_pending: bool | None
    """True if rows of its memory are replaced at the next reset."""
    remap_failed: bool | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def read_conditions() -> list[CardCondition]:
    """Return the condition of every card that answers; none without a driver."""
    try:
        with opened():
            return [_condition(card, handle) for card, handle in _handles()]
    except pynvml.NVMLError:
        return []


def read_paths(gpus: list[GpuDevice]) -> dict[tuple[int, int], Path]:
    """Return the path between each two of these cards, by their numbers."""
    numbers = sorted({gpu.card for gpu in gpus})
    try:
        with opened():
            handles = dict(_handles())
            pairs = [pair for pair in combinations(numbers, 2) if handles.keys() >= {*pair}]
            return {(a, b): _path(handles[a], handles[b]) for a, b in pairs}
    except pynvml.NVMLError:
        return {}


def _handles() -> list[tuple[int, Handle]]:
    handles = [
        (card, optional(pynvml.nvmlDeviceGetHandleByIndex, card))
        for card in range(pynvml.nvmlDeviceGetCount())
    ]
    return [(card, handle) for card, handle in handles if handle is not None]


def _condition(card: int, handle: Handle) -> CardCondition:
    persistence = optional(pynvml.nvmlDeviceGetPersistenceMode, handle)
    rows = optional(pynvml.nvmlDeviceGetRemappedRows, handle)
    return CardCondition(
        card=card,
        mig=has_mig(handle),
        compute_mode=_MODES.get(optional(pynvml.nvmlDeviceGetComputeMode, handle)),
        persistence=None if persistence is None else persistence == pynvml.NVML_FEATURE_ENABLED,
        uncorrected_errors=optional(
            pynvml.nvmlDeviceGetTotalEccErrors,
            handle,
            pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            pynvml.NVML_VOLATILE_ECC,
        ),
        remap_pending=None if rows is None else bool(rows[2]),
        remap_failed=None if rows is None else bool(rows[3]),
    )


def _path(first: Handle, second: Handle) -> Path:
    def is_open(capability: int) -> bool:
        status = optional(pynvml.nvmlDeviceGetP2PStatus, first, second, capability)
        return bool(status == pynvml.NVML_P2P_STATUS_OK)

    if is_open(pynvml.NVML_P2P_CAPS_INDEX_NVLINK):
        return "nvlink"
    return "pcie" if is_open(pynvml.NVML_P2P_CAPS_INDEX_WRITE) else "host memory"
