"""The exports that a job may ask for beside its standard files. Loads no tensors.

Each is a folder here, named like it, and a member of `ExportName`. Its `spec.py` has
`refusal(spec)`, the reason why a job cannot have it, NEEDS if it takes the encoders of one modality
only, and PACKAGES if it needs more than a worker has; its `exporter.py` is an exporter with
`loading(export)`.
"""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from trainer.schema.errors import SpecError
from trainer.schema.events import DataWarning

if TYPE_CHECKING:
    from trainer.spec.job import JobSpec

ExportName = Literal["timm", "torchvision", "onnx", "training_state"]


def part_of(name: str, part: str) -> ModuleType:
    """Return a module of an export: `spec` or `exporter`."""
    return import_module(f"trainer.exports.{name}.{part}")


def check_exports(spec: "JobSpec") -> None:
    """Raise SpecError for an export that the encoder of a job with every value cannot have."""
    for name in spec.exports:
        reason = _refusal(part_of(name, "spec"), spec)
        if reason is not None:
            raise SpecError(f"{name}: {reason}", field="exports")


def _refusal(export: ModuleType, spec: "JobSpec") -> str | None:
    needed, own = getattr(export, "NEEDS", None), spec.views.modality
    if needed not in (None, own):
        return f"it takes encoders for {needed}, this one is for {own}; leave it out"
    reason: str | None = export.refusal(spec)
    return reason


def check_installed(spec: "JobSpec") -> None:
    """Raise SpecError for an export whose packages are not installed here.

    Called before a run begins, so that it does not fail at its end.
    """
    for name, absent in _absent(spec).items():
        detail = (
            f"{name}: {' and '.join(absent)} must be installed where the job runs; install "
            f"`mocoserve[{name}]` there, or leave {name} out"
        )
        raise SpecError(detail, field="exports")


def installation_warnings(spec: "JobSpec") -> tuple[DataWarning, ...]:
    """Return a warning for each export whose packages are not installed here.

    Workers elsewhere may have them; one that does not fails the job before it trains.
    """
    return tuple(
        DataWarning(
            code="export_needs_packages",
            message=f"exports: {name} needs {' and '.join(absent)}, which this server does not "
            "have. A worker without them fails the job before it trains.",
            hint=f"Install mocoserve[{name}] where the workers run, or leave {name} out.",
        )
        for name, absent in _absent(spec).items()
    )


def _absent(spec: "JobSpec") -> dict[str, list[str]]:
    """Return the packages of each export beside those of a worker that are not installed here."""
    needed = {name: getattr(part_of(name, "spec"), "PACKAGES", ()) for name in spec.exports}
    absent = {
        name: [package for package in packages if find_spec(package) is None]
        for name, packages in needed.items()
    }
    return {name: packages for name, packages in absent.items() if packages}
