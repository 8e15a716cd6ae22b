"""Write what is generated: the references and the dashboards.

python docs/generate.py           # rewrite what is out of date
python docs/generate.py --check   # exit 1 if anything is
"""

import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from generate_api import api_page  # noqa: E402  # the line above finds what these import
from generate_cli import cli_page  # noqa: E402

from service.observability.dashboards.index import dashboard_files  # noqa: E402
from service.observability.metrics import METRICS  # noqa: E402
from trainer.schema.verdicts import COLLAPSED_STD, COLLAPSING_STD, VERDICTS  # noqa: E402

METRICS_PAGE = REPO / "docs" / "metrics.md"
OBSERVABILITY = REPO / "service" / "observability"
RUNBOOK = REPO / "docs" / "runbook.md"
READING = REPO / "docs" / "reading-curves.md"
STATIC = REPO / "service" / "web" / "static"
VERDICTS_BEGIN = "<!-- verdicts: written by `make docs` from trainer/schema/verdicts.py -->"
VERDICTS_END = "<!-- end of the verdicts -->"


def metrics_page() -> str:
    """docs/metrics.md: every row of the table."""
    lines = [
        "# Metrics\n",
        "Written by `make docs` from `service/observability/metrics.py`. Three targets are",
        "scraped: the API, each worker, and one state exporter; each asks for the key. Series with",
        "`job_id` end two scrapes after their job.\n",
    ]
    for target, title in (
        ("api", "The API"),
        ("state", "The state exporter"),
        ("worker", "A worker"),
    ):
        lines += [f"## {title}\n", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{row.name}` | {row.type} | {', '.join(row.labels)} | {_cell(row.help)} |"
            for row in METRICS
            if target in row.targets
        ]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that stays inside its cell of a table."""
    return text.replace("|", "\\|")


def thresholds() -> str:
    """Return verdicts.js: the bounds that the charts shade, from the table of verdicts."""
    return (
        "// Bounds of the table of verdicts. Written by `make docs` from\n"
        "// trainer/schema/verdicts.py.\n\n"
        f"export const COLLAPSED_STD = {COLLAPSED_STD};\n"
        f"export const COLLAPSING_STD = {COLLAPSING_STD};\n"
    )


def verdicts_table() -> str:
    """Return the table of verdicts for people, the gravest first."""
    lines = ["| verdict | when | what to do |", "|---|---|---|"]
    lines += [f"| **{row.word}** | {row.when} | {row.advice} |" for row in VERDICTS]
    return "\n".join(lines) + "\n"


def with_table(page: Path) -> str:
    """Return a page with the table of verdicts between its marks made anew."""
    before, _, rest = page.read_text().partition(VERDICTS_BEGIN)
    behind = rest.partition(VERDICTS_END)[2]
    return f"{before}{VERDICTS_BEGIN}\n{verdicts_table()}{VERDICTS_END}{behind}"


def generated() -> dict[Path, str]:
    """Every generated file. The runbook is copied to where it is installed with the package."""
    dashboards = OBSERVABILITY / "grafana"
    return {
        METRICS_PAGE: metrics_page(),
        READING: with_table(READING),
        STATIC / "verdicts.js": thresholds(),
        REPO / "docs" / "api.md": api_page(),
        REPO / "docs" / "cli.md": cli_page(),
        OBSERVABILITY / "prometheus" / "runbook.md": RUNBOOK.read_text(),
        **{dashboards / name: text for name, text in dashboard_files().items()},
    }


def main(arguments: list[str]) -> int:
    """Rewrite, or with `--check` only say, what is out of date."""
    stale = [
        (path, text)
        for path, text in generated().items()
        if not path.exists() or path.read_text() != text
    ]
    for path, text in stale:
        if "--check" in arguments:
            sys.stderr.write(f"{path.relative_to(REPO)} is out of date: run `make docs`\n")
        else:
            path.write_text(text)
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
