"""Names of modules: one name, one thing, over all packages that are installed."""

from collections import defaultdict
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGES = ("mocoserve", "service", "trainer", "worker")

ROLES = frozenset(
    {
        *("__init__", "__main__"),
        *("spec", "base", "defaults", "cost", "method", "evaluator", "exporter"),
        *("modality", "metrics", "outputs", "unpacked"),
        "errors",  # the tree of exceptions of a package
        "settings",  # what a process reads from its environment
        "ingest",  # the ingest, and what of a modality it takes
        "partners",  # the rows that second views come from, by one way to choose positives
        "registry",  # the list of the members of a folder, by name
        "kernels",  # the compiled functions beside the module that calls them
    }
)
"""Basenames that say what a module is for its folder, so they may repeat."""

MIRRORS = (
    "mocoserve/",
    "service/api/routes/",
    "service/api/schemas/",
    "service/cli/commands/",
)
"""Folders with one module a resource or command: client, route, schema and command agree."""


def repeated(paths: list[str]) -> dict[str, list[str]]:
    """Return the paths of each basename that stands more than once and is neither role nor mirror.

    Of the modules in mirrored folders, one for each name counts.
    """
    groups = defaultdict[str, list[str]](list)
    for path in paths:
        groups[Path(path).stem].append(path)
    return {
        name: sorted(group)
        for name, group in groups.items()
        if name not in ROLES and len(_distinct(group)) > 1
    }


def _distinct(paths: list[str]) -> set[str]:
    return {"mirror" if path.startswith(MIRRORS) else path for path in paths}


def modules() -> list[str]:
    """Return the path of every Python file, from the root of the repository."""
    return [
        path.relative_to(REPO).as_posix()
        for package in PACKAGES
        for path in (REPO / package).rglob("*.py")
    ]


def test_a_basename_repeats_only_as_a_role_or_a_mirror() -> None:
    assert repeated(modules()) == {}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["service/x/jobs.py", "worker/jobs.py"], {"jobs"}),
        (["service/x/jobs.py", "mocoserve/jobs.py"], {"jobs"}),
        (["mocoserve/jobs.py", "service/api/routes/jobs.py"], set()),
        (["trainer/methods/moco/spec.py", "trainer/optim/spec.py"], set()),
    ],
)
def test_repetitions_are_found(paths: list[str], names: set[str]) -> None:
    assert repeated(paths).keys() == names
