"""Start `moco` and its processes beside folders of the user's own named service, trainer or worker.

A folder in the working directory or on PYTHONPATH hides an installed package of the same name. The
console script and every process that it starts therefore look up our packages where this file is
installed, and everything else as usual. Loads the standard library only.
"""

import runpy
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = ("mocoserve", "service", "trainer", "worker")
_ROOT = str(Path(__file__).resolve().parents[1])


class InstalledPackages(MetaPathFinder):
    """Finder of our top-level packages; it answers for no other name."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of one of our packages, None for any other module."""
        if path is not None or fullname not in PACKAGES:
            return None
        return PathFinder.find_spec(fullname, [_ROOT], target)


def pin_packages() -> None:
    """Look up our packages where they are installed, whatever `sys.path` says."""
    if not any(isinstance(finder, InstalledPackages) for finder in sys.meta_path):
        sys.meta_path.insert(0, InstalledPackages())


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module of ours with this interpreter."""
    return [sys.executable, "-P", str(Path(__file__).resolve()), module, *arguments]


def moco() -> None:
    """Run the command line: the console script `moco`."""
    pin_packages()
    import_module("service.cli.main").main()


def main() -> None:
    """Run the module that the first argument names, as `python -m` would."""
    pin_packages()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
