"""Programs and packages that only some tests need, and the command that installs each."""

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec

import pytest

PACKAGES = {
    "chromium": "chromium",
    "libfaketimeMT": "libfaketime",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "sha256sum": "coreutils",
    "strace": "strace",
}
_MISSING = re.compile(r"\(apt-get install ([a-z0-9.+-]+)\)$")


def missing(program: str) -> str:
    """Return the reason of a test that is skipped because `program` is not installed."""
    return f"{program} is not installed (apt-get install {PACKAGES[program]})"


def needs(program: str) -> pytest.MarkDecorator:
    """Return the mark that skips a test where `program` is not on the PATH."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=missing(program))


def needs_package(package: str) -> pytest.MarkDecorator:
    """Return the mark that skips a test where a package of the dev extra is not installed."""
    is_missing = find_spec(package.replace("-", "_")) is None
    return pytest.mark.skipif(is_missing, reason=f"{package} is not installed (make setup)")


def skip_summary(reasons: Iterable[str]) -> list[str]:
    """Return how many tests were skipped for each reason, and the command that installs the rest.

    The last line is that command; it is left out where no installation would help.
    """
    counts = Counter(reasons)
    lines = [f"{count:5}  {reason}" for reason, count in counts.most_common()]
    packages = sorted({match[1] for reason in counts if (match := _MISSING.search(reason))})
    if packages:
        lines.append(f"Run them too: apt-get install --yes {' '.join(packages)}")
    return lines
