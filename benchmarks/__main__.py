"""Run a benchmark by its name.

python -m benchmarks                    list the benchmarks
python -m benchmarks NAME [OPTION ...]  run one; `--help` shows its options
"""

import ast
import sys
from importlib import import_module
from pathlib import Path

SUITES = Path(__file__).parent / "suites"


def main() -> None:
    """Run the benchmark that the first argument names, with the arguments after it."""
    paths = suite_paths()
    name, *options = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(__doc__)
        print("\n".join(f"{name:<20} {summary(path)}" for name, path in paths.items()))
        return
    if name not in paths:
        raise SystemExit(f"There is no benchmark {name}. Choose from: {', '.join(paths)}.")
    sys.argv = [f"python -m benchmarks {name}", *options]
    module = paths[name].relative_to(SUITES.parents[1]).with_suffix("")
    import_module(".".join(module.parts)).main()


def suite_paths() -> dict[str, Path]:
    """Return the main module of each benchmark: `suites/NAME.py` or `suites/NAME/main.py`."""
    modules = {path.stem: path for path in SUITES.glob("*.py")}
    packages = {path.parent.name: path for path in SUITES.glob("*/main.py")}
    return dict(sorted((modules | packages).items()))


def summary(path: Path) -> str:
    """Return the first line of a module's docstring without importing the module."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0]


if __name__ == "__main__":
    main()
