"""Interleaved rounds of arms in their own processes, and the table of their results."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks.arms.interface import Block, Setup
from benchmarks.harness.arm_process import running_arm
from benchmarks.harness.interleaving import Ratios, noise_ratios, relative_speeds, round_order
from benchmarks.harness.report import print_lines

HEAD = (
    "| arm | rows/s, median | times as fast | 95 % interval | target | met | last loss |",
    "|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds, and the length of each block."""

    rounds: int
    untimed: int
    """Steps before the timed ones: they use up what workers had fetched ahead.

    Where a step takes longer than to fetch its batch this never runs out, nor need it. Else it
    takes more steps than there are batches ahead, which are two for each worker.
    """
    timed: int

    def override(self, *, rounds: int | None, untimed: int | None, timed: int | None) -> "Plan":
        """Return the setup with values from the command line."""
        return Plan(
            self.rounds if rounds is None else rounds,
            self.untimed if untimed is None else untimed,
            self.timed if timed is None else timed,
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The subject and the arms that it is compared with."""

    subject: str
    others: Sequence[str]
    targets: Mapping[str, float]
    """Minimum speedup over each other arm."""


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """Timed blocks of each arm, in the order in which they ran."""

    comparison: Comparison
    rows: int
    """Rows of a block."""
    blocks: Mapping[str, Sequence[Block]]

    def ratios(self) -> dict[str, Ratios]:
        """Return the subject's speed relative to each other arm; under its own name, A/A."""
        pairs = self._pairs()
        ratios = {self.comparison.subject: noise_ratios(pairs)}
        for name in self.comparison.others:
            ratios[name] = relative_speeds(pairs, [block.seconds for block in self.blocks[name]])
        return ratios

    def rates(self) -> dict[str, list[float]]:
        """Rows a second of each block."""
        return {
            name: [self.rows / block.seconds for block in blocks]
            for name, blocks in self.blocks.items()
        }

    def table(self) -> list[str]:
        """Lines of Markdown."""
        rates, targets = self.rates(), self.comparison.targets
        return [
            *HEAD,
            *(
                _table_row(
                    f"{name}, against itself (A/A)" if name == self.comparison.subject else name,
                    median(rates[name]),
                    ratios,
                    targets.get(name),
                    self.blocks[name][-1].loss,
                )
                for name, ratios in self.ratios().items()
            ),
        ]

    def figures(self) -> dict[str, object]:
        """Return the figures for the JSON file."""
        return {
            "rows_per_s": self.rates(),
            "ratios": {name: list(ratios.each) for name, ratios in self.ratios().items()},
            "losses": {
                name: [block.loss for block in blocks] for name, blocks in self.blocks.items()
            },
        }

    def _pairs(self) -> list[tuple[float, float]]:
        seconds = [block.seconds for block in self.blocks[self.comparison.subject]]
        return list(zip(seconds[::2], seconds[1::2], strict=True))


def run_rounds(comparison: Comparison, setup: Setup, plan: Plan) -> ComparisonResult:
    """Run the rounds; print a line for each block."""
    blocks: dict[str, list[Block]] = defaultdict(list)
    rows = setup.batch_rows * plan.timed
    with ExitStack() as stack:
        names = (comparison.subject, *comparison.others)
        arms = {name: stack.enter_context(running_arm(name, setup)) for name in names}
        for arm in arms.values():
            arm.read_block()  # they get ready side by side
        for arm in arms.values():
            arm.run_steps(max(1, plan.untimed))  # a first step makes what later ones find
            arm.wait_until_idle()
        for number in range(plan.rounds):
            for name in round_order(number, comparison.others, subject=comparison.subject):
                if plan.untimed:
                    arms[name].run_steps(plan.untimed)
                block = arms[name].run_steps(plan.timed)
                arms[name].wait_until_idle()
                blocks[name].append(block)
                print_lines(f"round {number + 1}: {name} {rows / block.seconds:.1f} rows/s")
    return ComparisonResult(comparison, rows, blocks)


def verdict(ratios: Ratios, target: float | None) -> str:
    """Return whether a bar is met: yes only if the whole interval is above it."""
    if target is None:
        return ""
    if ratios.low >= target:
        return "yes"
    return "by the median" if ratios.median >= target else "no"


def _table_row(name: str, rate: float, ratios: Ratios, target: float | None, loss: float) -> str:
    text = "" if target is None else f">= {target:g}"
    return (
        f"| {name} | {rate:.1f} | {ratios.median:.2f} | {ratios.low:.2f} to {ratios.high:.2f} "
        f"| {text} | {verdict(ratios, target)} | {loss:.3f} |"
    )
