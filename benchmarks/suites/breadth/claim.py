"""Claims of the breadth benchmark: what is wanted, and what was measured."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.suites.breadth.lab import Lab

HEAD: Sequence[str] = (
    "| claim | data | figure (95 % interval) | baseline | wanted | met | seconds | of processors |",
    "|---|---|---|---|---|---|--:|--:|",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    claim: str
    data: str
    figure: str
    baseline: str
    wanted: str
    is_met: bool | None = None
    """None: reported either way."""
    seconds: float = 0.0
    processor_s: float = 0.0

    def markdown(self) -> str:
        """Return the line of the table."""
        met = {True: "yes", False: "**no**", None: ""}[self.is_met]
        cells = (self.claim, self.data, self.figure, self.baseline, self.wanted, met)
        return f"| {' | '.join(cells)} | {self.seconds:.0f} | {self.processor_s:.0f} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim that is measured by itself, in one or several rows."""

    name: str
    kind: str
    """Modality: `images`, `text`, ..."""
    files: tuple[str, ...] = ()
    """Archives that it needs, by name in the folder of data."""
    settings: object
    """All that its rows depend on, beside the data: rows with other settings are measured anew."""
    measure: Callable[[Lab], Iterable[Row]]

    def missing(self, data: Path) -> list[str]:
        """Return the archives that are not there."""
        return [name for name in self.files if not (data / name).is_file()]


def exit_code(rows: Sequence[Row], missing: Sequence[str]) -> int:
    """Return 2 where files were missing, 1 where a row is not met, else 0."""
    if missing:
        return 2
    return 1 if any(row.is_met is False for row in rows) else 0
