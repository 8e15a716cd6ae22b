"""Break a copy of the project in one place, and see whether its tests notice."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

ROOT = Path(__file__).parents[2]
PACKAGES = ("mocoserve", "trainer", "service", "worker")
BASELINE_S, MUTANT_S = 900.0, 300.0
TIMED_OUT = 124
"""Exit code of a command that is ended, as that of coreutils' timeout."""
Verdict = Literal["killed", "survives", "timed out", "skipped"]
_PASSED = re.compile(r"^\d+ passed", re.MULTILINE)
_FAILED = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One defect, and the tests that must notice it."""

    name: str
    file: str
    old: str
    """Original code; occurs exactly once in the file."""
    new: str
    tests: tuple[str, ...]
    """Tests as pytest names them, the narrowest that should fail."""

    def mutated(self, text: str) -> str:
        """The file with the defect. Raises DoesNotApply."""
        if text.count(self.old) != 1:
            raise DoesNotApply(
                f"mutant {self.name!r} no longer applies: its text stands "
                f"{text.count(self.old)} times in {self.file}"
            )
        return text.replace(self.old, self.new)

    def check(self) -> None:
        """Raises DoesNotApply before any time is spent."""
        self.mutated((ROOT / self.file).read_text("utf-8"))


class DoesNotApply(Exception):
    """The project has changed under a mutant; mend the table."""


class BadCopy(Exception):
    """The copy does not do what the project does, so nothing could be learned from it."""


@dataclass(frozen=True)
class Outcome:
    """Result of a mutant."""

    mutant: Mutant
    verdict: Verdict
    """Timed out: not decided. Skipped: each of its tests was, for want of something here."""
    killed_by: str
    """Test that failed; empty if none did."""
    took_s: float
    words: str
    """End of pytest's output."""


@dataclass(frozen=True)
class Copy:
    """One copy of the project, used by one thread at a time."""

    folder: Path
    """Absolute."""

    @property
    def root(self) -> Path:
        """Folder of the project's files."""
        return self.folder / "project"

    @property
    def _bytecode(self) -> Path:
        """Folder of the compiled bytecode."""
        return self.folder / "bytecode"

    def make(self) -> None:
        """Copy what git knows and what it does not ignore; link nothing, so nothing leaks back."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        for name in listed.stdout.decode().split("\0"):
            source, target = ROOT / name, self.root / name
            if name and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def check(self) -> None:
        """Raises BadCopy unless the copy's own packages are imported, from any folder."""
        code = "import {0}; print(*(one.__file__ for one in ({0},)))".format(", ".join(PACKAGES))
        for place in (self.root, self.folder):
            said = self._run([sys.executable, "-c", code], cwd=place, timeout_s=60.0).stdout
            for path in said.split():
                if not Path(path).is_relative_to(self.root):
                    raise BadCopy(f"in {place} python imports {path}")

    def test(self, tests: Iterable[str], *, timeout_s: float) -> "subprocess.CompletedProcess[str]":
        """Run tests until one fails."""
        options = ["-q", "-x", "-rfE", "--tb=short", "-p", "no:cacheprovider", "--timeout=120"]
        options += ["-p", "tests.mutants.hurry"]
        base = f"--basetemp={self.folder / 'base'}"
        command = [sys.executable, "-m", "pytest", *options, base, *tests]
        return self._run(command, cwd=self.root, timeout_s=timeout_s)

    def _run(
        self, command: list[str], *, cwd: Path, timeout_s: float
    ) -> "subprocess.CompletedProcess[str]":
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "PYTHONPYCACHEPREFIX": str(self._bytecode),
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            return subprocess.run(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            words = f"not done within {timeout_s:g} s"
            return subprocess.CompletedProcess(command, TIMED_OUT, words, "")

    @contextmanager
    def broken(self, mutant: Mutant) -> Iterator[None]:
        """The copy has the defect meanwhile."""
        path = self.root / mutant.file
        text = path.read_text("utf-8")
        # A file that is changed and changed back within a second would fool the cache.
        cached = self._bytecode / path.relative_to("/").parent
        cached /= f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        path.write_text(mutant.mutated(text), "utf-8")
        cached.unlink(missing_ok=True)
        try:
            yield
        finally:
            path.write_text(text, "utf-8")
            cached.unlink(missing_ok=True)

    def judge(self, mutant: Mutant, *, timeout_s: float = MUTANT_S) -> Outcome:
        """Run the mutant's tests where it is."""
        began_s = time.monotonic()
        with self.broken(mutant):
            done = self.test(mutant.tests, timeout_s=timeout_s)
        failed = _FAILED.search(done.stdout)
        verdict = _verdict(done, failed=failed is not None)
        killed_by = failed[1] if failed and verdict == "killed" else ""
        took_s = time.monotonic() - began_s
        return Outcome(mutant, verdict, killed_by, took_s, done.stdout[-2000:])


def _verdict(done: "subprocess.CompletedProcess[str]", *, failed: bool) -> Verdict:
    """Return what a run of pytest says about a mutant.

    Only a test that ran and failed kills: a mutant that cannot be imported, or whose fixtures
    break, says nothing about the tests.
    """
    if done.returncode == TIMED_OUT:
        return "timed out"
    if done.returncode == 1 and failed:
        return "killed"
    if done.returncode == 0 and _PASSED.search(done.stdout) is None:
        return "skipped"
    return "survives"


class Bench:
    """Copies of the repository, in which mutants run in parallel."""

    def __init__(self, folder: Path, *, copies: int) -> None:
        self._copies = [Copy(folder / str(number)) for number in range(copies)]
        self._free: SimpleQueue[Copy] = SimpleQueue()
        for copy in self._copies:
            copy.make()
            copy.check()
            self._free.put(copy)

    def baseline(self, mutants: Iterable[Mutant]) -> None:
        """Raises BadCopy unless all named tests pass where nothing is broken."""
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        files = sorted({test.partition("::")[0] for test in tests})
        shares = [files[at :: len(self._copies)] for at in range(len(self._copies))]
        with ThreadPoolExecutor(len(self._copies)) as pool:
            list(pool.map(lambda share: self._green_in(tests, share), filter(None, shares)))

    def _green_in(self, tests: list[str], files: list[str]) -> None:
        copy = self._free.get()
        try:
            mine = [test for test in tests if test.partition("::")[0] in files]
            done = copy.test(mine, timeout_s=BASELINE_S)
            if done.returncode != 0:
                raise BadCopy(f"without any mutant:\n{done.stdout[-3000:]}")
        finally:
            self._free.put(copy)

    def judge(self, mutants: list[Mutant]) -> Iterator[Outcome]:
        """Every mutant's outcome, in their order."""
        with ThreadPoolExecutor(len(self._copies)) as pool:
            yield from pool.map(self._judge, mutants)

    def _judge(self, mutant: Mutant) -> Outcome:
        copy = self._free.get()
        try:
            return copy.judge(mutant)
        finally:
            self._free.put(copy)
