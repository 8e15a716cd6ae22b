"""Bytes on the disk, as another program counts them."""

import subprocess
from pathlib import Path


def du(folder: Path) -> int:
    """Allocated bytes of everything under `folder`, itself included."""
    told = subprocess.run(["du", "-s", "-B1", str(folder)], capture_output=True, check=False)
    return int(told.stdout.split()[0])
