"""A GPU without a GPU: its tensors have shapes and no values, those of the CPU are real.

Under the mode of this module, whatever is made for `cuda` or moved there is a FakeTensor. So code
for a GPU runs as it is, nothing is computed, and these are known afterwards: operations and their
bytes, copies over the bus, what the host waited for, what a capture would have refused, and the
memory that was alive. An operation that mixes devices raises, as it does on a GPU.

Not seen: which kernels a library chooses, time, and what other threads do (the mode belongs to the
thread that enters it). A value that the host reads is made up: 0.5, -1, or False.
"""

import traceback
import weakref
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import (
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from tests.support.pretend_gpu.counts import Copy, Counts, Memory, Operation, Pool, Recording

READS = frozenset({"_local_scalar_dense", "equal", "is_nonzero", "bincount"})
"""They give a value of the device to the host; bincount the largest, for its shape."""
FREE = frozenset(
    {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
)
"""They launch nothing; nor do those that torch itself calls views."""
SELECTIONS = frozenset({"gather", "index", "index_select"})
"""They read no more of their first operand than they write."""
OPTIMIZERS = "_fused_"
"""Their names begin with it. Torch knows no shapes of them; they change their lists in place."""
ROOM = Path(__file__).parent
TORCH = Path(torch.__file__).parent


class Call(NamedTuple):
    """One operation with its arguments."""

    func: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        """Name in `torch.ops.aten`."""
        return self.func._schema.name.removeprefix("aten::")

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments, also those in lists."""
        return [x for x in tree_leaves((self.args, self.kwargs)) if isinstance(x, Tensor)]

    @property
    def device(self) -> str | None:
        """Type of the device that the result is asked for on."""
        named = self.kwargs.get("device")
        return None if named is None else torch.device(named).type

    @property
    def is_for_gpu(self) -> bool:
        """True if it takes or makes a tensor of the GPU."""
        return self.device == "cuda" or any(map(_is_fake, self.tensors))

    @property
    def is_non_blocking(self) -> bool:
        """True if a copy lets the host go on."""
        return bool(self.kwargs.get("non_blocking") or (len(self.args) > 2 and self.args[2]))

    def __call__(self) -> Any:  # noqa: ANN401
        """Do it."""
        return self.func(*self.args, **self.kwargs)


class PretendGpu(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types
    """All tensors of `cuda` while it is entered, and what was counted of them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts, self.memory = Counts(), Memory()
        self.current_device = 0
        self.recordings: list[Recording] = []
        """All graphs that were captured, in their order."""
        self._recording: Recording | None = None
        self._pool: Pool | None = None
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._pinned = WeakIdKeyDictionary()
        self._storages = WeakIdKeyDictionary()
        self._made_by = WeakIdKeyDictionary()

    def exchange_device(self, index: int) -> int:
        """Make a device the current one; return the one before. A negative index changes none."""
        before = self.current_device
        self.current_device = index if index >= 0 else before
        return before

    @property
    def is_capturing(self) -> bool:
        """True if a graph is being captured."""
        return self._recording is not None

    @contextmanager
    def allocating_from(self, pool: Pool) -> Iterator[None]:
        """Take the memory of new tensors from a pool of graphs."""
        before, self._pool = self._pool, pool
        try:
            yield
        finally:
            self._pool = before

    @contextmanager
    def capture(self, pool: Pool) -> Iterator[Recording]:
        """Record what the block launches instead of doing it; its tensors are of the pool."""
        recording = self._recording = Recording()
        self._pool = pool
        try:
            yield recording
        finally:
            self._recording = self._pool = None
        self.recordings.append(recording)

    def replay(self, recording: Recording) -> None:
        """Do what was recorded, by one launch."""
        self.counts.launches += 1
        self.counts.kernels.update(recording.kernels())
        self.counts.operand_bytes.update(recording.operand_bytes)

    def wait(self, reason: str) -> None:
        """Note that the host waits for the device. Raises RuntimeError inside of a capture."""
        self.refuse_in_capture(reason)
        self.counts.waits.append(f"{reason} at {_caller()}")

    def refuse_in_capture(self, reason: str) -> None:
        """Raise RuntimeError if a graph is being captured, as CUDA does."""
        if self._recording is not None:
            self.counts.forbidden.append(f"{reason} at {_caller()}")
            raise RuntimeError(f"operation not permitted when stream is capturing: {reason}")

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operation: as it is on the CPU, else by its shapes alone."""
        del types
        call = Call(func, args, dict(kwargs or {}))
        if call.kwargs.get("pin_memory") or call.name in {"_pin_memory", "is_pinned"}:
            return self._pin(call)
        if not call.is_for_gpu:
            return call()
        if _is_composite(func):  # as those that inference_mode does not take apart
            with self:
                return func.decompose(*call.args, **call.kwargs)
        if call.name in READS:
            return self._read(call)
        if (copied := self._to_host(call)) is not None:
            return copied
        self._note_copy_to_device(call)
        out = self._shapes(call)
        self._own(call, out)
        if not _is_free(func):
            self._count(call, out)
        return out

    def _pin(self, call: Call) -> Any:  # noqa: ANN401
        """Make pinned memory, or say whether some is. It is the CPU's as any other."""
        if call.name == "is_pinned":
            return call.args[0].untyped_storage() in self._pinned
        if call.name == "_pin_memory":
            out = call.args[0].clone()
        else:
            out = call._replace(kwargs=call.kwargs | {"pin_memory": False})()
        self._pinned[out.untyped_storage()] = True
        return out

    def _read(self, call: Call) -> Any:  # noqa: ANN401
        """Make the host wait for a value, and return one that is made up."""
        self.wait(f"{call.name} reads a value")
        return self._bincount(call) if call.name == "bincount" else self._made_up(call)

    def _made_up(self, call: Call) -> bool | float | int:
        """Return a value that checks of settings accept: what is compared lies in the range."""
        value = call.args[0]
        if call.name == "equal":
            return False
        if value.dtype == torch.bool or call.name == "is_nonzero":
            return value in self._made_by and self._made_by[value] in {"le", "ge"}
        return 0.5 if value.dtype.is_floating_point else -1

    def _bincount(self, call: Call) -> Tensor:
        """Count as if no value lay past `minlength`; the real one waits for the largest."""
        values, weights, length = (*call.args, None, 0)[:3]
        with self:
            out: Tensor = values.new_zeros(call.kwargs.get("minlength", length))
        # Torch refuses it with weights alone.
        self.counts.kernels["bincount" if weights is None else "weighted_bincount"] += 1
        return out

    def _to_host(self, call: Call) -> Tensor | None:
        """Copy to the CPU: zeros in place of values that nobody computed. None: no such copy."""
        if call.name == "_to_copy" and call.device == "cpu":
            source = call.args[0]
            target = torch.zeros(source.shape, dtype=call.kwargs.get("dtype") or source.dtype)
            if call.is_non_blocking:  # torch pins what it makes for such a copy
                self._pinned[target.untyped_storage()] = True
        elif call.name == "copy_" and not _is_fake(call.args[0]):
            target, source = call.args[0].zero_(), call.args[1]
        else:
            return None
        is_pinned = target.untyped_storage() in self._pinned
        self.counts.to_host.append(Copy(_size_bytes(source), is_pinned))
        if not (is_pinned and call.is_non_blocking):
            self.wait("a copy to the host")
        return target

    def _note_copy_to_device(self, call: Call) -> None:
        if call.name not in {"_to_copy", "copy_"}:
            return
        source = call.args[1] if call.name == "copy_" else call.args[0]
        if _is_fake(source):
            return
        self.refuse_in_capture("a copy to the device")
        is_pinned = source.untyped_storage() in self._pinned
        self.counts.to_device.append(Copy(_size_bytes(source), is_pinned))
        if not call.is_non_blocking:
            self.wait("a copy to the device")

    def _shapes(self, call: Call) -> Any:  # noqa: ANN401
        """Return what the operation returns, without values."""
        if call.name.startswith(OPTIMIZERS):
            devices = {str(x.device) for x in call.tensors}
            if len(devices) > 1:
                raise RuntimeError(f"{call.name} mixes devices: {sorted(devices)}")
            return None

        def known(value: object) -> object:
            if isinstance(value, Tensor) and not _is_fake(value):
                return self._fake.from_tensor(value)
            return value

        args, kwargs = tree_map(known, (call.args, call.kwargs))
        try:
            with self._fake:
                return call.func(*args, **kwargs)
        except DynamicOutputShapeException:
            self.wait(f"{call.name} needs values for its shape")
            raise

    def _own(self, call: Call, out: object) -> None:
        """Count the memory of new tensors for as long as they live."""
        for tensor in _gpu_tensors(out):
            self._made_by[tensor] = call.name
            storage = tensor.untyped_storage()
            if storage not in self._storages:
                size_bytes = storage.nbytes()
                self._storages[storage] = size_bytes
                self.counts.devices[str(tensor.device)] += 1
                self.memory.take(size_bytes, self._pool)
                weakref.finalize(storage, self.memory.free, size_bytes, self._pool)

    def _count(self, call: Call, out: object) -> None:
        size_bytes = _operand_bytes(call, out)
        if _draws_numbers(call):
            self.counts.random_draws.append(f"{call.name} at {_caller()}")
        if self._recording is not None:
            self._recording.operations.append(Operation(call.name, _arguments(call)))
            self._recording.operand_bytes[call.name] += size_bytes
            return
        self.counts.launches += 1
        self.counts.kernels[call.name] += 1
        self.counts.operand_bytes[call.name] += size_bytes


@cache
def _is_composite(func: OpOverload) -> bool:
    """Return whether an operation only calls others."""
    composite = DispatchKey.CompositeImplicitAutograd
    return func.namespace == "aten" and func.has_kernel_for_dispatch_key(composite)


def _draws_numbers(call: Call) -> bool:
    """Return whether an operation draws random numbers, as attention does for dropout alone."""
    if torch.Tag.nondeterministic_seeded not in call.func.tags:
        return False
    names = [argument.name for argument in call.func._schema.arguments]
    if not call.name.startswith("_scaled_dot_product_") or "dropout_p" not in names:
        return True
    place = names.index("dropout_p")
    given = call.args[place] if place < len(call.args) else call.kwargs.get("dropout_p", 0.0)
    return bool(given > 0.0)


def _is_fake(value: object) -> bool:
    return isinstance(value, FakeTensor)


def _gpu_tensors(values: object) -> list[Tensor]:
    return [x for x in tree_leaves(values) if _is_fake(x) and x.device.type == "cuda"]


@cache
def _is_free(func: OpOverload) -> bool:
    """Return whether an operation launches nothing: it allocates or returns a view."""
    name = func._schema.name.removeprefix("aten::")
    return func.namespace != "aten" or func.is_view or name in FREE


def _size_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _operand_bytes(call: Call, out: object) -> int:
    """Return the bytes that an operation reads and writes."""
    written = sum(map(_size_bytes, _gpu_tensors(out)))
    read = [_size_bytes(x) for x in {id(x): x for x in _gpu_tensors(call.tensors)}.values()]
    if call.name in SELECTIONS:
        read[0] = min(read[0], written)
    return written + sum(read)


def _arguments(call: Call) -> tuple[Hashable, ...]:
    return tuple(
        (tuple(x.shape), x.dtype) if isinstance(x, Tensor) else repr(x)
        for x in tree_leaves((call.args, call.kwargs))
    )


def _caller() -> str:
    """Return file and line of the code that called torch."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if ROOM not in path.parents and TORCH not in path.parents and path.suffix == ".py":
            return f"{path.parent.name}/{path.name}:{frame.lineno}"
    return "?"
