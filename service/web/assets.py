"""Files of the page: templates, our scripts and styles, and the charts' library.

plotly.js comes out of the installed `plotly` wheel; that package itself is never imported.
"""

import gzip
import hashlib
import re
import threading
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

STATIC = Path(__file__).parent / "static"
PLOTLY = "plotly.min.js"
IMPORTED = re.compile(r'^import .* from "\./([\w.]+)";$', re.MULTILINE)
"""Import of one of our scripts by another."""
MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file, as it is and compressed."""

    content: bytes
    gzipped: bytes
    media_type: str


@dataclass
class Assets:
    """Every file that a page may load, by name."""

    tag: str
    """Stands in the address of each file and changes with any of them: they never grow stale."""
    templates: Environment
    files: dict[str, Asset]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, name: str) -> Asset | None:
        """Return a file; the large one is read on first use."""
        if name != PLOTLY or name in self.files:
            return self.files.get(name)
        with self._lock:
            if name not in self.files:
                self.files[name] = _asset(_plotly())
            return self.files[name]

    def modules(self, name: str) -> list[str]:
        """Return a script, its imports, and theirs.

        For a page to ask for at once: else each is known only when the one before it was read.
        """
        names, left = [name], [name]
        while left:
            text = self.files[left.pop()].content.decode()
            new = [each for each in IMPORTED.findall(text) if each not in names]
            names += new
            left += new
        return names


def load_assets() -> Assets:
    """Read what lies in `static`."""
    files = {path.name: _asset(path) for path in sorted(STATIC.iterdir())}
    whole = hashlib.sha256(version("plotly").encode())
    for name, asset in files.items():
        whole.update(name.encode() + b"\0" + asset.content)
    templates = Environment(
        loader=PackageLoader("service.web", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return Assets(whole.hexdigest()[:16], templates, files)


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, gzip.compress(content, 6, mtime=0), MEDIA_TYPES[path.suffix])


def _plotly() -> Path:
    """Return the path of the script in the wheel, without importing the package."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:  # it is a dependency: only a broken install lacks it
        raise FileNotFoundError("the plotly package is not installed")
    return Path(spec.origin).parent / "package_data" / PLOTLY
