"""Exit 0 if a URL of this container answers 200 to the key, else 1. Standard library only."""

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path


def key() -> str:
    """The bearer key: from the environment, else from the data folder."""
    given = os.environ.get("MOCO_API_KEY")
    if given:
        return given
    return (Path(os.environ["MOCO_DATA_DIR"]) / "api.key").read_text().strip()


def main(url: str) -> int:
    """Ask once."""
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key()}"})
        with urllib.request.urlopen(request, timeout=4) as answer:
            return 0 if answer.status == 200 else 1
    except (OSError, urllib.error.URLError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
