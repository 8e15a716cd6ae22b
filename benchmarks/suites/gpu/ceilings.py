"""Peak rates of the device, and the speed of a MoCo step at those rates."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

REPEATS = 10

WORK_PER_ROW = {
    ("resnet50", 224): (32.7e9, 419e6),
    ("resnet18", 32): (4.44e9, 24e6),
}
"""Encoder and side: operations and bytes of a row.

Operations: three forward passes' worth for the query, one for the key, two for each multiply-add.
Bytes, in bfloat16: what convolutions and batch norms read and write when each ReLU is fused with
its neighbour; the query forward and back, the key forward.
"""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Peak rates, measured in the same run as the arms that they bound."""

    product_flop_per_s: float
    """Rate of a square matrix product in bfloat16."""
    copy_bytes_per_s: float
    """Read and written, within the device's memory."""

    def roofline_rows_per_s(self, encoder: str, side_px: int) -> float | None:
        """Return rows per second at the lower ceiling, None without counted work."""
        work = WORK_PER_ROW.get((encoder, side_px))
        if work is None:
            return None
        flop, moved_bytes = work
        return min(self.product_flop_per_s / flop, self.copy_bytes_per_s / moved_bytes)


def measure_ceilings(device: torch.device, *, side: int, copied_bytes: int) -> Ceilings:
    """Measure both ceilings: a [side, side] product and a memory copy, medians of ten."""
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    product = torch.empty_like(left)
    product_s = median_s(lambda: torch.mm(left, right, out=product), device)
    source = torch.ones(copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = median_s(lambda: target.copy_(source), device)
    return Ceilings(2.0 * side**3 / product_s, 2.0 * copied_bytes / copy_s)


def median_s(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, by the host's clock with nothing left to do on the device."""
    seconds = []
    for attempt in range(REPEATS + 2):
        synchronize(device)
        began_s = time.perf_counter()
        work()
        synchronize(device)
        if attempt >= 2:
            seconds.append(time.perf_counter() - began_s)
    return median(seconds)


def synchronize(device: torch.device) -> None:
    """Synchronize with the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
