"""Names of GPUs, as CUDA_VISIBLE_DEVICES and MOCO_DEVICE have them. Pure: asks no driver.

A number counts the GPUs in PCI order. `GPU-` and `MIG-` names may be shortened to a prefix that
fits one device. A GPU in MIG mode stands for all of its instances.
"""

from collections.abc import Sequence

from worker.gpus.nvml import GpuDevice

_HIDDEN = frozenset({"-1", "none", "void", "nodevfiles"})
"""First names by which CUDA_VISIBLE_DEVICES hides every GPU."""


class UnknownName(ValueError):
    """A name that fits no device of this machine, or more than one."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


def split(names: str) -> list[str]:
    """Return the names in a comma-separated list; none where it hides every GPU."""
    words = [word for word in map(str.strip, names.split(",")) if word]
    return [] if words and words[0].lower() in _HIDDEN else words


def match(name: str, gpus: Sequence[GpuDevice]) -> list[GpuDevice]:
    """Return the GPUs that a name of CUDA_VISIBLE_DEVICES stands for. Raises UnknownName."""
    if name.isdigit():
        chosen = [gpu for gpu in gpus if gpu.card == int(name)]
        if not chosen:
            raise UnknownName(name, f"no GPU that can be used has this number; {listed(gpus)}")
        return chosen
    if name.startswith("MIG-"):
        return _matching(name, [gpu for gpu in gpus if gpu.is_mig], by_card=False)
    if name.startswith("GPU-"):
        return _matching(name, gpus, by_card=True)
    raise UnknownName(name, "a name is a number, GPU-... or MIG-... (see `nvidia-smi -L`)")


def match_device(device: str, gpus: Sequence[GpuDevice]) -> list[GpuDevice]:
    """Return the GPUs that one name of MOCO_DEVICE stands for. Raises UnknownName.

    `cuda:N` counts the GPUs that this process may use; `cuda` is `cuda:0`.
    """
    if device == "auto":
        return list(gpus)
    if not device.startswith("cuda"):
        return match(device, gpus)
    index = int(device.partition(":")[2] or 0)
    if index >= len(gpus):
        raise UnknownName(device, f"this process sees {len(gpus)} GPUs; {listed(gpus)}")
    return [gpus[index]]


def listed(gpus: Sequence[GpuDevice]) -> str:
    """Return the names that would have been right, for a message."""
    if not gpus:
        return "there is none"
    return "there are " + ", ".join(f"{gpu.card} ({gpu.uuid})" for gpu in gpus)


def _matching(name: str, gpus: Sequence[GpuDevice], *, by_card: bool) -> list[GpuDevice]:
    """Return the GPUs of the one GPU, or the one instance, whose UUID begins with `name`."""
    uuids = [gpu.card_uuid if by_card else gpu.uuid for gpu in gpus]
    fitting = {uuid for uuid in uuids if uuid == name} or {u for u in uuids if u.startswith(name)}
    if len(fitting) != 1:
        reason = f"it fits {len(fitting)} of them" if fitting else "the driver does not know it"
        raise UnknownName(name, f"{reason}; {listed(gpus)}")
    return [gpu for gpu, uuid in zip(gpus, uuids, strict=True) if uuid in fitting]
