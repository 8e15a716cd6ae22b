"""Results of the fault suite: one line for each figure, and the table of a storm."""

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.storm import Found


def table(found: "Found", *, seed: int, took_s: float) -> str:
    """Markdown: what was done to it, and what became of it."""
    verdict = "clean" if found.is_clean else f"{len(found.faults_found)} TROUBLES"
    lines = [
        f"Seed {seed}, {took_s / 60:.1f} minutes, Python {platform.python_version()}: "
        f"{found.faults.total()} faults, {found.jobs} jobs in {found.attempts} attempts, "
        f"{found.datasets} datasets: {verdict}. Deleted for good: {found.jobs_deleted} jobs and "
        f"{found.datasets_deleted} datasets; {found.deletions_refused} deletions refused, "
        f"{found.deletions_unanswered} never answered. Most completions of one job: "
        f"{found.completions_max}. {found.verified}",
        "",
        "| fault | times |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {count} |" for name, count in sorted(found.faults.items())]
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    """A measured figure: on stderr, and in the file that MOCO_CHAOS_REPORT names."""
    sys.stderr.write(f"measured: {text}\n")
    path = os.environ.get("MOCO_CHAOS_REPORT")
    if path:
        with Path(path).open("a") as file:
            file.write(f"- {text}\n")
