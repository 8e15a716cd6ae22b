"""Module whose import starts CUDA, for all that a forkserver can tell."""

import sys
from types import ModuleType

cuda = ModuleType("torch.cuda")
cuda.is_initialized = lambda: True  # type: ignore[attr-defined]
sys.modules["torch.cuda"] = cuda
