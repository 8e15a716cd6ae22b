"""Every claim about methods, evaluators and encoders, each in a row of one table.

    python -m benchmarks.breadth --data DIR --only images
    python -m benchmarks breadth --data DIR [--row digits ...] [--work DIR]    the same, or a part

DIR holds archives, such as cifar10-train.zip. Finished rows and pieces are kept in the work folder
and not measured again; a run that was cut goes on. With --row, other claims are shown as they were
measured or published before. Exit status, of the claims that were asked for: 0 if all rows are met,
1 if one is not, 2 if a file is missing.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main
from benchmarks.harness.report import Section, add_report_options, cores, print_lines, publish
from benchmarks.suites.breadth import (
    few_labels,
    labels,
    methods,
    pneumonia,
    pretexts,
    sequences,
    tile_masks,
    tiles,
)
from benchmarks.suites.breadth.claim import HEAD, Claim, Row, exit_code
from benchmarks.suites.breadth.lab import Lab, fingerprint
from trainer.accel.malloc import keep_freed_memory
from trainer.util.atomic_files import replace_file

CLAIMS: tuple[Claim, ...] = (
    *methods.CLAIMS,
    *labels.CLAIMS,
    *pneumonia.CLAIMS,
    *tiles.CLAIMS,
    *tile_masks.CLAIMS,
    *sequences.CLAIMS,
    *pretexts.CLAIMS,
    *few_labels.CLAIMS,
)
NOT_MEASURED = ("colour",)
"""Claims about images that this suite does not measure yet."""


def main() -> None:
    """Measure the chosen claims, write the table, and exit with its status."""
    args = parse_args()
    keep_freed_memory()  # as a process of a job does
    lab = Lab(
        data=args.data,
        work=args.work,
        seeds=args.seeds,
        threads=args.threads or max(1, cores() // args.jobs),
        jobs=args.jobs,
        say=print_lines,
    )
    shown = [claim for claim in CLAIMS if claim.kind in args.only]
    chosen = [claim for claim in shown if claim.name in args.row]
    rows = {claim.name: kept_rows(claim, lab) for claim in shown}
    to_measure = [claim for claim in chosen if not rows[claim.name]]
    for claim in shown:
        if claim not in chosen and not rows[claim.name]:
            rows[claim.name] = published_rows(claim, args.out / "breadth.json", seeds=lab.seeds)
    missing = {claim.name: claim.missing(args.data) for claim in to_measure}
    for claim in to_measure:
        if not missing[claim.name]:
            rows[claim.name] = measured(claim, lab)
    publish(section(shown, rows, missing, seeds=args.seeds), args)
    asked_rows = [row for claim in chosen for row in rows[claim.name]]
    raise SystemExit(exit_code(asked_rows, [file for files in missing.values() for file in files]))


def measured(claim: Claim, lab: Lab) -> list[Row]:
    """Measure a claim and keep its rows."""
    rows: list[Row] = []
    lab.spent.clear()
    for row in claim.measure(lab):
        seconds = sum(piece.seconds for piece in lab.spent)
        processor_s = sum(piece.processor_s for piece in lab.spent)
        rows.append(replace(row, seconds=seconds, processor_s=processor_s))
        lab.spent.clear()
        print_lines(rows[-1].markdown())
    path = rows_path(claim, lab)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps([asdict(row) for row in rows], indent=1).encode())
    return rows


def kept_rows(claim: Claim, lab: Lab) -> list[Row]:
    """Return the rows of a claim that was measured before with these settings, else none."""
    path = rows_path(claim, lab)
    return [Row(**row) for row in json.loads(path.read_bytes())] if path.exists() else []


def published_rows(claim: Claim, figures: Path, *, seeds: int) -> list[Row]:
    """Return the rows of a claim that were published with these settings, else none."""
    published = json.loads(figures.read_bytes()) if figures.exists() else {}
    before = published.get("claims", {}).get(claim.name)
    # As JSON has them: tuples are lists there.
    settings = json.loads(json.dumps(claim.settings))
    if before is None or published["seeds"] != seeds or before["settings"] != settings:
        return []
    return [Row(**row) for row in before["rows"]]


def rows_path(claim: Claim, lab: Lab) -> Path:
    """Return the path where the rows of a claim are kept."""
    key = {"settings": claim.settings, "seeds": lab.seeds}
    return lab.work / "rows" / f"{claim.name}-{fingerprint(key)}.json"


def section(
    claims: Sequence[Claim],
    rows: Mapping[str, Sequence[Row]],
    missing: Mapping[str, Sequence[str]],
    *,
    seeds: int,
) -> Section:
    """Return the table."""
    all_rows = [row for claim in claims for row in rows[claim.name]]
    not_run = [
        _not_run(claim.name, missing.get(claim.name, ()))
        for claim in claims
        if not rows[claim.name]
    ]
    not_run += [f"- {name}: not run: not measured here yet" for name in NOT_MEASURED]
    spent = [sum(row.seconds for row in all_rows), sum(row.processor_s for row in all_rows)]
    about = (
        f"All rows together: {spent[0] / 60:.0f} minutes, {spent[1] / 60:.0f} of processors; "
        f"with --jobs, several are measured at once. {seeds} seeds; intervals are Student's for "
        "the mean of the seeds, unless a row says otherwise. Seconds are of all seeds, training "
        "and evaluation, and those that the threads and child processes of the row took of "
        "processors. Met: yes, no, or empty for a figure that is reported either way. "
        "`--row CLAIM` measures one claim; the others are shown as they were measured or published "
        "before."
    )
    lines = [*HEAD, *(row.markdown() for row in all_rows), "", *not_run, "", about]
    figures = {
        "seeds": seeds,
        "claims": {
            claim.name: {
                "settings": claim.settings,
                "rows": [asdict(row) for row in rows[claim.name]],
            }
            for claim in claims
        },
        "not_run": not_run,
    }
    return Section("breadth", "Breadth", lines, figures)


def _not_run(name: str, missing: Sequence[str]) -> str:
    reason = f", no {', '.join(missing)}" if missing else ""
    return f"- {name}: not run{reason}"


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    kinds = list(dict.fromkeys(claim.kind for claim in CLAIMS))
    names = [claim.name for claim in CLAIMS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds, metavar="KIND")
    parser.add_argument("--row", nargs="+", choices=names, default=names, metavar="CLAIM")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=cores(), help="measurements at once")
    parser.add_argument("--threads", type=int, help="threads of each measurement")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "mocoserve-breadth",
        help="folder of packs and of what was measured",
    )
    add_report_options(parser)
    return parser.parse_args()
