"""Answer of CUDA on a machine that exists only for `pynvml`."""

from types import SimpleNamespace
from typing import Any

from tests.support.gpus.fake_nvml import GIB, FakeMachine


def devices(machine: FakeMachine, names: str) -> list[dict[str, Any]]:
    """Return the devices that CUDA sees: up to the first wrong name, and of MIG the first alone."""
    whole = {card.uuid: card for card in machine.cards}
    parts = {part.uuid: (card, part) for card in machine.cards for part in card.instances}
    seen: list[dict[str, Any]] = []
    for name in names.split(","):
        if name in whole:
            card = whole[name]
            seen.append(_device(card.name, card.memory_bytes, card.capability))
        elif name in parts and not seen:
            card, part = parts[name]
            return [_device(part.name, part.memory_bytes, card.capability)]
        elif name in machine.cuda_only and not seen:
            return [_device("A device of CUDA", 10 * GIB, (8, 0))]
        else:
            return seen
    return seen


def torch_cuda(machine: FakeMachine, names: str) -> SimpleNamespace:
    """Return the part of `torch.cuda` that `worker.gpus.cuda_probe` uses."""
    visible = devices(machine, names)

    def init() -> None:
        if machine.cuda_error:
            raise RuntimeError(machine.cuda_error)
        if not visible:
            raise RuntimeError("No CUDA GPUs are available")

    return SimpleNamespace(
        init=init,
        get_arch_list=lambda: machine.torch["archs"],
        device_count=lambda: len(visible),
        get_device_properties=lambda index: SimpleNamespace(
            name=visible[index]["name"],
            total_memory=visible[index]["memory_bytes"],
            major=visible[index]["capability"][0],
            minor=visible[index]["capability"][1],
        ),
    )


def _device(name: str, memory_bytes: int, capability: tuple[int, int]) -> dict[str, Any]:
    return {"name": name, "memory_bytes": memory_bytes, "capability": list(capability)}
