"""Fit of the driver and the cards to the installed torch. Pure: asks nobody.

Each function returns a sentence that says what is wrong, where, and what to do next; or None.
"""

from worker.gpus.cuda_probe import CudaAnswer, TorchBuild
from worker.gpus.nvml import GpuDevice

_DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""Oldest Linux driver that runs any CUDA release of a major version."""


def driver_problem(
    build: TorchBuild | None, *, driver: str, cuda: tuple[int, int] | None
) -> str | None:
    """Return why no GPU can be used at all. Within one major version CUDA needs no newer driver."""
    if build is None or cuda is None:
        return None
    if build.cuda is None:
        return (
            f"torch {build.version} is built without CUDA. Install the wheel for CUDA "
            f"{dotted(cuda)} or older from pytorch.org."
        )
    if cuda[0] >= build.cuda[0]:
        return None
    wanted = _DRIVERS.get(build.cuda[0])
    newer = f"driver {wanted} or newer" if wanted else "a newer driver"
    return (
        f"The NVIDIA driver {driver} runs CUDA {dotted(cuda)}, but torch {build.version} is built "
        f"for CUDA {dotted(build.cuda)}. Install {newer}, or the wheel of torch for CUDA "
        f"{cuda[0]}.x from pytorch.org."
    )


def card_problem(gpu: GpuDevice, build: TorchBuild | None) -> str | None:
    """Return why torch cannot use this card: no kernel in the wheel runs on it."""
    if build is None or gpu.capability is None or not build.archs:
        return None
    if any(_runs_on(arch, gpu.capability) for arch in build.archs):
        return None
    return (
        f"{gpu.name} ({gpu.uuid}) has compute capability {dotted(gpu.capability)}, and torch "
        f"{build.version} is built for {', '.join(build.archs)}. Install a wheel of torch for this "
        "card from pytorch.org, or leave the card out of MOCO_DEVICE."
    )


_CURES = (
    ("system not yet initialized", "On a machine with NVSwitch, start nvidia-fabricmanager."),
    ("busy or unavailable", "Another process has the GPU in exclusive mode: see `nvidia-smi`."),
    ("forward compatibility", "Remove the cuda-compat libraries, or update the driver."),
    ("unknown error", "Load nvidia-uvm (`nvidia-modprobe -u -c=0`); then see `dmesg` for Xid."),
    ("no answer within", "A GPU hangs: see `dmesg` for Xid, and reset it or reboot."),
)


def start_problem(answer: CudaAnswer, *, expected: int) -> str | None:
    """Return why CUDA does not start although the driver lists `expected` usable GPUs."""
    if len(answer.devices) >= expected or (answer.build is None and answer.error is None):
        return None
    error = answer.error or f"it sees {len(answer.devices)} of {expected}"
    cures = [cure for words, cure in _CURES if words in error.lower()]
    cure = cures[0] if cures else "See `dmesg` for Xid, and what `nvidia-smi` says."
    gpus = "a GPU" if expected == 1 else f"{expected} GPUs"
    return f"The driver lists {gpus}, but CUDA cannot start: {error}. {cure}"


def bf16_note(gpu: GpuDevice) -> str | None:
    """Return what a card without bf16 means for jobs."""
    if gpu.has_bf16:
        return None
    return f"{gpu.name} ({gpu.uuid}) has no bf16: jobs with `precision: auto` train in fp32."


def dotted(pair: tuple[int, int]) -> str:
    """Return `13.2` for (13, 2)."""
    return f"{pair[0]}.{pair[1]}"


def _runs_on(arch: str, capability: tuple[int, int]) -> bool:
    """Return whether code for an architecture, such as sm_90a or compute_90, runs on a card.

    Machine code runs on its own major version from its minor version on, a variant `a` on its own
    card alone; PTX (compute) is compiled for any later card.
    """
    kind, _, number = arch.partition("_")
    digits = number.rstrip("af")
    if not digits.isdigit():
        return False
    major, minor = int(digits[:-1] or 0), int(digits[-1])
    if number.endswith("a"):
        return (major, minor) == capability
    if kind == "compute":
        return (major, minor) <= capability
    return kind == "sm" and major == capability[0] and minor <= capability[1]
